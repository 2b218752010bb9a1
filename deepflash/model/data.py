"""Pictures from shards to the network, in an order that is a pure function of seed and position.

No worker holds a position and no epoch holds a generator's state: sample `p` of a run is known from the seed alone,
so a run that goes on in the middle of an epoch sees exactly what it would have seen, with any number of workers.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.encodings import Encoding
from deepflash.model.reader import epoch_order
from deepflash.pictures import Picture
from deepflash.shards import Entry, ShardSet, is_unaugmented

Pair = tuple[Picture, Picture]
"""Flash and studio picture."""

_AHEAD = 2  # batches that are read while one is trained on


@dataclass(frozen=True)
class Batch:
    """What a training step needs: both (N, 3, size, size) float32.

    Attributes
    ----------
    prepared
        The prepared flash pictures, which the network sees.
    target
        The answers that it shall give.
    """

    prepared: Tensor
    target: Tensor


@dataclass(frozen=True)
class Portrait:
    """One un-augmented pair for evaluation: `flash` and `studio` are (1, 3, size, size) float32 in [0, 1]."""

    key: str
    subject: str
    flash: Tensor
    studio: Tensor


def samples_at(positions: range, count: int, seed: int) -> list[int]:
    """Return which samples stand at some positions of a run: every sample once in each `count` positions, then again.

    >>> sorted(samples_at(range(10, 15), count=5, seed=0))
    [0, 1, 2, 3, 4]
    """
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in positions:
        epoch, place = divmod(position, count)
        if epoch not in orders:
            orders[epoch] = epoch_order(seed, epoch, count).tolist()
        chosen.append(orders[epoch][place])
    return chosen


class TrainingPictures:
    """The samples of a split, prepared for the network and kept in memory as far as they fit.

    Prepared pictures are rounded to float16 (an error of 78 dB) whether kept or not, and prepared one by one on a CPU,
    so neither the cache's size nor a resume changes a training curve.

    Parameters
    ----------
    shards, entries
        Where the pictures are, and which of them.
    size
        Side in pixels; larger pictures are reduced by area.
    encoding
        What is prepared, and what the target is.
    device
        Where pictures are prepared and batches are delivered.
    workers
        Threads that read and decode ahead.
    cache_bytes
        Bound of the memory that prepared pictures take, at 12 bytes a pixel of a pair.
    """

    def __init__(
        self,
        shards: ShardSet,
        entries: Sequence[Entry],
        *,
        size: int,
        encoding: Encoding,
        device: torch.device,
        workers: int = 2,
        cache_bytes: int = 2**30,
    ) -> None:
        self._shards = shards
        self._entries = entries
        self._size = size
        self._encoding = encoding
        self._device = device
        self._workers = max(1, workers)
        self._room = cache_bytes // (12 * size * size)
        self._kept: dict[int, Tensor] = {}

    def batches(self, batch: int, seed: int, steps: range, share: Callable[[list[int]], list[int]] = list) -> Iterator[Batch]:
        """Yield the batches of some steps of a run, or a share of each, reading the next pictures meanwhile."""
        requested: deque[dict[int, Future[Pair]]] = deque()
        orders: deque[list[int]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="shards") as readers:
            for step in steps:
                chosen = share(samples_at(range(step * batch, (step + 1) * batch), len(self._entries), seed))
                orders.append(chosen)
                requested.append({index: readers.submit(self._read, index) for index in set(chosen) - self._kept.keys()})
                if len(orders) > _AHEAD:
                    yield self._deliver(orders.popleft(), requested.popleft())
            while orders:
                yield self._deliver(orders.popleft(), requested.popleft())

    def _read(self, index: int) -> Pair:
        return read_reduced(self._shards, self._entries[index], self._size)

    def _deliver(self, chosen: list[int], read: dict[int, Future[Pair]]) -> Batch:
        prepared = {index: self._kept[index] for index in chosen if index in self._kept}
        fresh = [index for index in sorted(read) if index not in prepared]
        if fresh:
            pictures = np.stack([picture for index in fresh for picture in read[index].result()])
            halves = self._encoding.prepare(to_tensor(pictures, self._device)).half().view(-1, 2, 3, self._size, self._size)
            prepared.update(zip(fresh, halves.cpu(), strict=True))
        for index in fresh[: max(0, self._room - len(self._kept))]:
            self._kept[index] = prepared[index].clone()  # a view would keep the whole batch
        pairs = torch.stack([prepared[index] for index in chosen]).to(self._device, torch.float32)  # (N, 2, 3, H, W)
        return Batch(pairs[:, 0], self._encoding.target(pairs[:, 0], pairs[:, 1]))


def portraits(shards: ShardSet, split: str, size: int, *, limit: int | None = None) -> Iterator[Portrait]:
    """Yield the un-augmented pairs of a split, in the order of their keys.

    Raises
    ------
    ShardError
        if a shard is missing, cut short or altered.
    """
    for entry in unaugmented(shards, split)[:limit]:
        flash, studio = (to_tensor(picture[None]) for picture in read_reduced(shards, entry, size))
        yield Portrait(entry.key, entry.subject, flash, studio)


def unaugmented(shards: ShardSet, split: str) -> list[Entry]:
    """Return the samples of a split that show photographs as they were taken."""
    return [entry for entry in shards.entries(split) if is_unaugmented(entry.info)]


def read_reduced(shards: ShardSet, entry: Entry, size: int) -> Pair:
    """Read a sample's flash and studio pictures, reduced by area to `size`.

    Raises
    ------
    ModelError
        if the data set's pictures are smaller than that.
    ShardError
        if the shard is missing, cut short or altered.
    """
    sample = shards.read(entry)
    if len(sample.flash) < size:
        raise ModelError(
            f"the recipe wants pictures of {size} px, but {shards.place} holds {len(sample.flash)} px;"
            f" build the data set with --size {size}, or choose another recipe"
        )
    return _reduced(sample.flash, size), _reduced(sample.studio, size)


def to_tensor(pictures: Picture, device: torch.device | None = None) -> Tensor:
    """Turn (N, H, W, 3) `uint8` into (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous()


def to_picture(tensor: Tensor) -> Picture:
    """Turn (3, H, W) values in [0, 1], clipped, into (H, W, 3) `uint8`."""
    scaled = tensor.detach().clamp(0, 1).mul(255).round_().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())


def _reduced(picture: Picture, size: int) -> Picture:
    if picture.shape[:2] == (size, size):
        return picture
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
