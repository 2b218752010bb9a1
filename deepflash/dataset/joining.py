"""Pieces joined to shards: planned from their sizes alone, then written several at a time.

Which sample stands in which shard is decided before any is written, so the bytes do not depend on the number of workers. A
shard is done when the index lines of its samples, and its facts, stand beside the pieces; a build that was killed skips it.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepflash.dataset.pieces import Piece, canonical
from deepflash.files import durable_file
from deepflash.progress import Report
from deepflash.shards import SPLITS, TARGET_BYTES, index_line, iter_samples, write_shard


@dataclass(frozen=True)
class Part:
    """The samples of a piece, from `first` to before `last`, that stand in a shard."""

    piece: Path
    first: int
    last: int


@dataclass(frozen=True)
class ShardPlan:
    """What a shard shall hold."""

    name: str
    split: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class WrittenShard:
    """A shard on the disk: what `dataset.json` says of it, and where the index lines of its samples stand."""

    name: str
    facts: dict[str, Any]
    lines: Path


def plan_shards(pieces: Sequence[tuple[str, Piece]], target_bytes: int = TARGET_BYTES) -> list[ShardPlan]:
    """Plan the shards of a data set.

    Parameters
    ----------
    pieces
        Each with its split, sorted by key.
    target_bytes
        A shard ends before the sample that would make it larger than this.
    """
    plans = []
    for split in SPLITS:
        shards: list[list[Part]] = []
        room = 0
        for piece in (piece for part, piece in pieces if part == split):
            for number, size in enumerate(piece.sample_bytes):
                if size > room:
                    shards.append([])
                    room = target_bytes
                room -= size
                _append(shards[-1], piece.path, number)
        plans += [ShardPlan(f"{split}-{number:06d}.tar", split, tuple(parts)) for number, parts in enumerate(shards)]
    return plans


def write_shards(plans: Sequence[ShardPlan], shards: Path, pieces: Path, *, workers: int, report: Report) -> list[WrittenShard]:
    """Write all shards that an earlier call has not written.

    Threads do it: copying and checksums wait for the disk and let others run, and need no process of their own.

    Parameters
    ----------
    plans
        From `plan_shards`.
    shards, pieces
        Where shards and pieces stand.
    workers
        How many are written at a time.
    report
        Called as shards are finished.

    Raises
    ------
    ShardError
        if a piece is damaged.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="shards")
    written = []
    report(0, len(plans), "writing shards")
    try:
        for shard in pool.map(functools.partial(_write, shards=shards, pieces=pieces), plans):
            written.append(shard)
            report(len(written), len(plans), "writing shards")
    finally:
        pool.shutdown(cancel_futures=True)
    return written


def index_lines(written: Sequence[WrittenShard]) -> Iterator[str]:
    """Yield the index lines of all shards, without holding them."""
    for shard in written:
        with shard.lines.open(encoding="utf-8") as file:
            next(file)  # the facts
            yield from file


def _append(parts: list[Part], piece: Path, number: int) -> None:
    if parts and parts[-1].piece == piece:
        parts[-1] = replace(parts[-1], last=number + 1)
    else:
        parts.append(Part(piece, number, number + 1))


def _write(plan: ShardPlan, shards: Path, pieces: Path) -> WrittenShard:
    path = shards / plan.name
    content = [(part.piece.name, part.first, part.last) for part in plan.parts]
    lines = pieces / f"{hashlib.sha256(canonical([plan.name, content])).hexdigest()}.lines"
    if not (lines.exists() and path.exists()):
        facts, entries = write_shard(path, plan.split, _samples(plan))
        with durable_file(lines) as file:
            file.write(json.dumps(facts).encode() + b"\n")
            file.writelines(index_line(entry).encode() for entry in entries)
    with lines.open(encoding="utf-8") as file:
        return WrittenShard(plan.name, json.loads(next(file)), lines)


def _samples(plan: ShardPlan) -> Iterator[tuple[str, dict[str, bytes]]]:
    for part in plan.parts:
        for number, sample in enumerate(iter_samples(part.piece)):
            if part.first <= number < part.last:
                yield sample
