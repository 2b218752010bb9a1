"""Evaluation: un-augmented pairs only, against both truths, beside the flash picture."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepflash.errors import ModelError
from deepflash.model.evaluate import evaluate
from deepflash.pictures import Picture
from tests.model.tiny_dataset import flash_and_studio, write_shards


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A trained run that a test may write into."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def reduced(picture: Picture) -> Picture:
    return cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)


def test_the_baseline_is_what_scikit_image_says_of_flash_and_studio(run: Path, shards: Path) -> None:
    flash, studio = map(reduced, flash_and_studio(5))
    (pair,) = evaluate(run, shards).pairs
    assert (pair.key, pair.subject) == ("S005-00a", "S005")
    assert pair.scores.flash_psnr_studio == pytest.approx(peak_signal_noise_ratio(studio, flash), abs=1e-3)
    oracle = structural_similarity(
        studio, flash, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert pair.scores.flash_ssim_studio == pytest.approx(oracle, abs=5e-4)


def test_an_unseen_subject_is_nearer_to_the_studio_than_the_flash_picture(run: Path, shards: Path) -> None:
    mean = evaluate(run, shards).mean
    assert mean.psnr > mean.flash_psnr
    assert mean.accuracy > mean.flash_accuracy
    assert mean.loss < mean.flash_loss
    assert mean.psnr_studio > mean.flash_psnr_studio
    assert 0 < mean.loss < 1
    assert 80 < mean.accuracy < 100


def test_means_are_means_and_all_is_stored(run: Path, shards: Path) -> None:
    calls: list[tuple[int, int]] = []
    evaluation = evaluate(run, shards, split="train", report=lambda done, total, note: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert evaluation.mean.psnr == pytest.approx(sum(pair.scores.psnr for pair in evaluation.pairs) / 4)
    stored = json.loads((run / "evaluation-train.json").read_text())
    assert stored["format"] == 1
    assert stored["mean"]["psnr"] == evaluation.mean.psnr
    assert [pair["subject"] for pair in stored["pairs"]] == ["S000", "S001", "S002", "S003"]


def test_the_table_shows_flash_beside_result_and_the_mean_last(run: Path, shards: Path) -> None:
    evaluation = evaluate(run, shards, split="train")
    lines = evaluation.table().splitlines()
    assert [line.split()[0] for line in lines] == ["train", "S000-00a", "S001-00a", "S002-00a", "S003-00a", "mean"]
    for value in (evaluation.mean.flash_psnr, evaluation.mean.psnr):
        assert f" {value:.2f}" in lines[-1]


def test_an_empty_split_is_a_sentence(run: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", {"train": range(1)})
    with pytest.raises(ModelError, match="has no un-augmented pairs in its split test; choose another of train"):
        evaluate(run, shards)


def test_a_folder_without_a_run_is_a_sentence(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no run \(run.json is missing\)"):
        evaluate(tmp_path, shards)


def test_damaged_weights_are_a_sentence(run: Path, shards: Path) -> None:
    weights = run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"weights.safetensors is damaged"):
        evaluate(run, shards)


def test_a_run_without_weights_is_a_sentence(run: Path, shards: Path) -> None:
    (run / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights yet"):
        evaluate(run, shards)


def test_a_run_of_a_later_format_is_a_sentence(run: Path, shards: Path) -> None:
    (run / "run.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match=r"has format 99, this program reads 1; update deepflash"):
        evaluate(run, shards)
