"""Forgetting a person: in photographs, registrations, data sets and runs, and who had learnt from them.

First everything is looked up (`find_traces`), so that it can be told and agreed to; then it is erased. Each step can be done
twice: whoever is killed in the middle gives the same command again. Data sets come last, because they tell which runs had
trained on the person.

What nobody can erase is what a network has learnt: such runs are named, and must be trained anew. A data set remembers the
checksums of what it was before, and so tells its earlier runs, without remembering who was in it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
    people_of_run,
    pictures_of_run,
)
from deepflash.dataset.forget_results import find_in_results, has_results
from deepflash.dataset.forget_shards import erase_from_shards, find_in_shards, identities_with, subjects_in_shards
from deepflash.dataset.traces import Person, Trace
from deepflash.dataset.verify import kind_of
from deepflash.errors import DatasetError
from deepflash.progress import Report, silent
from deepflash.shards import FORGETTING

__all__ = ["Traces", "Trained", "erase", "find_traces"]

_ORDER = ("run", "results", "aligned", "raw", "shards")
_MOST_NAMED = 3
_Kinds = Sequence[tuple[Path, str]]
_Identities = Sequence[tuple[set[str], set[str], set[str]]]  # of each data set, from `identities_with`


@dataclass(frozen=True)
class Trained:
    """A run that learnt from the data set when the person was in it, or, if `earlier`, when people were who are forgotten.

    If `elsewhere`, it names somebody of that id, but its data set is not among the trees.
    """

    run: Path
    splits: tuple[str, ...] = ()
    earlier: bool = False
    elsewhere: bool = False

    def sentence(self) -> str:
        """Say it in one line."""
        if self.elsewhere:
            return (
                f"{self.run} was trained on somebody of this id, of a data set that is not among these trees; if that is the"
                " same person, train it anew"
            )
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
            "runs": [{**asdict(one), "run": str(one.run), "splits": list(one.splits)} for one in self.runs],
            "notes": list(self.notes),
        }


def find_traces(subject: str, trees: Sequence[Path]) -> Traces:
    """Find all that trees hold of a person. Nothing is changed.

    Parameters
    ----------
    subject
        The person's pseudonym, such as `S001`.
    trees
        Folders: raw trees, alignments, data sets, runs, what `evaluate` and `compare` wrote, or folders of all these.

    Raises
    ------
    DatasetError
        if the id is none, or a folder is missing or none of these.
    ShardError
        if a data set is damaged.
    """
    return _find(subject, list(dict.fromkeys(found for tree in trees for found in _kinds(tree, subject))))


def _find(subject: str, kinds: _Kinds) -> Traces:
    person = Person(subject, frozenset(_others(kinds)))
    traces = [_FIND[kind](tree, person) for tree, kind in kinds if kind != "run"]
    of_sets = [identities_with(tree, person) for tree, kind in kinds if kind == "shards"]
    runs = [tree for tree, kind in kinds if kind == "run"]
    own = {run: _parts_of_own_set(run, of_sets) for run in runs}
    traces += [find_in_run(run, shows_person=bool(own[run])) for run in runs]
    traces.sort(key=lambda trace: _ORDER.index(trace.kind))
    unknown = [run for run in runs if own[run] is None and pictures_of_run(run)]
    trained = (found for run in runs if (found := _trained(run, person, of_sets)))
    return Traces(subject, tuple(traces), tuple(trained), (*_notes(traces, person), *_note_unknown(unknown, person)))


def _parts_of_own_set(run: Path, of_sets: _Identities) -> set[str] | None:
    """Return in which parts of the data set that a run was trained on the person is; None if that set was not given."""
    own = set(datasets_of_run(run)[:1])
    given = [parts for current, _, parts in of_sets if own & current]
    return set().union(*given) if given else None


def _trained(run: Path, person: Person, of_sets: _Identities) -> Trained | None:
    identities = set(datasets_of_run(run))
    splits = {split for current, _, splits in of_sets if identities & current for split in splits}
    if splits:
        return Trained(run, tuple(sorted(splits)))
    if any(identities & before for _, before, _ in of_sets):
        return Trained(run, earlier=True)
    elsewhere = identities.difference(*(current for current, _, _ in of_sets))
    return Trained(run, elsewhere=True) if elsewhere and person.id in people_of_run(run) else None


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
    kinds = [(trace.tree, trace.kind) for trace in traces.trees]
    person = Person(traces.subject, frozenset(_others(kinds)))
    _check_writable(traces)
    for number, trace in enumerate(traces.trees, start=1):
        try:
            _erase_tree(trace, person)
        except OSError as error:
            raise DatasetError(
                f"{error.filename or trace.tree} cannot be erased ({error.strerror}); mend that and give the command again"
            ) from error
        report(number, len(traces.trees), trace.kind)
    left = _find(traces.subject, kinds)
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


_FIND = {"raw": find_in_raw, "aligned": find_in_aligned, "shards": find_in_shards, "results": find_in_results}


def _erase_tree(trace: Trace, person: Person) -> None:
    if trace.kind == "shards":
        erase_from_shards(trace.tree, person)
    elif trace.kind == "raw":
        erase_from_raw(trace, person)
    else:
        erase_files(trace)


def _kinds(tree: Path, subject: str) -> list[tuple[Path, str]]:
    """Return what a folder is, or, if it holds trees, what each of these is; one from which all is erased is of no kind."""
    if not tree.is_dir():
        raise DatasetError(f"{tree} is not a folder; give trees of pairs, alignments or shards, or runs")
    names = {path.name for path in tree.iterdir()}
    if RUN_FILE in names:
        return [(tree, "run"), *_results_below(tree)]
    if names & {PIECES, FORGETTING}:
        return [(tree, "shards")]
    if (tree / subject).is_dir():
        return [(tree, "raw")]
    within = [found for path in sorted(tree.iterdir()) for found in _kinds_within(path, subject)]
    if has_results(tree) or any(kind != "raw" for _, kind in within):
        return [(tree, "results"), *within]  # such as a demo's folder, or one of runs
    visible = {name for name in names if not name.startswith(".")}
    if all(name.endswith(".html") for name in visible):
        return [(tree, "aligned")]  # or nothing at all: what is left of a tree when its only subject is forgotten
    return [(tree, kind_of(tree))]


def _kinds_within(tree: Path, subject: str) -> list[tuple[Path, str]]:
    """Return what a folder within another is; nothing if it is no tree. An emulated studio's belongs to its raw tree."""
    if not tree.is_dir() or tree.name.startswith(".") or tree.name.endswith("-emulator") or not any(tree.iterdir()):
        return []
    try:
        return _kinds(tree, subject)
    except DatasetError:
        return []


