"""Batches of pairs from shards, wherever they stand, for anybody's training loop.

The order is a pure function of seed and epoch, and a batch a pure function of the order and its number. So the batches are
the same with any number of threads, worker processes and nodes, and a loader goes on in the middle of an epoch from three
numbers: seed, epoch, and how many samples of the epoch all nodes together have behind them.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from deepflash.errors import ModelError, ShardError
from deepflash.pictures import Picture
from deepflash.shards import Entry, Sample, ShardSet, open_shard_sets

Order = NDArray[np.int64]
OnError = Literal["stop", "skip"]
TellBroken = Callable[[str], None]

_STATE_FORMAT = 1
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class PairBatch:
    """Samples of one step.

    Attributes
    ----------
    flash, studio
        (N, H, W, 3) RGB `uint8`.
    keys
        Of the samples, in their order.
    infos
        What the data set's JSON says of each.
    broken
        What could not be read and was left out, one sentence each; empty unless `on_error` is `skip`.
    """

    flash: Tensor
    studio: Tensor
    keys: tuple[str, ...]
    infos: tuple[dict[str, Any], ...]
    broken: tuple[str, ...] = ()

    def pin_memory(self) -> "PairBatch":
        """Move the pictures to memory from which a GPU copies fastest; a `DataLoader` calls it."""
        return PairBatch(self.flash.pin_memory(), self.studio.pin_memory(), self.keys, self.infos, self.broken)


def epoch_order(seed: int, epoch: int, count: int) -> Order:
    """Return the order of `count` samples in an epoch: a permutation that seed and epoch decide.

    >>> epoch_order(0, 3, 5).tolist() == epoch_order(0, 3, 5).tolist()
    True
    """
    return np.random.default_rng([seed, epoch]).permutation(count)


def windowed_order(seed: int, epoch: int, shards: Sequence[str], window: int) -> Order:
    """Return an order that draws from `window` shards at a time: they are shuffled, grouped, and mixed within each group.

    Parameters
    ----------
    shards
        The shard of each sample; those of one shard are consecutive.
    """
    random = np.random.default_rng([seed, epoch])
    numbered = enumerate(shards)
    runs = [[index for index, _ in run] for _, run in groupby(numbered, key=lambda item: item[1])]
    turns = random.permutation(len(runs))
    groups = [np.concatenate([runs[turn] for turn in turns[first : first + window]]) for first in range(0, len(runs), window)]
    return np.concatenate([random.permutation(group) for group in groups]).astype(np.int64)


class ShardReader(IterableDataset[PairBatch]):
    """Iterates over one epoch of a split at a time, in batches; the next iteration is the next epoch.

    Iterate over it directly (threads decode; enough for most networks), or over `loader(workers)`, which decodes in worker
    processes. Either way `state_dict` tells what was delivered, and a reader that loads it delivers exactly the rest.

    Parameters
    ----------
    source
        Where the data set stands: a folder, a URL (`https://`, `s3://` and what else fsspec reads), a glob of folders or of
        shards (`sets/*`, `shards/train-00000[0-3].tar`), several of these, or an open `ShardSet`.
    split
        `train`, `val` or `test`.
    batch
        Samples in each batch on each node.
    seed
        Of the order.
    shuffle
        Whether epochs have orders of their own; if not, each is in the order of the keys.
    window
        Draw from that many shards at a time: for disks and caches to which random access is dear. Default: from all.
    select
        Which samples to use, by their line in the index, such as `is_unaugmented` of its info.
    node
        (rank, world): which process of a distributed run this is, and of how many; that of `torch.distributed` if it is
        initialised, else (0, 1). All get equally many samples: up to `world - 1` of an epoch, other ones each time, go to none.
    on_error
        What to do about a sample that is missing or damaged: `stop` with a `ShardError`, or `skip` it and go on, telling of it.
        Its batch is then smaller; one of which nothing is left is not delivered, and ends a run of several nodes, because
        the others would wait for this one.
    tell
        Called in this process with a sentence (shard, key, cause) for every sample skipped; writes to stderr by default.
    threads
        That read and decode ahead where no worker processes do.
    cache
        A local folder that takes copies of remote shards.

    Raises
    ------
    ShardError
        if there is no such data set, or it is damaged.
    ModelError
        if the split is empty or a number is out of range.
    """

    def __init__(  # noqa: PLR0913 (as many as choices, like those of torch's DataLoader)
        self,
        source: str | Path | ShardSet | Sequence[str | Path | ShardSet],
        split: str = "train",
        *,
        batch: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        window: int | None = None,
        select: Callable[[Entry], bool] | None = None,
        node: tuple[int, int] | None = None,
        on_error: OnError = "stop",
        tell: TellBroken | None = None,
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        self._sets = open_shard_sets(source, cache=cache)
        self._samples = [
            (number, entry)
            for number, shards in enumerate(self._sets)
            for entry in shards.entries(split)
            if select is None or select(entry)
        ]
        self._batch = batch
        self._seed = seed
        self._shuffle = shuffle
        self._window = window
        self._rank, self._world = _node(node)
        self._on_error = on_error
        self._tell = tell or _tell_on_stderr
        self._threads = threads
        self._epoch = 0
        self._delivered = 0
        if len(self._samples) < self._world:
            places = ", ".join(str(shards.place) for shards in self._sets)
            raise ModelError(f"{places} has {len(self._samples)} samples to read in split {split}; build a larger data set")
        if min(batch, threads, 1 if window is None else window) < 1 or seed < 0 or on_error not in {"stop", "skip"}:
            raise ModelError("batch, threads and window are at least 1, seed at least 0, on_error is stop or skip")

    def __getstate__(self) -> dict[str, Any]:
        """Leave at home what only the process that trains calls: it need not be something that can be sent."""
        return {**self.__dict__, "_tell": _tell_on_stderr}

    @property
    def epoch(self) -> int:
        """The epoch that is, or will be, iterated over; from 0."""
        return self._epoch

    def __len__(self) -> int:
        """Return how many batches an epoch has on this node."""
        return math.ceil(len(self._samples) // self._world / self._batch)

    def __iter__(self) -> Iterator[PairBatch]:
        """Yield the batches that are left of the epoch; in a worker process, those that are its share."""
        worker = get_worker_info()
        if worker is None:
            yield from self._counted(self._read_batches(self._batches_left()))
        else:
            for order in self._batches_left()[worker.id :: worker.num_workers]:  # torch lets its workers run ahead
                yield _collated([self._read(index) for index in order])

    def loader(self, workers: int, **options: Any) -> Iterator[PairBatch]:
        """Yield the batches that are left of the epoch, decoded in `workers` processes; 0 decodes in this one.

        The processes are spawned, which takes some seconds in every epoch: forked ones may hang, as threads do not survive
        a fork. Where decoding in `threads` keeps up, it is the simpler way.

        Parameters
        ----------
        options
            For torch's `DataLoader`, such as `pin_memory=True`.
        """
        if workers:
            options.setdefault("multiprocessing_context", "spawn")
        batches: DataLoader[PairBatch] = DataLoader(self, batch_size=None, num_workers=workers, **options)
        return self._counted(iter(batches)) if workers else iter(batches)

    def state_dict(self) -> dict[str, int]:
        """Return what `load_state_dict` needs to go on behind the last batch that was delivered. The same on all nodes."""
        return {
            "format": _STATE_FORMAT,
            "seed": self._seed,
            "epoch": self._epoch,
            "delivered": self._delivered,
            "samples": len(self._samples),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where another reader of these samples stood. Batch size, nodes and workers may differ from its.

        Raises
        ------
        ModelError
            if the state belongs to other samples or another order.
        """
        mine = self.state_dict()
        differing = [name for name in ("format", "seed", "samples") if state.get(name) != mine[name]]
        if differing:
            said = ", ".join(f"{name} {state.get(name)}, not {mine[name]}" for name in differing)
            raise ModelError(f"this state belongs to another reader ({said}); use it with the same data set, split and seed")
        self._epoch, self._delivered = int(state["epoch"]), int(state["delivered"])
        self._roll_over()

    @property
    def _step(self) -> int:
        return self._batch * self._world

    @property
    def _end(self) -> int:
        """Where in the epoch's order the last step of equal shares ends."""
        left = len(self._samples) - self._delivered
        return self._delivered + left // self._world * self._world

    def _batches_left(self) -> list[Order]:
        """Return the samples of this node's batches, from the next one on."""
        order = self._order()[self._delivered : self._end]
        steps = (order[first : first + self._step] for first in range(0, len(order), self._step))
        return [step[self._rank :: self._world] for step in steps]

    def _order(self) -> Order:
        if not self._shuffle:
            return np.arange(len(self._samples))
        if self._window is None:
            return epoch_order(self._seed, self._epoch, len(self._samples))
        shards = [f"{number}/{entry.shard}" for number, entry in self._samples]
        return windowed_order(self._seed, self._epoch, shards, self._window)

    def _counted(self, batches: Iterator[PairBatch]) -> Iterator[PairBatch]:
        """Pass the batches on, keeping account of them; broken samples are dealt with here, in the process that trains."""
        for batch in batches:
            if batch.broken and self._on_error == "stop":
                raise ShardError(batch.broken[0])
            self._delivered = min(self._delivered + self._step, self._end)
            self._roll_over()
            for sentence in batch.broken:
                self._tell(sentence)
            if batch.keys:
                yield batch
            elif self._world > 1:
                raise ShardError(f"no sample of a batch could be read: {batch.broken[-1]}")

    def _roll_over(self) -> None:
        if self._delivered == self._end:
            self._epoch, self._delivered = self._epoch + 1, 0

    def _read_batches(self, orders: Sequence[Order]) -> Iterator[PairBatch]:
        """Yield batches, while threads read and decode those that follow."""
        waiting = iter(orders)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="shards") as readers:
            ahead: deque[list[Future[Sample | str]]] = deque()
            try:
                for order in islice(waiting, _BATCHES_AHEAD):
                    ahead.append([readers.submit(self._read, index) for index in order])
                while ahead:
                    batch = _collated([future.result() for future in ahead.popleft()])
                    for order in islice(waiting, 1):
                        ahead.append([readers.submit(self._read, index) for index in order])
                    yield batch
            finally:
                readers.shutdown(cancel_futures=True)

    def _read(self, index: int) -> Sample | str:
        """Return a sample, or one sentence about why there is none: an exception would lose its words between processes."""
        number, entry = self._samples[index]
        try:
            return self._sets[number].read(entry)
        except ShardError as error:
            return str(error)


def _collated(read: list[Sample | str]) -> PairBatch:
    whole = [sample for sample in read if isinstance(sample, Sample)]
    return PairBatch(
        _stacked([sample.flash for sample in whole]),
        _stacked([sample.studio for sample in whole]),
        tuple(sample.key for sample in whole),
        tuple(sample.info for sample in whole),
        tuple(sentence for sentence in read if isinstance(sentence, str)),
    )


def _stacked(pictures: list[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)) if pictures else torch.empty((0, 0, 0, 3), dtype=torch.uint8)


def _node(given: tuple[int, int] | None) -> tuple[int, int]:
    if given is None:
        return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
    rank, world = given
    if not 0 <= rank < world:
        raise ModelError(f"rank {rank} of {world} nodes is none; ranks count from 0")
    return rank, world


def _tell_on_stderr(sentence: str) -> None:
    sys.stderr.write(f"skipped: {sentence}\n")
