"""A run that starts from another's weights: what it takes over, what it remembers, what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from deepflash.errors import ModelError
from deepflash.files import sha256_of
from deepflash.model.evaluate import evaluate
from deepflash.model.recipe import load_recipe
from deepflash.model.tensorfile import write_tensors
from deepflash.model.train import read_metrics, train
from tests.model.test_train import same_weights, stop_at
from tests.model.tiny_dataset import TINY_RECIPE, write_shards


def tuned(finished: Path, tmp_path: Path, start: str = "best.safetensors", more: str = "") -> Path:
    """Write a recipe that starts from a run, with 4 steps of its own."""
    path = tmp_path / "tuned.toml"
    path.write_text(TINY_RECIPE + f'max_steps = 4\nstart_from = "{finished / start}"\n{more}')
    return path


def test_a_run_starts_from_the_weights_of_another(shards: Path, finished: Path, tmp_path: Path) -> None:
    """On other people's pictures; its first validation is that of the weights that it starts from."""
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "val": range(4, 5)})
    run = tmp_path / "run"
    assert train(other, run, tuned(finished, tmp_path), device="cpu").steps == 4
    best = max(line["psnr"] for line in read_metrics(finished) if line["split"] == "val")
    assert read_metrics(run)[0]["psnr"] == pytest.approx(best, abs=1e-3)

    checksum = sha256_of(finished / "best.safetensors")
    origin = json.loads((run / "run.json").read_text())
    assert origin["subjects"] == ["S007", "S008"]
    assert origin["started_from"]["sha256"] == checksum
    assert origin["started_from"]["subjects"] == ["S000", "S001", "S002", "S003"]
    with safe_open(run / "weights.safetensors", framework="pt") as file:
        assert file.metadata()["started_from"] == checksum


def test_whom_the_first_weights_were_trained_on_is_not_forgotten(shards: Path, finished: Path, tmp_path: Path) -> None:
    """Tuned on two people, evaluated on one of those four whom the first run knew."""
    other = write_shards(tmp_path / "other", {"train": range(7, 9), "val": range(4, 5), "test": range(3, 4)})
    run = tmp_path / "run"
    train(other, run, tuned(finished, tmp_path), device="cpu")
    (note,) = evaluate([run], other, device="cpu").notes
    assert "run was trained on 1 of the 1 subjects of this split (S003)" in note
    loose = Path(shutil.copy(run / "best.safetensors", tmp_path / "loose.safetensors"))
    (note,) = evaluate([loose], other, device="cpu").notes
    assert "loose was trained on another data set and does not say on whom" in note


def test_a_run_with_another_start_resumes_with_the_same_bits_and_without_it(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    start = Path(shutil.copytree(finished, tmp_path / "start"))
    recipe = tuned(start, tmp_path, "weights.safetensors")
    train(shards, tmp_path / "whole", recipe, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", recipe, device="cpu", report=stop_at(2))
    shutil.rmtree(start)
    assert train(shards, tmp_path / "run", recipe, device="cpu").resumed_from == 2
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert not same_weights(tmp_path / "run", finished)


def test_a_start_that_changed_before_the_first_save_is_noticed(shards: Path, finished: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(finished, tmp_path / "start"))
    recipe = tuned(start, tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", recipe, device="cpu", report=stop_at(2))
    (tmp_path / "run" / "state.pt").unlink()
    shutil.copy(start / "best.safetensors", start / "weights.safetensors")
    weights = start / "weights.safetensors"
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    write_tensors(weights, load_file(weights), {**metadata, "step": "21"})
    with pytest.raises(ModelError, match=r"start/? has changed since .*run was begun with it; give a new folder"):
        train(shards, tmp_path / "run", recipe, device="cpu")


def test_a_start_of_another_kind_is_refused_before_anything_is_written(shards: Path, finished: Path, tmp_path: Path) -> None:
    for more, sentence in {
        "encoding = 'A'": "it has encoding C, not A; change the recipe, or start from another",
        "image_skip = true": "it has image_skip False, not True",
        "encoder_weights = 'vgg16.pth'": "start_from brings an encoder, too; leave out encoder_weights",
    }.items():
        with pytest.raises(ModelError, match=sentence):
            train(shards, tmp_path / "run", tuned(finished, tmp_path, more=more), device="cpu")
    wide = load_recipe(tuned(finished, tmp_path), ["width=0.125", "network=light"])
    with pytest.raises(ModelError, match=r"it has network deepflash, not light, width 0\.0625, not 0\.125"):
        train(shards, tmp_path / "run", wide, device="cpu")
    with pytest.raises(ModelError, match="holds no run"):
        train(shards, tmp_path / "run", load_recipe(tuned(finished, tmp_path), ["start_from=nowhere"]), device="cpu")
    assert not (tmp_path / "run").exists()
