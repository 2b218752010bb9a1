"""Batches come in an order of seed and epoch, from anywhere, with any number of workers and nodes, and resume exactly."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepflash.errors import ModelError, ShardError
from deepflash.model.reader import PairBatch, ShardReader, epoch_order, windowed_order
from deepflash.shards import ShardWriter, encode_sample, is_unaugmented, open_shards
from tests.web_folder import serve

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores

SIZE = 16
COUNT = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 training samples, four to a shard; the number of each is its colour."""
    return write(tmp_path_factory.mktemp("reader") / "shards")


def write(folder: Path, first: int = 0) -> Path:
    with ShardWriter(folder, target_bytes=15000) as writer:
        for number in range(first, first + COUNT):
            flash = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            variant = {"angle_deg": 0, "frame": "wide", "mirrored": bool(number % 2)}
            info = {"subject": f"S{number}", "pair_id": f"p{number}", "pose": "", "variant": variant}
            writer.add("train", f"k{number:03d}", encode_sample(flash, 255 - flash, info))
        writer.commit({"size": SIZE})
    return folder


def keys(batches: Iterator[PairBatch] | ShardReader) -> list[tuple[str, ...]]:
    return [batch.keys for batch in batches]


def flat(batches: list[tuple[str, ...]]) -> list[str]:
    return list(itertools.chain.from_iterable(batches))


def test_a_batch_holds_the_pictures_as_they_were_written(folder: Path) -> None:
    dataset = open_shards(folder)
    by_key = {entry.key: entry for entry in dataset.entries("train")}
    for batch in ShardReader(folder, batch=5):
        assert batch.flash.shape == batch.studio.shape == (len(batch.keys), SIZE, SIZE, 3)
        assert batch.flash.dtype == torch.uint8
        for key, flash, studio, info in zip(batch.keys, batch.flash, batch.studio, batch.infos, strict=True):
            sample = dataset.read(by_key[key])
            assert (np.array_equal(flash, sample.flash), np.array_equal(studio, sample.studio)) == (True, True)
            assert info == sample.info


def test_an_epoch_shows_every_sample_once_and_the_next_one_in_another_order(folder: Path) -> None:
    reader = ShardReader(folder, batch=4, seed=1)
    assert len(reader) == 6
    first, second = flat(keys(reader)), flat(keys(reader))
    assert reader.epoch == 2
    assert sorted(first) == sorted(second) == [f"k{number:03d}" for number in range(COUNT)]
    assert first != second
    assert flat(keys(ShardReader(folder, batch=7, seed=1))) == first
    assert flat(keys(ShardReader(folder, batch=7, seed=2))) != first
    assert flat(keys(ShardReader(folder, shuffle=False))) == sorted(first)


@pytest.mark.parametrize("options", [{"threads": 3}, {"workers": 1}, {"workers": 2}, {"workers": 3, "threads": 2}])
def test_neither_threads_nor_workers_change_the_batches(folder: Path, options: dict[str, int]) -> None:
    usual = list(ShardReader(folder, batch=3))
    other = list(ShardReader(folder, batch=3, threads=options.get("threads", 1)).loader(options.get("workers", 0)))
    assert [batch.keys for batch in usual] == [batch.keys for batch in other]
    assert all(torch.equal(a.flash, b.flash) for a, b in zip(usual, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 4, 7, 8])
