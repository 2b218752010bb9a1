"""What is in a data set, in numbers: how much of what, and how the pictures are exposed, who moved, how varied the skin is."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepflash.dataset.measures import SKIN_GROUPS, Measures, measure, remarks_on, skin_group
from deepflash.progress import Report, silent
from deepflash.shards import Entry, ShardSet, is_unaugmented, open_shards

NUMBERS = {
    "flash_lightness": "exposure of the face by flash, L*",
    "studio_lightness": "exposure of the face by lamps, L*",
    "flash_clipped": "share of it burnt out by flash",
    "studio_clipped": "share of it burnt out by lamps",
    "flash_ita_deg": "skin by flash, ITA in degrees",
    "studio_ita_deg": "skin by lamps, ITA in degrees",
    "motion": "motion, share of the face's width",
    "flash_sharpness": "sharpness by flash",
    "studio_sharpness": "sharpness by lamps",
    "valid_fraction": "share covered by both photographs",
}
"""What is measured of a pair, and how it is said."""


@dataclass(frozen=True)
class MeasuredPair:
    """A pair of a data set: its un-augmented sample, what was measured, and what is worth a look."""

    entry: Entry
    measures: Measures
    remarks: tuple[str, ...]

    @property
    def pair_id(self) -> str:
        return str(self.entry.info.get("pair_id", self.entry.key))

    @property
    def subject(self) -> str:
        return str(self.entry.info.get("subject", ""))

    @property
    def pose(self) -> str:
        return str(self.entry.info.get("pose") or "unknown")

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`, and for the report."""
        place = {"pair_id": self.pair_id, "split": self.entry.split, "subject": self.subject, "pose": self.pose}
        return {**place, "remarks": list(self.remarks), "measures": self.measures.as_dict()}


@dataclass(frozen=True)
class Summary:
    """What is in a data set.

    Attributes
    ----------
    shards
        The data set.
    splits
        For each split subjects, pairs, samples, shards and size_bytes.
    poses
        Pairs of each pose in each split.
    pairs
        Every pair, measured; the worst first.
    """

    shards: ShardSet
    splits: dict[str, dict[str, int]]
    poses: dict[str, dict[str, int]]
    pairs: tuple[MeasuredPair, ...]

    def spread(self, name: str, split: str) -> tuple[float, float, float] | None:
        """Return the 5th percentile, the median and the 95th of a number over a split's pairs; None if none has it."""
        found = [getattr(pair.measures, name) for pair in self.pairs if pair.entry.split == split]
        values = [value for value in found if value is not None]
        if not values:
            return None
        low, middle, high = (float(value) for value in np.percentile(values, (5, 50, 95)))
        return low, middle, high

    def skin(self, split: str) -> dict[str, int]:
        """Return how many pairs of a split are in each group of skin colours, under the lamps."""
        angles = [pair.measures.studio_ita_deg for pair in self.pairs if pair.entry.split == split]
        counts = Counter(skin_group(angle) for angle in angles if angle is not None)
        return {name: counts[name] for name in (*(name for _, name in SKIN_GROUPS), "dark")}

    def eyes(self, split: str) -> dict[str, int]:
        """Return of how many pairs of a split the eyes are open, shut, or not known."""
        words = {True: "open", False: "shut", None: "unknown"}
        counts = Counter(words[pair.measures.eyes_open] for pair in self.pairs if pair.entry.split == split)
        return {word: counts[word] for word in words.values()}

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        spreads = {name: {split: self.spread(name, split) for split in self.splits} for name in NUMBERS}
        return {
            "shards": str(self.shards.place),
            "size": self.shards.size,
            "pictures": self.shards.manifest.get("pictures"),
            "splits": self.splits,
            "poses": self.poses,
            "numbers": {
                name: {
                    split: None if spread is None else dict(zip(("p5", "median", "p95"), spread, strict=True))
                    for split, spread in row.items()
                }
                for name, row in spreads.items()
            },
            "skin": {split: self.skin(split) for split in self.splits},
            "eyes": {split: self.eyes(split) for split in self.splits},
            "pairs": [pair.as_dict() for pair in self.pairs],
        }

    def tables(self) -> str:
        """Return it as tables for a person."""
        splits = list(self.splits)
        sizes = [
            [
                split,
                *(f"{facts[name]:,}" for name in ("subjects", "pairs", "samples", "shards")),
                f"{facts['size_bytes'] / 1e6:.1f}",
            ]
            for split, facts in self.splits.items()
        ]
        counted = [
            ("pose", self.poses),
            ("skin by lamps", {split: self.skin(split) for split in splits}),
            ("eyes", {split: self.eyes(split) for split in splits}),
        ]
        spreads = [[said, *(_said(self.spread(name, split)) for split in splits)] for name, said in NUMBERS.items()]
        parts = [
            _table(["split", *_COUNTED, "MB"], sizes),
            *(_table([what, *splits], _rows(counts)) for what, counts in counted),
            _table(["median (5 to 95 %)", *splits], spreads),
            self._worth_a_look(),
        ]
        return "\n\n".join(parts)

    def _worth_a_look(self) -> str:
        remarked = [pair for pair in self.pairs if pair.remarks]
        lines = [f"{pair.pair_id} ({pair.entry.split}): {'; '.join(pair.remarks)}" for pair in remarked[:_MOST_NAMED]]
        more = [f"... and {len(remarked) - _MOST_NAMED} more; --json has all"] if len(remarked) > _MOST_NAMED else []
        return "\n".join([f"{len(remarked)} of {len(self.pairs)} pairs are worth a look", *lines, *more])


