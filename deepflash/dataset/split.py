"""The split by subject: no person is in two of train, validation and test, and nobody moves when others come.

Without a memory a split in which a newcomer never moves anybody can only be a function of each subject alone (take the others
away one by one: nobody may move). So a subject's part is decided by its id, and two refinements keep the shares near what was
asked for. Numbered ids (`S001`, `S002`, ...) are randomised in *permuted blocks*, as in clinical trials: of ten consecutive
numbers exactly one falls into each tenth of the line from 0 to 1 that is cut in the proportions. And the first numbers serve
train, test and val, so that three people make all three. Other ids lie on that line where their hash puts them.

With a memory, the lists of an earlier split, newcomers may be placed by who is there already: `balanced_split`.
docs/decisions/0010-split.md has the argument and the measured shares.
"""

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepflash.errors import DatasetError
from deepflash.shards import SPLITS

_SERVED = ("train", "test", "val")
"""With fewer than three subjects the first of these get one: an honest number is worth more than a curve while training."""

_GIVERS = {"train": ("test", "val"), "test": ("val", "train"), "val": ("train", "test")}
"""Whose people stand in for an empty part: its neighbour's, if there are any, though it be a single one whose part is filled
in turn. Were it the part with most people, a newcomer could change which, and move people who stand in for nobody."""

_LINE = ("test", "val", "train")  # how the parts lie on the line from 0 to 1
_BLOCK = 10
_NUMBERED = re.compile(r"(?P<prefix>[A-Za-z_-]*)(?P<number>[0-9]{1,6})")


@dataclass(frozen=True)
class Split:
    """Who is in which part.

    Attributes
    ----------
    subjects
        The sorted subjects of `train`, `val` and `test`; some may be empty.
    stand_ins
        Those who fill a part that would be empty otherwise. Once no part is empty, they alone may move when others come.
    """

    subjects: dict[str, list[str]]
    stand_ins: tuple[str, ...] = ()

    def part_of(self) -> dict[str, str]:
        """Return every subject's part."""
        return {subject: part for part, subjects in self.subjects.items() for subject in subjects}


def split_by_subject(
    subjects: Iterable[str], proportions: Sequence[float], *, seed: int = 0, fixed: Mapping[str, str] | None = None
) -> Split:
    """Put each subject into the part that its id decides, whoever else is there.

    Very few people may leave a part with a proportion above zero empty; then somebody stands in for it until others come:
    train is served first, then test, then val. Subjects numbered from 1 need no stand-ins from three on.

    Parameters
    ----------
    subjects
        Their ids.
    proportions
        Of train, val and test; together 1, train above 0.
    seed
        Another seed, another split.
    fixed
        Subjects whose part was decided before, see `read_split`; others may be in it.

    Raises
    ------
    DatasetError
        if the proportions are not what they should be.

    >>> split_by_subject(["S001", "S002", "S003"], (0.8, 0.1, 0.1)).subjects
    {'train': ['S001'], 'val': ['S003'], 'test': ['S002']}
    """
    shares = _checked(proportions)
    decided = fixed or {}
    part_of = {subject: decided.get(subject) or _own_part(subject, shares, seed) for subject in set(subjects)}
    return _with_stand_ins(part_of, decided, shares, seed)


