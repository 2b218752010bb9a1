"""What a verification finds, and the checks that every tree needs."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deepflash.batch import run_all
from deepflash.errors import ExitCode
from deepflash.files import seal_of, sha256_of
from deepflash.progress import Report

U = TypeVar("U")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file: its path in the tree, and a clause that begins with a verb and ends with what to do."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


@dataclass
class Findings:
    """What was looked at in a part of a tree, and what is wrong with it."""

    files: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def blame(self, path: str, what: str) -> None:
        """Enter a fault."""
        self.files.add(path)
        self.faults.append(Fault(path, what))

    def take(self, other: "Findings") -> None:
        """Enter what was found elsewhere."""
        self.files |= other.files
        self.faults += other.faults
        self.notes += other.notes


@dataclass(frozen=True)
class Verification:
    """The outcome for a tree.

    Attributes
    ----------
    kind
        `raw`, `aligned` or `shards`.
    full
        Whether every byte was read.
    files
        How many files were looked at or missed.
    faults, notes
        What is wrong; and what is to be known but is not wrong.
    """

    tree: Path
    kind: str
    full: bool
    files: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 if nothing is wrong, 3 if something is, 1 if everything is."""
        if not self.faults:
            return ExitCode.OK
        return ExitCode.SET_ASIDE if self._faulty < self.files else ExitCode.FAILURE

    def sentence(self) -> str:
        """Say it in one line."""
        how = "every byte read" if self.full else "names, sizes and lists; --full reads every byte"
        if self.faults:
            state = f"{len(self.faults)} fault{'s' if len(self.faults) > 1 else ''} in {self._faulty} of {self.files} files"
        else:
            state = f"{self.files} files, complete and valid"
        return f"{self.tree} ({self.kind}): {state} ({how})"

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "tree": str(self.tree),
            "kind": self.kind,
            "full": self.full,
            "files": self.files,
            "sound": not self.faults,
            "faults": [asdict(fault) for fault in self.faults],
            "notes": list(self.notes),
        }

    @property
    def _faulty(self) -> int:
        return len({fault.path for fault in self.faults})


def collect(
    examine: Callable[[U], Findings], units: Iterable[U], *, workers: int, report: Report, found: Findings, full: bool
) -> None:
    """Examine all units, in worker processes if every byte is read, and enter what is found."""
    work = list(units)
    if full:
        for outcome in run_all(examine, work, workers=workers, report=report):
            if outcome.value is None:
                found.faults.append(Fault(str(outcome.unit), f"could not be verified: {outcome.error}"))
            else:
                found.take(outcome.value)
        return
    for number, unit in enumerate(work, start=1):
        found.take(examine(unit))
        report(number, len(work), "")


def check_sealed(found: Findings, path: Path, name: str, *, mend: str) -> Any:
    """Read a JSON file of ours and check its seal; return its content, or None if it has none."""
    found.files.add(name)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        found.blame(name, f"is missing; {mend}")
        return None
    except OSError as error:
        found.blame(name, f"cannot be read ({error.strerror}); check the disk")
        return None
    state = seal_of(content)
    if state == "broken":
        found.blame(name, f"is altered: it does not match its seal; {mend}")
    elif state == "none":
        found.notes.append(f"{name} was written before there were seals, so what it says cannot be verified")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        if state != "broken":
            found.blame(name, f"is damaged: it is no JSON; {mend}")
        return None


def check_content(path: Path, sha256: str) -> str:
    """Return what is wrong with a file's content, as a clause, or nothing."""
    try:
        return "" if sha256_of(path) == sha256 else "is altered: it does not match its checksum; restore it from a copy"
    except FileNotFoundError:
        return "is missing; restore it from a copy"
    except OSError as error:
        return f"cannot be read ({error.strerror}); check the disk"