_COUNTED = ("subjects", "pairs", "samples", "shards")
_MOST_NAMED = 10


def summarize(location: str | Path, *, eyes: bool = False, workers: int = 1, report: Report = silent) -> Summary:
    """Count what is in a data set and measure its un-augmented samples.

    Parameters
    ----------
    location
        A data set, as `open_shards` takes it.
    eyes
        Whether to look for shut eyes, see `measure`.
    workers
        Threads that read and measure; the outcome does not depend on it.
    report
        Called as pairs are measured.

    Raises
    ------
    ShardError
        if it is none, or a sample is damaged.
    """
    shards = open_shards(location)
    entries = [entry for split in shards.splits for entry in shards.entries(split) if is_unaugmented(entry.info)]

    def measured(entry: Entry) -> MeasuredPair:
        sample = shards.read(entry)
        measures = measure(sample.flash, sample.studio, sample.info, eyes=eyes)
        return MeasuredPair(entry, measures, tuple(remarks_on(measures)))

    pairs = _in_threads(measured, entries, workers, report)
    splits = {split: _size_of(shards, split) for split in shards.splits}
    poses = {split: dict(Counter(pair.pose for pair in pairs if pair.entry.split == split)) for split in shards.splits}
    return Summary(shards, splits, poses, tuple(sorted(pairs, key=_goodness)))


def _in_threads(
    function: Callable[[Entry], MeasuredPair], entries: Sequence[Entry], workers: int, report: Report
) -> list[MeasuredPair]:
    """Measure in threads: decoding and checksums let others run, so that none needs a process of its own."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="measures")
    found = []
    report(0, len(entries), "")
    try:
        for pair in pool.map(function, entries):
            found.append(pair)
            report(len(found), len(entries), "")
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _goodness(pair: MeasuredPair) -> tuple[int, float, str]:
    return -len(pair.remarks), -pair.measures.motion, pair.entry.key


def _size_of(shards: ShardSet, split: str) -> dict[str, int]:
    names = {entry.shard for entry in shards.entries(split)}
    facts = [shards.manifest["shards"][name] for name in names]
    size_bytes = sum(int(fact["size_bytes"]) for fact in facts)
    return {**shards.manifest["counts"][split], "shards": len(names), "size_bytes": size_bytes}


def _rows(counts: dict[str, dict[str, int]]) -> list[list[str]]:
    names = dict.fromkeys(name for row in counts.values() for name in row)
    return [[name, *(str(row.get(name, 0)) for row in counts.values())] for name in names]


def _said(spread: tuple[float, float, float] | None) -> str:
    if spread is None:
        return "-"
    low, middle, high = spread
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in (names, *rows)) for column in range(len(names))]
    lines = [
        line[0].ljust(widths[0]) + "".join(f"  {cell.rjust(width)}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in (names, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
