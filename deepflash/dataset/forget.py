"""Forgetting a person: in photographs, registrations, data sets and runs, and who had learnt from them.

First everything is looked up (`find_traces`), so that it can be told and agreed to; then it is erased. Each step can be done
twice: whoever is killed in the middle gives the same command again. Data sets come last, because they tell which runs had
trained on the person.

What nobody can erase is what a network has learnt: such runs are named, and must be trained anew. A data set remembers the
checksums of what it was before, and so tells its earlier runs, without remembering who was in it.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepflash.dataset.build import PIECES
from deepflash.dataset.forget_files import (
    RUN_FILE,
    datasets_of_run,
    erase_files,
    erase_from_raw,
    find_in_aligned,
    find_in_raw,
    find_in_run,
    mentions,
)
from deepflash.dataset.forget_shards import erase_from_shards, find_in_shards, identities_with, subjects_in_shards
from deepflash.dataset.traces import Person, Trace
from deepflash.dataset.verify import kind_of
from deepflash.errors import DatasetError
from deepflash.progress import Report, silent
from deepflash.shards import FORGETTING

__all__ = ["Traces", "Trained", "erase", "find_traces"]

_ORDER = ("run", "aligned", "raw", "shards")


@dataclass(frozen=True)
class Trained:
    """A run that learnt from the data set when the person was in it, or, if `earlier`, when people were who are forgotten."""

    run: Path
    splits: tuple[str, ...] = ()
    earlier: bool = False

    def sentence(self) -> str:
        """Say it in one line."""
        if self.earlier:
            return f"{self.run} was trained when people were in the data set who have been forgotten since; train it anew"
        if "train" in self.splits:
            return f"{self.run} was trained on this person; its weights keep what they learnt, train it anew"
        return f"{self.run} was scored on this person ({' and '.join(self.splits)}) while it was trained on others"


@dataclass(frozen=True)
class Traces:
    """All that trees hold of a person, and the runs that had to do with them."""

    subject: str
    trees: tuple[Trace, ...]
    runs: tuple[Trained, ...]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(self.trees)

    @property
    def samples(self) -> int:
        return sum(trace.samples for trace in self.trees)

    @property
    def size_bytes(self) -> int:
        return sum(trace.size_bytes for trace in self.trees)

    def sentence(self) -> str:
        """Say it in one line."""
        if not self:
            return f"these trees hold nothing of {self.subject}"
        files = sum(trace.files for trace in self.trees)
        return f"{self.subject}: {files} files and {self.samples} samples, {self.size_bytes / 1e6:.1f} MB"

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "subject": self.subject,
            "trees": [trace.as_dict() for trace in self.trees],
            "samples": self.samples,
            "size_bytes": self.size_bytes,
            "runs": [{"run": str(one.run), "splits": list(one.splits), "earlier": one.earlier} for one in self.runs],
            "notes": list(self.notes),
        }


def find_traces(subject: str, trees: Sequence[Path]) -> Traces:
    """Find all that trees hold of a person. Nothing is changed.

    Parameters
    ----------
    subject
        The person's pseudonym, such as `S001`.
    trees
        Folders: raw trees, alignments, data sets, runs, or folders of runs.

    Raises
    ------
    DatasetError
        if the id is none, or a folder is missing or none of these.
    ShardError
        if a data set is damaged.
    """
    kinds = [pair for tree in trees for pair in _kinds(tree, subject)]
    person = Person(subject, frozenset(_others(kinds)))
    traces = [trace for tree, kind in kinds if kind != "run" for trace in [_FIND[kind](tree, person)]]
    runs = []
    of_sets = [identities_with(tree, person) for tree, kind in kinds if kind == "shards"]
    for run in (tree for tree, kind in kinds if kind == "run"):
        identities = datasets_of_run(run)
        splits = {split for current, _, splits in of_sets if current.intersection(identities) for split in splits}
        if splits:
            runs.append(Trained(run, tuple(sorted(splits))))
        elif any(before.intersection(identities) for _, before, _ in of_sets):
            runs.append(Trained(run, earlier=True))
        shown = {split for current, _, splits in of_sets if current.intersection(identities[:1]) for split in splits}
        traces.append(find_in_run(run, person, shown))
    traces.sort(key=lambda trace: _ORDER.index(trace.kind))
    return Traces(subject, tuple(traces), tuple(runs), tuple(_notes(traces, person)))


def erase(traces: Traces, *, report: Report = silent) -> Traces:
    """Erase what was found, and look again.

    Parameters
    ----------
    traces
        From `find_traces`.
    report
        Called as trees are finished.

    Returns
    -------
    Traces
        What is left: notes, and runs that were trained on the person.

    Raises
    ------
    DatasetError
        if a file cannot be erased, a session is open, or something writes to a tree meanwhile.
    ShardError
        if a data set is damaged; it is left as it is.
    """
    person = Person(traces.subject, frozenset(_others([(trace.tree, trace.kind) for trace in traces.trees])))
    _check_writable(traces)
    for number, trace in enumerate(traces.trees, start=1):
        try:
            _erase_tree(trace, person)
        except OSError as error:
            raise DatasetError(
                f"{error.filename or trace.tree} cannot be erased ({error.strerror}); mend that and give the command again"
            ) from error
        report(number, len(traces.trees), trace.kind)
    left = find_traces(traces.subject, [trace.tree for trace in traces.trees])
    if left:
        where = next(trace for trace in left.trees if trace)
        raise DatasetError(f"{where.tree} holds something of {traces.subject} still; end what writes there, and give it again")
    return left


def _check_writable(traces: Traces) -> None:
    """Refuse before the first file goes."""
    for trace in traces.trees:
        for folder in {path.parent for path in (*trace.erased, *trace.rewritten)}:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise DatasetError(f"{folder} cannot be written, so nothing was erased; make it writable first")


_FIND = {"raw": find_in_raw, "aligned": find_in_aligned, "shards": find_in_shards}


def _erase_tree(trace: Trace, person: Person) -> None:
    if trace.kind == "shards":
        erase_from_shards(trace.tree, person)
    elif trace.kind == "raw":
        erase_from_raw(trace, person)
    else:
        erase_files(trace)


def _kinds(tree: Path, subject: str) -> list[tuple[Path, str]]:
    """Return what a folder is; a folder of runs stands for all of them. One from which all is erased already is of no kind."""
    if not tree.is_dir():
        raise DatasetError(f"{tree} is not a folder; give trees of pairs, alignments or shards, or runs")
    names = {path.name for path in tree.iterdir()}
    if RUN_FILE in names:
        return [(tree, "run")]
    if names & {PIECES, FORGETTING}:
        return [(tree, "shards")]
    if (tree / subject).is_dir():
        return [(tree, "raw")]
    runs = [(path.parent, "run") for path in sorted(tree.glob(f"*/{RUN_FILE}"))]
    if runs:
        return runs
    visible = {name for name in names if not name.startswith(".")}
    if all(name.endswith(".html") for name in visible):
        return [(tree, "aligned")]  # or nothing at all: what is left of a tree when its only subject is forgotten
    return [(tree, kind_of(tree))]


def _others(kinds: Iterable[tuple[Path, str]]) -> set[str]:
    """Return the other subjects that the trees know."""
    others: set[str] = set()
    for tree, kind in kinds:
        if kind == "raw":
            others |= {path.name for path in tree.iterdir() if path.is_dir() and not path.name.startswith(".")}
        elif kind == "shards":
            others |= subjects_in_shards(tree)
    return others


def _notes(traces: Sequence[Trace], person: Person) -> Iterable[str]:
    for trace in traces:
        yield from trace.notes
        for path in mentions(trace.tree, person, (*trace.erased, *trace.rewritten)):
            yield f"{path} names {person.id}; if it is a report, remove it or write it anew"
