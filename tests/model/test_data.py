"""Pictures reach the network in an order that is a pure function of seed and position."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepflash.errors import ModelError
from deepflash.model.data import TrainingPictures, portraits, read_reduced, samples_at, to_picture, to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.shards import ShardSet, open_shards
from tests.model.tiny_dataset import SIZE, flash_and_studio

CPU = torch.device("cpu")


def pictures(shards: Path, **options: object) -> TrainingPictures:
    dataset = open_shards(shards)
    return TrainingPictures(
        dataset, dataset.entries("train"), size=32, encoding=encoding_named("C"), device=CPU, **options
    )  # fmt: skip


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_epoch_shows_every_sample_once(count: int, epoch: int, seed: int) -> None:
    assert sorted(samples_at(range(epoch * count, (epoch + 1) * count), count, seed)) == list(range(count))


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 60))
def test_a_sample_depends_only_on_seed_and_position(count: int, start: int, length: int) -> None:
    """However the run is cut into batches or interrupted."""
    together = samples_at(range(start, start + length), count, 3)
    assert together == [samples_at(range(position, position + 1), count, 3)[0] for position in range(start, start + length)]


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(samples_at(range(epoch * 30, epoch * 30 + 30), 30, seed)) for epoch in range(3) for seed in range(3)}
    assert len(orders) == 9


def test_a_batch_holds_the_filtered_flash_and_the_target(shards: Path) -> None:
    dataset, encoding = open_shards(shards), encoding_named("C")
    entries = dataset.entries("train")
    batch = next(iter(pictures(shards).batches(2, 0, range(1))))
    for place, index in enumerate(samples_at(range(2), len(entries), 0)):
        flash, studio = (to_tensor(picture[None]) for picture in read_reduced(dataset, entries[index], 32))
        expected = encoding.target(encoding.prepare(flash), encoding.prepare(studio))
        assert torch.allclose(batch.prepared[place], encoding.prepare(flash)[0], atol=5e-4)
        assert torch.allclose(batch.target[place], expected[0], atol=5e-4)


@pytest.mark.parametrize("options", [{"cache_bytes": 0}, {"cache_bytes": 5 * 12 * 32 * 32}, {"workers": 1}, {"workers": 4}])
def test_neither_memory_nor_workers_change_a_bit(shards: Path, options: dict[str, int]) -> None:
    """Batches of five of sixteen samples: three epochs, cut in their middle."""
    usual = list(pictures(shards).batches(5, 0, range(9)))
    other = list(pictures(shards, **options).batches(5, 0, range(9)))
    assert all(
        torch.equal(a.prepared, b.prepared) and torch.equal(a.target, b.target) for a, b in zip(usual, other, strict=True)
    )


def test_kept_pictures_are_not_read_again(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 samples, 12 kept: the second epoch reads the four that did not fit."""
    reads: list[str] = []
    read = ShardSet.read
    monkeypatch.setattr(ShardSet, "read", lambda self, entry: (reads.append(entry.key), read(self, entry))[1])
    batches = pictures(shards, cache_bytes=12 * 12 * 32 * 32).batches(16, 0, range(8))
    for _ in range(4):  # two batches are read ahead
        next(batches)
    reads.clear()
    next(batches)
    batches.close()
    assert len(reads) == 4


def test_a_batch_larger_than_the_set_goes_on_into_the_next_epoch(shards: Path) -> None:
    batch = next(iter(pictures(shards).batches(20, 0, range(1))))
    assert batch.prepared.shape == (20, 3, 32, 32)


def test_evaluation_sees_un_augmented_pairs_only(shards: Path) -> None:
    found = list(portraits(open_shards(shards), "train", 32))
    assert [portrait.key for portrait in found] == ["S000-00a", "S001-00a", "S002-00a", "S003-00a"]
    assert [portrait.subject for portrait in found] == ["S000", "S001", "S002", "S003"]


def test_larger_pictures_are_reduced_by_area(shards: Path) -> None:
    dataset = open_shards(shards)
    flash, _ = read_reduced(dataset, dataset.entries("test")[0], 20)
    full, _ = flash_and_studio(5)
    by_area = full.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    assert len(full) == SIZE
    assert np.abs(flash - by_area).max() <= 0.51  # rounding


def test_smaller_pictures_are_refused(shards: Path) -> None:
    dataset = open_shards(shards)
    with pytest.raises(ModelError, match=r"wants pictures of 64 px, but .* holds 40 px; build the data set with --size 64"):
        read_reduced(dataset, dataset.entries("test")[0], 64)


def test_pictures_survive_the_way_to_tensors_and_back() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(to_picture(to_tensor(picture[None])[0]), picture)
