"""Evaluation: un-augmented pairs only, against both truths, runs beside baselines, and who was trained on whom."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepflash.errors import ModelError
from deepflash.model.evaluate import evaluate
from deepflash.model.recipe import load_recipe
from deepflash.pictures import Picture
from tests.model.test_perceptual import write_weights
from tests.model.tiny_dataset import flash_and_studio, write_shards


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A trained run that a test may write into."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def reduced(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def with_other_recipe(run: Path, to: Path, **changes: str) -> Path:
    """Copy a run, and let its recipe say something else."""
    shutil.copytree(run, to)
    recipe = load_recipe(run / "recipe.toml", [f"{name}={value}" for name, value in changes.items()])
    (to / "recipe.toml").write_text(recipe.as_toml())
    return to


def test_the_flash_picture_is_what_scikit_image_says_of_flash_and_studio(run: Path, shards: Path) -> None:
    flash, studio = map(reduced, flash_and_studio(5))
    (pair,) = evaluate([run], shards, device="cpu").flash.pairs
    assert (pair.key, pair.subject) == ("S005-00a", "S005")
    assert pair.studio.psnr == pytest.approx(peak_signal_noise_ratio(studio, flash), abs=1e-3)
    oracle = structural_similarity(
        studio, flash, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert pair.studio.ssim == pytest.approx(oracle, abs=5e-4)
    written_out = 100 - 100 * np.abs(flash.astype(float) - studio).mean() / 255
    assert pair.studio.accuracy == pytest.approx(written_out, abs=1e-3)


def test_an_unseen_subject_is_nearer_to_the_studio_than_the_flash_picture(run: Path, shards: Path) -> None:
    evaluation = evaluate([run], shards, device="cpu")
    (trained,) = evaluation.runs
    for truth in ("reconstructed", "studio"):
        gain = trained.difference(evaluation.flash, truth)
        assert gain["psnr"].mean > 0
        assert gain["accuracy"].mean > 0
        assert gain["delta_e"].mean < 0
    assert 80 < trained.mean("reconstructed")["accuracy"].mean < 100


def test_the_baselines_surpass_the_flash_picture_on_the_pairs_that_they_were_fitted_to(run: Path, shards: Path) -> None:
    """Least squares cannot be worse than the identity, which is one of the matrices; and the table says what was done."""
    evaluation = evaluate([run], shards, split="train", device="cpu")
    assert [system.name for system in evaluation.systems] == ["flash picture", "colour matrix", "histogram matching", "run"]
    flash, matrix = (
        sum(10 ** (-pair.studio.psnr / 10) for pair in system.pairs)  # the squared error of equally large pictures
        for system in evaluation.systems[:2]
    )
    assert matrix < flash
    assert any("fitted to these very pairs" in note for note in evaluation.notes)


def test_only_un_augmented_pairs_count_and_every_one_is_reported(run: Path, shards: Path) -> None:
    calls: list[tuple[int, int]] = []
    evaluation = evaluate([run], shards, report=lambda done, total, note: calls.append((done, total)), device="cpu")
    assert calls == [(number, 5) for number in range(1, 6)]  # four to fit the baselines to, one to measure
    assert evaluation.title() == "split test: 1 pair of 1 subject, 32 px, un-augmented"


def test_runs_of_different_encodings_are_measured_against_the_same_truth(run: Path, shards: Path, tmp_path: Path) -> None:
    """In encoding A equation 8 gives the studio picture: a common truth is what makes the rows comparable."""
    other = with_other_recipe(run, tmp_path / "a", encoding="A")
    alone = evaluate([other], shards, device="cpu")
    both = evaluate([run, other], shards, out=tmp_path / "out", device="cpu")
    assert [system.name for system in both.runs] == ["run", "a"]
    assert both.runs[1].pairs == alone.runs[0].pairs
    assert both.flash.pairs == alone.flash.pairs
    assert both.flash.pairs[0].reconstructed != both.flash.pairs[0].studio


def test_runs_with_the_same_name_are_told_apart_by_their_paths(run: Path, shards: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "elsewhere" / "run"))
    evaluation = evaluate([run, other], shards, out=tmp_path / "out", device="cpu")
    assert [system.name for system in evaluation.runs] == [str(run), str(other)]
    assert evaluation.runs[0].pairs == evaluation.runs[1].pairs


def test_a_run_called_like_a_baseline_is_not_taken_for_it(run: Path, shards: Path, tmp_path: Path) -> None:
    namesake = Path(shutil.copytree(run, tmp_path / "colour matrix"))
    evaluation = evaluate([namesake], shards, device="cpu")
    assert [system.name for system in evaluation.systems][1:] == ["colour matrix", "histogram matching", str(namesake)]
    assert evaluation.runs[0].pairs != evaluation.systems[1].pairs


def test_lpips_is_measured_where_its_weights_are(run: Path, shards: Path, tmp_path: Path) -> None:
    without = evaluate([run], shards, device="cpu")
    evaluation = evaluate([run], shards, device="cpu", lpips=write_weights(tmp_path))
    assert "lpips" not in without.flash.mean("studio")
    assert evaluation.flash.mean("studio")["lpips"].mean > 0
    assert evaluation.flash.mean("studio")["psnr"] == without.flash.mean("studio")["psnr"]
    assert "| LPIPS ↓ |" in (run / "evaluation-test" / "evaluation.md").read_text()


def test_tables_pictures_and_values_are_written_and_agree(run: Path, shards: Path) -> None:
    evaluation = evaluate([run], shards, split="train", device="cpu")
    folder = run / "evaluation-train"
    stored = json.loads((folder / "evaluation.json").read_text())
    assert stored == json.loads(json.dumps(evaluation.as_dict()))
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_run = [float(row["psnr"]) for row in rows if row["system"] == "run" and row["truth"] == "studio"]
    assert stored["systems"][-1]["mean"]["studio"]["psnr"]["mean"] == pytest.approx(np.mean(of_run))
    worst_first = sorted(evaluation.runs[0].pairs, key=lambda pair: pair.reconstructed.psnr)
    pictures = sorted(path.name for path in (folder / "worst").iterdir())
    assert pictures == [f"{number:02d}-{pair.key}.png" for number, pair in enumerate(worst_first[:4], start=1)]


def test_of_many_pairs_the_worst_four_are_shown(run: Path, tmp_path: Path) -> None:
    evaluation = evaluate([run], write_shards(tmp_path / "shards", {"test": range(10, 17)}), device="cpu")
    worst_first = sorted(evaluation.runs[0].pairs, key=lambda pair: pair.reconstructed.psnr)
    assert [pair.key for pair in evaluation.worst] == [pair.key for pair in worst_first[:4]]
    assert list(evaluation.worst[0].pictures) == ["flash picture", "run", "reconstructed truth", "studio picture"]


def test_the_same_evaluation_twice_is_the_same_but_for_the_time_taken(run: Path, shards: Path) -> None:
    assert evaluate([run], shards, device="cpu") == evaluate([run], shards, device="cpu")


def test_a_run_that_was_trained_on_the_people_it_is_measured_on_is_noticed(run: Path, shards: Path, tmp_path: Path) -> None:
    """On its own test split there is nothing to say; on a data set that has two of its sitters in its test split there is."""
    assert evaluate([run], shards, device="cpu").notes == ()
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "test": range(2, 6)})
    (note,) = evaluate([run], other, device="cpu").notes
    assert "run was trained on 2 of the 4 subjects of this split (S002, S003); its figures say nothing" in note
    assert "> **Note:** run was trained on 2 of" in (run / "evaluation-test" / "evaluation.md").read_text()


@pytest.mark.parametrize("older", [False, True])
def test_of_namesakes_in_another_data_set_only_that_is_said(run: Path, shards: Path, tmp_path: Path, older: bool) -> None:
    """S002 and S003 with other pictures may be anybody; a run from before pictures were kept knows nobody's."""
    if older:
        identity = json.loads((run / "run.json").read_text())
        del identity["pictures"]
        (run / "run.json").write_text(json.dumps(identity))
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "test": range(2, 6)}, size=40 if older else 48)
    (note,) = evaluate([run], other, device="cpu").notes
    assert "in which 2 of the 4 subjects of this split have namesakes (S002, S003); the pictures do not tell" in note
    assert evaluate([run], shards, device="cpu").notes == ()


