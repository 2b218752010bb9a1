"""Comparison: the tables and the figure that the paper shows, of any runs on any data set.

Each split is measured as `evaluate` measures it, whole; the means of a random sample are those of some of its pairs.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepflash.errors import ModelError
from deepflash.model.comparison import SETS, ComparedSet, Comparison, write_comparison
from deepflash.model.contenders import Contenders, load_contenders
from deepflash.model.data import portraits, unaugmented
from deepflash.model.evaluate import baseline_notes
from deepflash.model.measures import Evaluation
from deepflash.model.measuring import Measuring, Passing
from deepflash.model.runs import dataset_identity
from deepflash.model.style_systems import STYLE_NAMES, style_of_another, style_of_the_answer
from deepflash.model.systems import FLASH, System, fitted_baselines
from deepflash.model.tables import remove_tables, write_tables
from deepflash.progress import Report, silent
from deepflash.shards import ShardSet, open_shards

SAMPLE = 30
"""Pairs that the paper's tables 2 and 3 draw of each set."""


def compare(
    runs: Sequence[Path],
    shards: Path,
    out: Path,
    *,
    style_transfer: bool = False,
    pictures: int = 4,
    seed: int = 0,
    device: str | None = None,
    report: Report = silent,
) -> Comparison:
    """Measure runs and baselines on the un-augmented pairs of every split, and write tables and figures.

    Parameters
    ----------
    runs
        Folders of trained runs, or weights files, all of one size. The first is compared with each of the others.
    shards
        Folder of a data set, not necessarily the one they were trained on.
    out
        Folder for the tables, see `write_comparison`; and in `out/SPLIT` those of each split, see `tables.write_tables`.
        What an earlier comparison left there is replaced, or removed.
    style_transfer
        Whether portrait style transfer is compared too, with each pair's own studio picture as the example and with that of
        another person of the training split. About a second for each pair at 512 px.
    pictures
        Pairs in each split's figure.
    seed
        Of the random samples, and with them of the pairs in the figures.
    device
        As torch names it; the GPU if there is one, else the CPU.
    report
        Called after every pair, those that baselines are fitted to included.

    Raises
    ------
    ModelError
        if a run cannot be used, sizes differ, or the data set has no un-augmented pairs.
    FaceError
        if style transfer is asked for and faces cannot be found on this machine.
    ShardError
        if the data set cannot be read.
    """
    contenders = load_contenders(runs, device, taken=STYLE_NAMES)
    dataset = open_shards(shards)
    keys = {split: [entry.key for entry in unaugmented(dataset, split)] for split in SETS}
    splits = [split for split in SETS if keys[split]]
    if not splits:
        raise ModelError(f"{shards} has no un-augmented pairs; build it with a variant that turns and mirrors nothing")
    fitted_to = len(keys["train"])
    of_another = style_transfer and len(_subjects(dataset, "train")) > 1
    count = Passing(fitted_to * (2 if of_another else 1) + sum(map(len, keys.values())), report)
    job = _Job(contenders, dataset, _baselines(dataset, contenders.size, count, of_another), style_transfer, count)
    costs = contenders.costs()
    sets = []
    for split in splits:
        sample = drawn(keys[split], seed)
        chosen = _apart(sample, dataset, split)[:pictures]
        measuring = job.measured(split, chosen)
        leaks = [] if split == "train" else contenders.leaks(dataset, split)
        evaluation = Evaluation(
            split=split,
            dataset=dataset_identity(dataset),
            size=contenders.size,
            device=contenders.device_in_words(),
            notes=(*leaks, *baseline_notes(shards, split, fitted_to)),
            systems=measuring.scored(costs),
            worst=tuple(measuring.worst),
        )
        write_tables(evaluation, out / split)
        sets.append(ComparedSet(evaluation, evaluation.among(set(sample)), tuple(measuring.shown[key] for key in chosen)))
    for missing in keys.keys() - set(splits):
        remove_tables(out / missing)
    comparison = Comparison(seed, tuple(sets), tuple(_left_out(shards, splits, style_transfer and not of_another)))
    write_comparison(comparison, out)
    return comparison


def drawn(keys: Iterable[str], seed: int, count: int = SAMPLE) -> list[str]:
    """Draw pairs at random, by seed and keys alone: not by their order, and nearly the same after some have come or gone.

    >>> drawn(["a", "b", "c", "d"], seed=0, count=2) == drawn(["d", "c", "b", "a"], seed=0, count=2)
    True
    """
    return sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())[:count]


@dataclass(frozen=True)
class _Job:
    """What is measured on every split."""

    contenders: Contenders
    dataset: ShardSet
    baselines: Sequence[System]
    style_transfer: bool
    count: Passing

    def measured(self, split: str, shown: Collection[str]) -> Measuring:
        """Measure everybody on a split, and keep the pictures of the pairs that will be shown."""
        systems = [*self.baselines, *self._with_answers(split), *self.contenders.systems()]
        measuring = Measuring(systems, self.contenders.device, wanted=shown)
        for pair in self.count.through(portraits(self.dataset, split, self.contenders.size), split):
            measuring.add(pair)
        return measuring

    def _with_answers(self, split: str) -> Iterator[System]:
        if self.style_transfer:
            yield replace(style_of_the_answer(portraits(self.dataset, split, self.contenders.size)), kind="bound")


def _baselines(dataset: ShardSet, size: int, count: Passing, of_another: bool) -> list[System]:
    """Fit what looks at training pairs."""
    baselines = [FLASH, *fitted_baselines(count.through(portraits(dataset, "train", size), "fitting the baselines"))]
    if of_another:
        baselines.append(style_of_another(count.through(portraits(dataset, "train", size), "looking for faces")))
    return baselines


def _left_out(shards: Path, splits: Collection[str], without_another: bool) -> Iterator[str]:
    for split in SETS:
        if split not in splits:
            yield f"{shards} has no un-augmented pairs in its split {split}, so that set is missing"
    if without_another:
        yield f"{STYLE_NAMES[1]} wants a training split of at least two people and is left out"


def _apart(keys: Sequence[str], dataset: ShardSet, split: str) -> list[str]:
    """Put everybody's first pair before anybody's second."""
    subject = {entry.key: entry.subject for entry in unaugmented(dataset, split)}
    before: dict[str, int] = {}
    turns = []
    for key in keys:
        before[subject[key]] = before.get(subject[key], -1) + 1
        turns.append(before[subject[key]])
    return [key for _, key in sorted(zip(turns, keys, strict=True), key=lambda turn: turn[0])]


def _subjects(dataset: ShardSet, split: str) -> set[str]:
    return {entry.subject for entry in unaugmented(dataset, split)}