def test_a_reader_goes_on_exactly_where_another_one_stood(folder: Path, workers: int, taken: int) -> None:
    whole = keys(ShardReader(folder, batch=3, seed=5).loader(0))
    begun = ShardReader(folder, batch=3, seed=5)
    seen = keys(itertools.islice(begun.loader(workers), taken))
    state = json.loads(json.dumps(begun.state_dict()))
    resumed = ShardReader(folder, batch=3, seed=5)
    resumed.load_state_dict(state)
    expected = whole if taken in {0, 8} else whole[taken:]
    assert seen == whole[:taken]
    rest = keys(resumed.loader(workers))
    if taken == 8:  # the epoch was over: the next one comes
        second = ShardReader(folder, batch=3, seed=5)
        keys(second)
        expected = keys(second)
    assert rest == expected


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 4))
def test_what_is_left_does_not_depend_on_batches_and_nodes(
    first: int, second: int, nodes: int, others: int, taken: int
) -> None:
    """No sample comes twice, and what equal shares leave out is less than one for each node."""
    dataset = open_shards(_shared())
    begun = [ShardReader(dataset, batch=first, node=(rank, nodes)) for rank in range(nodes)]
    seen = [flat(keys(itertools.islice(iter(reader), taken))) for reader in begun]
    states = {json.dumps(reader.state_dict()) for reader in begun}
    assert len(states) == 1
    if json.loads(next(iter(states)))["epoch"]:
        return
    rest = []
    for rank in range(others):
        reader = ShardReader(dataset, batch=second, node=(rank, others))
        reader.load_state_dict(begun[0].state_dict())
        if reader.epoch:  # fewer are left than there are nodes: the next epoch begins
            assert COUNT - len(flat(seen)) < others
            return
        rest.append(flat(keys(iter(reader))))
    assert len({len(part) for part in rest}) == 1
    together = Counter(flat([*seen, *rest]))  # type: ignore[list-item]
    assert set(together.values()) <= {1}
    assert COUNT - sum(together.values()) < others


_SHARED: list[Path] = []


def _shared() -> Path:
    return _SHARED[0]


@pytest.fixture(autouse=True)
def share(folder: Path) -> None:
    _SHARED[:] = [folder]


def test_nodes_have_equal_shares_of_every_epoch(folder: Path) -> None:
    readers = [ShardReader(folder, batch=2, node=(rank, 4)) for rank in range(4)]
    for _ in range(2):
        shares = [keys(reader) for reader in readers]
        assert {len(share) for share in shares} == {len(readers[0])} == {3}
        assert len(set(flat(flat(shares)))) == 20


def test_a_window_draws_from_a_few_shards_at_a_time(folder: Path) -> None:
    dataset = open_shards(folder)
    shard_of = {entry.key: entry.shard for entry in dataset.entries("train")}
    order = flat(keys(ShardReader(dataset, window=2)))
    assert sorted(order) == sorted(shard_of)
    changes = [shard_of[key] for key in order]
    halves = [set(part) for part in (changes[:8], changes[8:16])]
    assert all(len(half) <= 4 for half in halves)
    assert order != flat(keys(ShardReader(dataset, window=1)))
    assert flat(keys(ShardReader(dataset, window=99))) != sorted(order)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 9))
def test_a_windowed_order_is_a_permutation_whose_windows_do_not_mix(sizes: list[int], window: int, epoch: int) -> None:
    shards = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = windowed_order(3, epoch, shards, window)
    assert sorted(order) == list(range(len(shards)))
    first_seen = list(dict.fromkeys(shards[index] for index in order))
    seen: list[set[str]] = []
    position = 0
    while position < len(order):
        group = {shards[index] for index in order[position:]}
        taken: set[str] = set()
        for index in order[position:]:
            if len(taken | {shards[index]}) > window:
                break
            taken.add(shards[index])
            position += 1
        seen.append(taken)
        assert taken <= group
    assert sum(map(len, seen)) == len(first_seen)  # no shard is drawn from again after its window


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    assert len({tuple(epoch_order(seed, epoch, 30)) for seed in range(3) for epoch in range(3)}) == 9


