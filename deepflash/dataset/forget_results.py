"""Forgetting a person in what `evaluate`, `compare` and `demo` made: tables, and pictures of people.

All of it can be made again, and means are over everybody: where a person is in one of the files, those made with it go, too.
"""

from collections.abc import Iterator
from pathlib import Path

from deepflash.dataset.traces import Person, Trace, is_file, names_in, weight

_EVALUATION = (*(f"evaluation.{suffix}" for suffix in ("json", "csv", "md", "html")), "pairs.csv", "worst/[0-9][0-9]-*.png")
_COMPARISON = (*(f"comparison.{suffix}" for suffix in ("json", "csv", "md", "html")), "figure-*.png")
_DEMO = ("contact-sheet.png", "report.html", "portraits/*.jpg")
_MADE_TOGETHER = (_EVALUATION, _COMPARISON, _DEMO)
_PICTURES_OF = {"figure-*.png": "comparison.json", "contact-sheet.png": "report.html"}
"""Pictures that do not say whom they show, and what does; without that they go."""
_NUMBER = len("01-")  # before the key in the name of one of the worst pictures


def has_results(folder: Path) -> bool:
    """Tell whether `evaluate`, `compare` or `demo` wrote into a folder, perhaps before it was killed."""
    return any(_there(folder, name) for group in (_EVALUATION, _COMPARISON) for name in group) or bool(_there(folder, _DEMO[0]))


def find_in_results(folder: Path, person: Person) -> Trace:
    """Find a person in results; folders within are looked at on their own."""
    erased = tuple(path for names in _MADE_TOGETHER for path in _made_with(folder, names, person))
    files, size_bytes = weight(erased)
    return Trace(folder, "results", "tables and pictures, which can be made again", erased, files=files, size_bytes=size_bytes)


def _made_with(folder: Path, names: tuple[str, ...], person: Person) -> Iterator[Path]:
    if names is _DEMO and not _there(folder, _DEMO[0]):
        return  # another program's report, or another command's: it is only named
    made = [path for name in names for path in _there(folder, name)]
    unnamed = any(_there(folder, name) and not (folder / said_by).exists() for name, said_by in _PICTURES_OF.items())
    if unnamed or any(_shows(path, person) for path in made):
        yield from made


def _there(folder: Path, name: str) -> list[Path]:
    return sorted(path for path in folder.glob(name) if is_file(path))


def _shows(path: Path, person: Person) -> bool:
    name = path.name[_NUMBER:] if path.parent.name == "worst" else path.name
    return person.is_in(name) or names_in(path, person)
