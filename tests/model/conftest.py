"""A data set, a recipe and a finished run, all tiny, for the tests of the model room."""

from pathlib import Path

import pytest

from deepflash.model.train import train
from tests.model.tiny_dataset import TINY_RECIPE, write_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four subjects to train on, one to validate with, one to test with."""
    return write_shards(
        tmp_path_factory.mktemp("data") / "shards", {"train": range(4), "val": range(4, 5), "test": range(5, 6)}
    )


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """22 steps of 3 pictures: the epochs end in the middle of batches."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture(scope="session")
def finished(shards: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted. Only to be read."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(shards, run, recipe, device="cpu")
    return run
