"""The quality gate: which registered pairs enter a data set, and why the others do not."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepflash.errors import DatasetError
from deepflash.pairs import VERDICTS, Alignment


@dataclass(frozen=True)
class Gate:
    """What a pair must show to enter a data set.

    Attributes
    ----------
    verdicts
        The verdicts of the alignment that are accepted.
    at_most, at_least
        Limits of the numbers in the alignment's `quality`, by name; units in the names. A pair whose number was not
        measured does not pass.
    allow
        Pairs that pass whatever their verdict and numbers, by id.
    leave_out
        Pairs that do not, by id.
    """

    verdicts: tuple[str, ...] = ("good", "check")
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.verdicts) - set(VERDICTS))
        if unknown or not self.verdicts:
            raise DatasetError(f"{unknown[0] if unknown else ''!r} is no verdict; choose from {', '.join(VERDICTS)}")
        both = sorted(set(self.allow) & set(self.leave_out))
        if both:
            raise DatasetError(f"pair {both[0]} is to be allowed and left out; take it from one of the two lists")

    def reason_against(self, alignment: Alignment) -> str:
        """Say in a sentence why a pair does not pass; empty if it does."""
        if alignment.pair_id in self.leave_out:
            return "it is on the list of pairs to leave out"
        if alignment.pair_id in self.allow:
            return ""
        if alignment.verdict not in self.verdicts:
            why = "; ".join(alignment.reasons) or "no reason was given"
            return f"its registration is {alignment.verdict}: {why}"
        return "; ".join(self._excesses(alignment.quality))

    def notes_on(self, pair_ids: Collection[str]) -> list[str]:
        """Say which ids of the lists are not among all the pairs: probably misspelt."""
        lists = (("allow", self.allow), ("leave out", self.leave_out))
        return [
            f"pair {pair_id} is listed to {verb}, but there is no such alignment; look at its spelling"
            for verb, listed in lists
            for pair_id in sorted(set(listed) - set(pair_ids))
        ]

    def check_names(self, measured: Collection[str]) -> None:
        """Refuse a limit of something that no alignment has measured.

        Raises
        ------
        DatasetError
            that names what was measured.
        """
        unknown = sorted({*self.at_most, *self.at_least} - set(measured))
        if unknown:
            raise DatasetError(f"no alignment has a number {unknown[0]!r}; known are {', '.join(sorted(measured)) or 'none'}")

    def _excesses(self, quality: Mapping[str, float]) -> Iterable[str]:
        for limits, sign, words in ((self.at_most, 1, "at most"), (self.at_least, -1, "at least")):
            for name, limit in limits.items():
                if name not in quality:
                    yield f"its {name} was not measured, and {words} {limit:g} was asked for"
                elif sign * quality[name] > sign * limit:
                    yield f"its {name} is {quality[name]:g}, and {words} {limit:g} was asked for"


def read_pair_ids(path: Path) -> tuple[str, ...]:
    """Read a list of pair ids: one a line, empty lines and what follows a `#` do not count.

    Returns
    -------
    tuple
        The ids, sorted.

    Raises
    ------
    DatasetError
        if the file cannot be read, or a line holds more than an id.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); give a text file with a pair id on each line") from error
    ids = [line.partition("#")[0].strip() for line in lines]
    crowded = [number for number, entry in enumerate(ids, start=1) if len(entry.split()) > 1]
    if crowded:
        raise DatasetError(f"{path}, line {crowded[0]}, holds more than one word; give one pair id on each line")
    return tuple(sorted(set(filter(None, ids))))


def read_limits(texts: Collection[str]) -> dict[str, float]:
    """Read limits written as `NAME=VALUE`.

    >>> read_limits(["tile_residual=0.01"])
    {'tile_residual': 0.01}

    Raises
    ------
    DatasetError
        if one is something else.
    """
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name.strip()] = _finite(value)
        except ValueError:
            raise DatasetError(f"{text!r} is no limit; write it as NAME=VALUE, such as tile_residual=0.01") from None
    return limits


def _finite(text: str) -> float:
    value = float(text)
    if not float("-inf") < value < float("inf"):
        raise ValueError(text)
    return value