def test_a_run_that_does_not_say_whom_it_was_trained_on_is_noticed_on_other_data(
    run: Path, shards: Path, tmp_path: Path
) -> None:
    identity = json.loads((run / "run.json").read_text())
    del identity["subjects"]
    (run / "run.json").write_text(json.dumps(identity))
    assert evaluate([run], shards, device="cpu").notes == ()  # its own data set says it
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "test": range(9, 10)})
    (note,) = evaluate([run], other, device="cpu").notes
    assert "does not say on whom" in note


def test_without_a_training_split_the_fitted_baselines_are_left_out(run: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", {"test": range(6, 8)})
    evaluation = evaluate([run], shards, device="cpu")
    assert [system.name for system in evaluation.systems] == ["flash picture", "run"]
    assert any("are left out" in note for note in evaluation.notes)


def test_several_runs_need_a_folder_and_one_size(run: Path, shards: Path, tmp_path: Path) -> None:
    larger = with_other_recipe(run, tmp_path / "larger", size="64")
    with pytest.raises(ValueError, match="a folder for the tables of several"):
        evaluate([run, larger], shards)
    with pytest.raises(ModelError, match=r"one table \(run 32 px, larger 64 px\); give runs of one size"):
        evaluate([run, larger], shards, out=tmp_path / "out")
    with pytest.raises(ModelError, match="is given twice"):
        evaluate([run, run.parent / "." / run.name], shards, out=tmp_path / "out")


def test_an_empty_split_is_a_sentence(run: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", {"train": range(1)})
    with pytest.raises(ModelError, match="has no un-augmented pairs in its split test; choose another of train"):
        evaluate([run], shards)


def test_a_folder_without_a_run_is_a_sentence(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no run \(run.json is missing\)"):
        evaluate([tmp_path], shards)


def test_damaged_weights_are_a_sentence(run: Path, shards: Path) -> None:
    weights = run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"weights.safetensors is damaged"):
        evaluate([run], shards)


def test_a_run_without_weights_is_a_sentence(run: Path, shards: Path) -> None:
    (run / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights yet"):
        evaluate([run], shards)


def test_a_run_of_a_later_format_is_a_sentence(run: Path, shards: Path) -> None:
    (run / "run.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match=r"has format 99, this program reads 1; update deepflash"):
        evaluate([run], shards)


def test_weights_files_are_evaluated_by_their_names(run: Path, shards: Path, tmp_path: Path) -> None:
    """The last weights, the best, a snapshot, and a copy that left its run."""
    snapshot = run / "snapshots" / "step-000022.safetensors"
    snapshot.parent.mkdir()
    loose = tmp_path / "passed on.safetensors"
    for copy in (snapshot, loose):
        shutil.copy(run / "weights.safetensors", copy)
    systems = evaluate([run, run / "best.safetensors", snapshot, loose], shards, out=tmp_path / "out", device="cpu").runs
    assert [system.name for system in systems] == ["run", "run/best", "run/step-000022", "passed on"]
    assert systems[0].pairs == systems[2].pairs == systems[3].pairs


def test_a_weights_file_alone_has_tables_of_its_own(run: Path, shards: Path, tmp_path: Path) -> None:
    (system,) = evaluate([run / "weights.safetensors"], shards, device="cpu").runs
    assert system.name == "run"
    evaluate([run / "best.safetensors"], shards, device="cpu")
    shutil.copy(run / "best.safetensors", tmp_path / "x.safetensors")
    evaluate([tmp_path / "x.safetensors"], shards, device="cpu")
    for folder in (run / "evaluation-test-weights", run / "evaluation-test-best", tmp_path / "evaluation-test-x"):
        assert (folder / "evaluation.html").exists()


def test_a_run_and_its_last_weights_are_the_same(run: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is given twice"):
        evaluate([run, run / "weights.safetensors"], shards, out=tmp_path / "out")


def test_weights_that_left_their_run_know_their_data_set_but_not_its_people(run: Path, shards: Path, tmp_path: Path) -> None:
    """People are not named in a file that is passed on; its own data set still tells who they are."""
    loose = Path(shutil.copy(run / "weights.safetensors", tmp_path / "loose.safetensors"))
    assert b"S000" not in loose.read_bytes()[:100_000]
    (note,) = evaluate([loose], shards, split="train", device="cpu").notes[:1]
    assert "loose was trained on 4 of the 4 subjects of this split" in note
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "test": range(2, 6)})
    (note,) = evaluate([loose], other, device="cpu").notes
    assert "does not say on whom" in note


def test_weights_that_were_put_into_another_run_are_not_taken_for_its_own(run: Path, shards: Path, tmp_path: Path) -> None:
    host = Path(shutil.copytree(run, tmp_path / "host"))
    (host / "run.json").write_text('{"format": 1, "dataset": "another", "subjects": ["S005"]}')
    shutil.copy(run / "best.safetensors", host / "guest.safetensors")
    assert evaluate([host / "guest.safetensors"], shards, device="cpu").notes == ()


def test_files_that_are_no_weights_of_ours_are_a_sentence(run: Path, shards: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    for name, sentence in {
        "foreign.safetensors": "foreign.safetensors does not say how it was trained; give weights that deepflash train wrote",
        "garbage.safetensors": "garbage.safetensors is damaged or of another network .*; copy the file again",
        "missing.safetensors": "missing.safetensors does not exist; give a run's folder, or a file with weights",
    }.items():
        with pytest.raises(ModelError, match=sentence):
            evaluate([tmp_path / name], shards)
    altered = tmp_path / "altered.safetensors"
    content = (run / "best.safetensors").read_bytes()
    altered.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(ModelError, match=r"altered.safetensors is altered: .*; copy the file again"):
        evaluate([altered], shards)