def test_several_sets_and_globs_are_read_as_one(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", first=100)
    both = sorted(flat(keys(ShardReader(f"{tmp_path}/[ab]"))))
    assert len(both) == 2 * COUNT
    assert sorted(flat(keys(ShardReader([tmp_path / "a", open_shards(tmp_path / "b")])))) == both
    part = flat(keys(ShardReader(f"{folder}/train-00000[01].tar")))
    assert set(part) == {entry.key for entry in open_shards(folder).entries("train") if entry.shard <= "train-000001.tar"}
    with pytest.raises(ShardError, match="matches no folder"):
        ShardReader(f"{tmp_path}/z*")
    with pytest.raises(ShardError, match=r"has no shard train-9\*\.tar"):
        ShardReader(f"{folder}/train-9*.tar")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_web_server_gives_the_same_batches(folder: Path, workers: int, tmp_path: Path) -> None:
    expected = keys(ShardReader(folder, batch=4))
    with serve(folder) as server:
        assert keys(ShardReader(server.url, batch=4, threads=4).loader(workers)) == expected
        whole_files = [path for path, asked in server.asked if path.endswith(".tar") and not asked]
        assert whole_files == []
        server.ranges = False
        cached = ShardReader(server.url, batch=4, threads=4, cache=tmp_path)
        assert keys(cached.loader(workers)) == expected
        whole_files = [path for path, asked in server.asked if path.endswith(".tar") and not asked]
        assert len(whole_files) == len(set(whole_files)) == len(list(folder.glob("*.tar")))
        only = ShardReader(f"{server.url}/train-000000.tar", cache=tmp_path)
        assert len(flat(keys(only))) > 0


def test_an_object_store_gives_the_same_batches(folder: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
    expected = keys(ShardReader(folder, batch=4))
    assert keys(ShardReader(f"memory://{tmp_path.name}", batch=4)) == expected
    assert keys(ShardReader(f"memory://{tmp_path.name}", batch=4, cache=tmp_path / "cache")) == expected
    part = flat(keys(ShardReader(f"memory://{tmp_path.name}/train-000000.tar")))
    assert part


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """One bit flipped in sample k005, and the shard of the last samples gone."""
    copy = tmp_path / "damaged"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (entry,) = (entry for entry in open_shards(copy).entries("train") if entry.key == "k005")
    content = bytearray((copy / entry.shard).read_bytes())
    content[entry.members["studio.png"].offset + 40] ^= 1
    (copy / entry.shard).write_bytes(content)
    return copy


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_sample_stops_with_shard_and_key(damaged: Path, workers: int) -> None:
    reader = ShardReader(damaged, batch=4, shuffle=False)
    batches = reader.loader(workers)
    assert next(batches).keys[0] == "k000"
    with pytest.raises(ShardError, match=r"train-00000\d\.tar, sample k005, is altered: studio\.png .*checksum"):
        next(batches)
    assert reader.state_dict()["delivered"] == 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_broken_sample_is_skipped_if_asked_and_told_of(damaged: Path, workers: int, batch: int) -> None:
    told: list[str] = []
    reader = ShardReader(damaged, batch=batch, on_error="skip", tell=told.append)
    seen = flat(keys(reader.loader(workers)))
    assert sorted(seen) == [f"k{number:03d}" for number in range(COUNT) if number != 5]
    assert len(told) == 1
    assert "sample k005, is altered" in told[0]
    assert reader.state_dict()["epoch"] == 1


def test_a_skipped_sample_is_told_on_stderr_by_default(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys(ShardReader(damaged, batch=4, on_error="skip"))
    assert capsys.readouterr().err.startswith(f"skipped: {damaged}/train-")


def test_a_node_whose_whole_batch_is_broken_stops_all(damaged: Path) -> None:
    readers = [ShardReader(damaged, on_error="skip", tell=lambda _: None, node=(rank, 2)) for rank in range(2)]
    with pytest.raises(ShardError, match=r"no sample of a batch could be read: .*k005"):
        _ = [keys(reader) for reader in readers]


def test_only_selected_samples_are_read(folder: Path) -> None:
    reader = ShardReader(folder, select=lambda entry: is_unaugmented(entry.info))
    assert sorted(flat(keys(reader))) == [f"k{number:03d}" for number in range(0, COUNT, 2)]


def test_a_state_of_other_samples_is_refused(folder: Path) -> None:
    state = ShardReader(folder, seed=1).state_dict()
    with pytest.raises(ModelError, match="seed 1, not 0"):
        ShardReader(folder).load_state_dict(state)
    with pytest.raises(ModelError, match="samples 23, not 12"):
        ShardReader(folder, seed=1, select=lambda entry: is_unaugmented(entry.info)).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "val"}, "has 0 samples to read in split val"),
        ({"node": (2, 2)}, "rank 2 of 2 nodes is none"),
        ({"node": (0, 24)}, "has 23 samples to read"),
        ({"batch": 0}, "at least 1"),
        ({"window": 0}, "at least 1"),
        ({"on_error": "ignore"}, "stop or skip"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        ShardReader(folder, **options)
