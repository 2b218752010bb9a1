"""Pairs in other people's folders: which files belong together, and to whom.

A *sorter* looks at a file's path and says what it is of whom, from its name alone; `find_pairs_by` walks a folder, asks
the sorter about every file, and puts flash and studio photographs together. No file is opened.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deepflash.accounts import SetAside
from deepflash.errors import DatasetError

LIGHTS = ("flash", "studio")

_LONGEST_ID = 32
_NO_ID_SIGN = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Placed:
    """What a sorter makes of a file: the light it was taken in, and the source's words for whose picture it is.

    Attributes
    ----------
    light
        `flash` or `studio`.
    subject, session, take, pose
        The source's own words; empty where it has none. Two files belong together if they agree in all of them.
    """

    light: str
    subject: str
    session: str = ""
    take: str = ""
    pose: str = ""


Sorter = Callable[[str], Placed | None]
"""Says what a file is by its path below the source's folder, `/` between names; None for one that is no part of a pair."""


@dataclass(frozen=True)
class Candidate:
    """A pair as its source describes it; nothing of it has been opened yet.

    Attributes
    ----------
    item
        What to call it in a sentence.
    flash, studio
        Where the photographs lie.
    subject, session, take, pose
        The source's own words, which need not be ids.
    consent
        Where the person's consent is filed, if the source says so.
    """

    item: str
    flash: Path
    studio: Path
    subject: str
    session: str = ""
    take: str = ""
    pose: str = ""
    consent: str = ""


@dataclass(frozen=True)
class Found:
    """All pairs of a source.

    Attributes
    ----------
    name
        What the source is: `pattern`, `list`, or a layout's name.
    place
        The folder or list, absolute.
    candidates
        The pairs, in natural order of their names.
    set_aside
        What could be no pair, and why.
    notes
        What a person should know besides, one sentence each.
    """

    name: str
    place: Path
    candidates: list[Candidate]
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_pairs_by(sorter: Sorter, folder: Path, name: str, expected: str) -> Found:
    """Put together the pairs below `folder`.

    Links to folders are not followed, so that no walk is endless; hidden files are passed over.

    Parameters
    ----------
    sorter
        Says what a file is.
    folder
        The source.
    name
        What the source is, for `Found`.
    expected
        What files are called in such a source, for a sentence.

    Raises
    ------
    DatasetError
        if `folder` is not one, or holds no file that the sorter knows.
    """
    if not folder.is_dir():
        raise DatasetError(f"{printable(folder)} is not a folder; give the folder that holds the photographs")
    groups: dict[Placed, dict[str, list[str]]] = {}
    unknown: list[str] = []
    walk = _walk(folder)
    for path in walk.files:
        placed = sorter(path)
        if placed is None:
            unknown.append(path)
            continue
        key = Placed("", *(_same_text(word) for word in (placed.subject, placed.session, placed.take, placed.pose)))
        groups.setdefault(key, {light: [] for light in LIGHTS})[placed.light].append(path)
    if not groups:
        first = f"; the first file there is {printable(unknown[0])}" if unknown else "; it holds no files"
        raise DatasetError(f"no file in {printable(folder)} is named {expected}{first}")
    candidates, set_aside = _put_together(folder, groups)
    notes = [
        _left_out(unknown, "file", f"not named {expected}"),
        _left_out(walk.links, "folder", "reached by a link, which is not followed; give its true place"),
        _left_out(walk.closed, "folder", "closed to you; ask for the right to read it"),
    ]
    return Found(name, folder.resolve(), candidates, set_aside, [note for note in notes if note])


def safe_id(word: str) -> str:
    """Return a word as an id: unchanged if it is one, else cleaned, with a part of its SHA-256 so that no two become one.

    >>> safe_id("frontal"), safe_id("von links")
    ('frontal', 'von-links-8ee05d')
    """
    cleaned = _NO_ID_SIGN.sub("-", word).strip("-_")
    if cleaned == word and len(word) <= _LONGEST_ID:
        return word
    digest = hashlib.sha256(word.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{cleaned[: _LONGEST_ID - 7].rstrip('-_')}-{digest}".lstrip("-")


def printable(value: str | Path) -> str:
    r"""Return a text or path that any terminal shows, whatever a file's name is made of.

    >>> printable("a\nb\udcff")
    'a\\nb\\udcff'
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(value))


def natural_order(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `2` before `10`."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


@dataclass(frozen=True)
class _Walk:
    """What is below a folder and not hidden, as paths below it, in natural order."""

    files: list[str]
    links: list[str]
    closed: list[str]


def _walk(folder: Path) -> _Walk:
    files: list[str] = []
    links: list[str] = []
    closed: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: closed.append(str(error.filename))):
        below = Path(parent).relative_to(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [(below / name).as_posix() for name in folders if (Path(parent) / name).is_symlink()]
        files += [(below / name).as_posix() for name in names if not name.startswith(".")]
    return _Walk(*(sorted(paths, key=natural_order) for paths in (files, links, closed)))


def _put_together(folder: Path, groups: dict[Placed, dict[str, list[str]]]) -> tuple[list[Candidate], list[SetAside]]:
    candidates = []
    set_aside = []
    for key, lights in groups.items():
        item = "/".join(printable(word) for word in (key.subject, key.session, key.take, key.pose) if word)
        reason = "; ".join(filter(None, (_reason_against(light, lights) for light in LIGHTS)))
        if reason:
            set_aside.append(SetAside(item, reason))
        else:
            flash, studio = (folder / lights[light][0] for light in LIGHTS)
            candidates.append(Candidate(item, flash, studio, key.subject, key.session, key.take, key.pose))
    return candidates, set_aside


def _reason_against(light: str, lights: dict[str, list[str]]) -> str:
    names = [printable(name) for name in lights[light]]
    if not names:
        (other,) = (each for each in LIGHTS if each != light)
        return f"{printable(lights[other][0])} has no {light} photograph to it; a pair needs both"
    if len(names) > 1:
        return f"{' and '.join(names)} would both be its {light} photograph; keep one, or name what tells them apart"
    return ""


def _left_out(paths: list[str], noun: str, why: str) -> str:
    if not paths:
        return ""
    number = f"1 {noun} is" if len(paths) == 1 else f"{len(paths)} {noun}s are"
    return f"{number} {why}; left out: {printable(paths[0])}{' and so on' if paths[1:] else ''}"


def _same_text(word: str) -> str:
    """Return a word with its accents in one form: macOS writes them in another than everybody else."""
    return unicodedata.normalize("NFC", word)