def balanced_split(
    poses: Mapping[str, Mapping[str, int]],
    proportions: Sequence[float],
    *,
    seed: int = 0,
    fixed: Mapping[str, str] | None = None,
) -> Split:
    """Place subjects so that every part has its share of the pairs and of every pose, as nearly as whole subjects allow.

    The subject with the most pairs comes first, and each goes where it lessens the squared misses, relative to the targets,
    most (greedy iterative stratification, after Sechidis et al. 2011). The result depends on who is there: give it back as
    `fixed` when people are added, and nobody moves.

    Parameters
    ----------
    poses
        For each subject how many pairs it has of each pose.
    proportions, seed, fixed
        As for `split_by_subject`; `seed` decides between equals.
    """
    shares = _checked(proportions)
    part_of = {subject: part for subject, part in (fixed or {}).items() if subject in poses}
    wanted = _total(poses.values())
    have = {part: _total(poses[subject] for subject in part_of if part_of[subject] == part) for part in SPLITS}

    def miss_added(part: str, own: Counter[str]) -> float:
        def squared(extra: int, pose: str) -> float:
            target = shares[part] * wanted[pose]
            return (have[part][pose] + extra - target) ** 2 / target

        return sum(squared(count, pose) - squared(0, pose) for pose, count in own.items() if count)

    newcomers = {subject: _total([counts]) for subject, counts in poses.items() if subject not in part_of}
    for subject, own in sorted(newcomers.items(), key=lambda item: (-item[1][_ALL], _position(seed, item[0]))):
        part = min((part for part in SPLITS if shares[part] > 0), key=lambda part: (miss_added(part, own), -shares[part]))
        part_of[subject] = part
        have[part] += own
    return _with_stand_ins(part_of, fixed or {}, shares, seed)


def read_split(path: Path) -> dict[str, str]:
    """Read fixed lists: each listed subject's part.

    Parameters
    ----------
    path
        A TOML file with lists `train`, `val` and `test` of subject ids (some may be missing), or the `dataset.json` of an
        earlier data set.

    Raises
    ------
    DatasetError
        if the file cannot be read, or lists something else, or a subject twice.
    """
    lists = _lists_in(path)
    part_of: dict[str, str] = {}
    for part, subjects in lists.items():
        if part not in SPLITS or not isinstance(subjects, list) or not all(isinstance(subject, str) for subject in subjects):
            raise DatasetError(f"{path} is no split: {part!r} is not a list of subjects called {', '.join(SPLITS)}; correct it")
        for subject in subjects:
            if subject in part_of:
                raise DatasetError(f"{path} lists subject {subject} twice; a person belongs in one part, keep one of them")
            part_of[subject] = part
    return part_of


