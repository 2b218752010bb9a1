"""What is left of a person in a tree: found before anything is erased, told, and then erased."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepflash.errors import DatasetError

_OF_WORDS = {".html", ".htm", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".toml", ".log", ".xml", ".yaml", ".yml"}
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")  # a subject's id, or the name of a pair that is a subject


@dataclass(frozen=True)
class Person:
    """Somebody by pseudonym, and how texts are searched for it.

    Attributes
    ----------
    id
        The subject's id.
    others
        Ids of other subjects; those that begin with this one's are told apart from its pairs.
    """

    id: str
    others: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _PERSON.fullmatch(self.id):
            raise DatasetError(f"{self.id!r} is not a subject id; give one such as S001")

    def is_in(self, text: str) -> bool:
        """Tell whether a text names the person, or one of the person's pairs.

        >>> Person("S001").is_in("pair S001-a-01 is bad"), Person("S001").is_in("S0012"), Person("S001").is_in("XS001")
        (True, False, False)
        >>> Person("S001", frozenset({"S001-b"})).is_in("S001-b-01")
        False
        """
        return self.id in text and self._pattern().search(text) is not None

    def _pattern(self) -> re.Pattern[str]:
        namesakes = sorted(other.removeprefix(self.id) for other in self.others if other.startswith(f"{self.id}-"))
        not_theirs = "".join(rf"(?!{re.escape(rest)}(?![A-Za-z0-9_]))" for rest in namesakes)
        after = r"(?![A-Za-z0-9]|_(?!flash|studio))"
        return re.compile(rf"(?<![A-Za-z0-9_.-]){re.escape(self.id)}{after}{not_theirs}")


@dataclass(frozen=True)
class Trace:
    """What a tree holds of a person.

    Attributes
    ----------
    tree, kind
        The folder, and what it is: `raw`, `aligned`, `shards`, `run` or `results`.
    what
        What is there, in words.
    erased
        Files and folders that go.
    rewritten
        Files that are written anew without the person.
    files, size_bytes
        How many files go, and how many bytes with them; of rewritten files the person's part.
    samples
        Of shards: how many samples.
    notes
        What this does not reach, a sentence each.
    """

    tree: Path
    kind: str
    what: str = ""
    erased: tuple[Path, ...] = ()
    rewritten: tuple[Path, ...] = ()
    files: int = 0
    size_bytes: int = 0
    samples: int = 0
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.erased or self.rewritten)

    def sentence(self) -> str:
        """Say it in one line."""
        if not self:
            return f"{self.tree} ({self.kind}): nothing"
        names = ", ".join(path.name for path in self.rewritten)
        rewritten = f"; written anew: {names}" if names else ""
        return f"{self.tree} ({self.kind}): {self.what}, {self.size_bytes / 1e6:.1f} MB{rewritten}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "tree": str(self.tree),
            "kind": self.kind,
            "erased": [str(path) for path in self.erased],
            "rewritten": [str(path) for path in self.rewritten],
            "files": self.files,
            "size_bytes": self.size_bytes,
            "samples": self.samples,
        }


def without(value: Any, person: Person) -> Any:
    """Return a JSON value without whatever names a person: items of lists and entries of objects.

    >>> without({"split": ["S001", "S002"], "fixed": {"S001": "val"}, "note": "S001 blinks"}, Person("S001"))
    {'split': ['S002'], 'fixed': {}, 'note': ''}
    """
    if isinstance(value, dict):
        return {name: without(inner, person) for name, inner in value.items() if not person.is_in(name)}
    if isinstance(value, list):
        return [without(item, person) for item in value if not _is_about(item, person)]
    return "" if isinstance(value, str) and person.is_in(value) else value


def _is_about(item: Any, person: Person) -> bool:
    """Tell whether an item of a list names a person, however deep."""
    if isinstance(item, dict):
        return any(person.is_in(name) or _is_about(inner, person) for name, inner in item.items())
    if isinstance(item, list):
        return any(_is_about(inner, person) for inner in item)
    return isinstance(item, str) and person.is_in(item)


def names_in(path: Path, person: Person) -> bool:
    """Tell whether a file of words (a list, a report, notes) names a person; files of other kinds are not read."""
    if path.suffix.lower() not in _OF_WORDS:
        return False
    try:
        return person.is_in(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False  # a link to nowhere


def weight(paths: Iterable[Path]) -> tuple[int, int]:
    """Return how many files there are in files and folders, and their bytes."""
    files = [
        file for path in paths for file in ([path] if path.is_file() or path.is_symlink() else path.rglob("*")) if is_file(file)
    ]
    return len(files), sum(file.lstat().st_size for file in files)


def is_file(path: Path) -> bool:
    """Tell whether a path is a file or a link, which is erased as such and never followed."""
    return path.is_symlink() or path.is_file()
