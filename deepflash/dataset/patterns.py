r"""Patterns such as `{subject}/{pose}_{light}.jpg`, by which a person says how the files of a source are named.

A field in braces stands for one or more signs of one name (no `/`), and takes as few as it can. `*` stands for any signs of
one name, `?` for one sign, `**/` for any folders, and `.*` at the end for any one extension. All else stands for itself, in
capitals or not. A pattern describes the whole path below the source's folder.
"""

import re
from collections.abc import Mapping, Sequence

from deepflash.dataset.sources import LIGHTS, Placed, Sorter
from deepflash.errors import DatasetError

FIELDS = ("subject", "session", "take", "pose", "light")
WORDS: Mapping[str, tuple[str, ...]] = {
    "flash": ("flash",),
    "studio": ("studio", "noflash", "no-flash", "no_flash", "ambient"),
}
"""What a source may call the two lights, unless it is said."""

_PIECES = re.compile(
    r"\{(?P<field>[^{}]*)\}|(?P<folders>\*\*/)|(?P<extension>\.\*$)|(?P<many>\*+)|(?P<one>\?)|(?P<other>.)", re.DOTALL
)
_GLOBS = {"folders": r"(?:[^/]+/)*", "extension": r"\.[^./]+", "many": r"[^/]*?", "one": r"[^/]"}
_MOST_OPEN = 12  # places that may take any signs: the time for a name that does not match grows with their number


def sorter_of(pattern: str, words: Mapping[str, Sequence[str]] = WORDS) -> Sorter:
    """Return what sorts files by a pattern.

    Parameters
    ----------
    pattern
        See the module. `{subject}` and `{light}` must stand in it, other fields may.
    words
        What `{light}` may be for `flash` and for `studio`, in capitals or not.

    Raises
    ------
    DatasetError
        if the pattern or the words cannot be meant so.

    >>> sort = sorter_of("{subject}/{pose}_{light}.*")
    >>> sort("anna/left_noflash.JPG")
    Placed(light='studio', subject='anna', session='', take='', pose='left')
    """
    meaning = _meaning(words)
    expression = _expression(pattern, meaning)

    def sort(path: str) -> Placed | None:
        match = expression.fullmatch(path)
        if match is None:
            return None
        found = match.groupdict()
        light = meaning[found.pop("light").lower()]
        return Placed(light, **found)

    return sort


def _meaning(words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the light by each word for it."""
    meaning: dict[str, str] = {}
    for light in LIGHTS:
        if not words[light]:
            raise DatasetError(f"no word is given for the {light} photograph; give one, such as {WORDS[light][0]}")
        for word in words[light]:
            if not word or "/" in word:
                raise DatasetError(f"{word!r} cannot stand for a light in a file's name; give a word without '/'")
            if meaning.setdefault(word.lower(), light) != light:
                raise DatasetError(f"{word!r} stands for both photographs; give each light words of its own")
    return meaning


def _expression(pattern: str, meaning: Mapping[str, str]) -> re.Pattern[str]:
    parts: list[str] = []
    seen: set[str] = set()
    number_open = 0
    before = ""
    for piece in _PIECES.finditer(pattern):
        kind = str(piece.lastgroup)
        name = piece["field"]
        if kind == "field":
            _check_field(pattern, name, before)
        number_open += kind in {"field", "many", "folders"}
        parts.append(_part(piece, kind, seen, meaning))
        seen.add(name or "")
        before = kind
    for name in ("subject", "light"):
        if name not in seen:
            raise DatasetError(
                f"the pattern {pattern!r} lacks {{{name}}}; write one such as {{subject}}/{{pose}}_{{light}}.jpg,"
                " for who is photographed decides the split, and the light which photograph it is"
            )
    if number_open > _MOST_OPEN:
        raise DatasetError(f"the pattern {pattern!r} has {number_open} fields and stars; {_MOST_OPEN} are the most")
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _check_field(pattern: str, name: str, before: str) -> None:
    if name not in FIELDS:
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise DatasetError(f"the pattern {pattern!r} has the field {{{name}}}; known are {known}")
    if before in {"field", "many"}:
        raise DatasetError(f"in the pattern {pattern!r}, nothing parts {{{name}}} from what is before it; put a sign between")


def _part(piece: re.Match[str], kind: str, seen: set[str], meaning: Mapping[str, str]) -> str:
    if kind == "other":
        return re.escape(piece["other"])
    if kind != "field":
        return _GLOBS[kind]
    name = piece["field"]
    if name in seen:
        return f"(?P={name})"
    longest_first = sorted(meaning, key=len, reverse=True)
    return f"(?P<{name}>{'|'.join(map(re.escape, longest_first)) if name == 'light' else '[^/]+?'})"