def pose_table(split: Split, poses: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return how many pairs of each pose each part has; every part names every pose."""
    names = sorted({pose for counts in poses.values() for pose in counts})
    table = {}
    for part, subjects in split.subjects.items():
        total = _total(poses[subject] for subject in subjects)
        table[part] = {pose: total[pose] for pose in names}
    return table


def notes_on(
    split: Split,
    proportions: Sequence[float],
    *,
    fixed: Mapping[str, str] | None = None,
    table: Mapping[str, Mapping[str, int]] | None = None,
) -> list[str]:
    """Say in a sentence each what a user should know of a split: parts that are empty or filled by stand-ins, absent poses."""
    everybody = split.part_of()
    empty = [part for part, share in zip(SPLITS, proportions, strict=True) if share > 0 and not split.subjects[part]]
    notes = []
    if empty:
        who = "there is only one subject" if len(everybody) == 1 else f"there are only {len(everybody)} subjects"
        notes.append(
            f"the data set has no {' and no '.join(empty)} part, because {who}; photograph more people to have all three"
        )
    if split.stand_ins:
        places = " and ".join(f"{subject} stands in for {everybody[subject]}" for subject in split.stand_ins)
        notes.append(
            f"{places}, which would be empty otherwise; to keep this when people are added, build with --split and"
            " this data set's dataset.json"
        )
    strangers = sorted((fixed or {}).keys() - everybody.keys())
    if strangers:
        notes.append(f"the fixed split lists subjects without a usable pair: {_some(strangers)}")
    return notes + _notes_on_poses(table or {})


def _own_part(subject: str, shares: Mapping[str, float], seed: int) -> str:
    match = _NUMBERED.fullmatch(subject)
    if match is None:
        return _part_at(_position(seed, subject), shares)
    block, slot = divmod(max(int(match["number"]) - 1, 0), _BLOCK)
    name = f"{match['prefix']}#{block}"
    first = _first_served(name, shares, seed) if block == 0 else []
    if slot < len(first):
        return first[slot]
    tenths = sorted(set(range(_BLOCK)) - {_tenth(part, shares) for part in first}, key=lambda t: _position(seed, f"{name}/{t}"))
    return _part_at((tenths[slot - len(first)] + _position(seed, f"{name}:{slot}")) / _BLOCK, shares)


def _first_served(name: str, shares: Mapping[str, float], seed: int) -> list[str]:
    """Return the parts of a prefix's first numbers: train, then test and val in an order of the seed's."""
    others = [part for part in _SERVED[1:] if shares[part] > 0]
    return ["train", *sorted(others, key=lambda part: _position(seed, f"{name}={part}"))]


def _part_at(position: float, shares: Mapping[str, float]) -> str:
    for part in _LINE:
        position -= shares[part]
        if position < 0:
            return part
    return "train"


def _tenth(part: str, shares: Mapping[str, float]) -> int:
    """Return the tenth of the line in which the middle of a part lies."""
    before = sum(shares[other] for other in _LINE[: _LINE.index(part)])
    return min(_BLOCK - 1, int((before + shares[part] / 2) * _BLOCK))


def _with_stand_ins(part_of: dict[str, str], fixed: Mapping[str, str], shares: Mapping[str, float], seed: int) -> Split:
    own = dict(part_of)
    movable = sorted((subject for subject in part_of if subject not in fixed), key=lambda subject: _position(seed, subject))
    served = [part for part in _SERVED if shares[part] > 0]
    for turn, part in [*enumerate(served)] * 2:  # who gives may have had its turn
        if part not in part_of.values() and (chosen := _stand_in(part, served[turn + 1 :], part_of, movable)):
            part_of[chosen] = part
    subjects = {part: sorted(subject for subject, where in part_of.items() if where == part) for part in SPLITS}
    return Split(subjects, tuple(sorted(subject for subject, part in part_of.items() if part != own[subject])))


def _stand_in(part: str, later: Collection[str], part_of: Mapping[str, str], movable: Sequence[str]) -> str | None:
    """Return who moves into an empty part; `later` are the parts that are served after it."""
    count = Counter(part_of.values())
    lasts = any(count[part_of[subject]] > 1 for subject in movable)  # giver, or who gives to the giver
    for giver in _GIVERS[part]:
        spare = [subject for subject in movable if part_of[subject] == giver]
        if spare and (lasts or giver in later):
            return spare[0]
    return None


def _checked(proportions: Sequence[float]) -> dict[str, float]:
    right = len(proportions) == len(SPLITS) and min(proportions) >= 0 and abs(sum(proportions) - 1) <= 1e-6  # NaN is neither
    if not right or proportions[0] <= 0:
        given = ", ".join(f"{share:g}" for share in proportions)
        raise DatasetError(
            f"the proportions {given} are no split; give three for train, val, test that sum to 1, train above 0"
        )
    return dict(zip(SPLITS, proportions, strict=True))


def _position(seed: int, name: str) -> float:
    """Return a number from 0 to 1 that looks random and is always the same."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6]) / 2**48


_ALL = "*"  # not a pose: pose names hold no such sign


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Sum counts by pose, and under `_ALL` all of them."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    total[_ALL] = sum(total.values())
    return total


def _lists_in(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        lists = json.loads(text)["split"] if path.suffix == ".json" else tomllib.loads(text)
        return dict(lists)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give a TOML file with lists train, val and test") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is no split ({error}); give TOML with lists train, val and test, or a dataset.json"
        ) from error


def _notes_on_poses(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    filled = [part for part, counts in table.items() if any(counts.values())]
    known = {pose for counts in table.values() for pose in counts}
    lacking = [f"{part} has no pair of pose {pose!r}" for part in filled for pose in sorted(known) if not table[part][pose]]
    if not lacking or len(known) == 1:
        return []
    return [f"{_some(lacking)}; to even the poses out, build with --balance"]


def _some(names: Collection[str], most: int = 5) -> str:
    shown = list(names)[:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