def _results_below(tree: Path) -> list[tuple[Path, str]]:
    return [(folder, "results") for folder in sorted(tree.rglob("*/")) if has_results(folder)]


def _others(kinds: _Kinds) -> set[str]:
    """Return the other subjects that the trees know."""
    others: set[str] = set()
    for tree, kind in kinds:
        if kind == "raw":
            others |= {path.name for path in tree.iterdir() if path.is_dir() and not path.name.startswith(".")}
        elif kind == "shards":
            others |= subjects_in_shards(tree)
    return others


def _notes(traces: Sequence[Trace], person: Person) -> Iterator[str]:
    known = [path for trace in traces for path in (*trace.erased, *trace.rewritten)]
    trees = {trace.tree for trace in traces}
    for trace in traces:
        yield from trace.notes
    for tree in sorted(tree for tree in trees if not trees.intersection(tree.parents)):
        for path in mentions(tree, person, known):
            yield f"{path} names {person.id}; if it is a report or a picture of them, remove it or make it anew"


def _note_unknown(runs: Sequence[Path], person: Person) -> Iterator[str]:
    """Say which runs show people of data sets that nobody gave, so that it is not known whether the person is among them."""
    if runs:
        more = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        named = ", ".join(map(str, runs[:_MOST_NAMED])) + more
        yield f"{named}: samples/ shows people of a data set that was not given; give it, too, if {person.id} was in it"
