"""Who is who: the private list that says which person of a source became which subject.

It is the one place where the words of a source, which may be people's names, stand beside their pseudonyms. It lies beside the
raw tree, not in it, so that the tree can be handed on without it, and only its owner may read it.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from deepflash.errors import DatasetError
from deepflash.files import write_json
from deepflash.pairs import check_id

NAMES_FORMAT = 1

_NUMBERED = re.compile(r"S(\d+)")


@dataclass(frozen=True)
class Name:
    """What a source calls a subject: the subject's id, the source (a folder or list), and the source's own word."""

    id: str
    source: str
    word: str


def names_path(raw: Path) -> Path:
    """Return where the private list of a raw tree lies: `raw-subjects.json` beside `raw`."""
    absolute = raw.absolute()
    return absolute.with_name(f"{absolute.name}-subjects.json")


def read_names(path: Path) -> list[Name]:
    """Read a private list; one that is not there is empty.

    Raises
    ------
    DatasetError
        if it is damaged: nobody may be given the id of somebody else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != NAMES_FORMAT:
            raise DatasetError(f"{path} was written by another version of deepflash; update deepflash")
        return [Name(check_id(entry["id"]), str(entry["source"]), str(entry["word"])) for entry in content["subjects"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{path} is damaged ({error}); restore it from a copy") from error


def write_names(path: Path, names: list[Name]) -> None:
    """Write a private list, durably; only its owner may read it."""
    write_json(path, {"format": NAMES_FORMAT, "subjects": [asdict(name) for name in names]}, mode=0o600)


def erase_name(path: Path, subject: str) -> bool:
    """Take a subject out of a private list; return whether it was there."""
    names = read_names(path)
    kept = [name for name in names if name.id != subject]
    if len(kept) < len(names):
        write_names(path, kept)
    return len(kept) < len(names)


def next_number(taken: set[str]) -> int:
    """Return the number after the highest of all ids such as `S001`.

    >>> next_number({"S001", "S010", "anna"})
    11
    """
    return max((int(match[1]) for match in map(_NUMBERED.fullmatch, taken) if match), default=0) + 1
