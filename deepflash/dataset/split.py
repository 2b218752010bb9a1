"""The split by subject: no person is in two of train, validation and test."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from deepflash.errors import DatasetError
from deepflash.shards import SPLITS

_SERVED = ("train", "test", "val")
"""With fewer than three subjects the first of these get one: an honest number is worth more than a curve while training."""


def split_by_subject(pairs: Mapping[str, int], proportions: Sequence[float], *, seed: int = 0) -> dict[str, list[str]]:
    """Assign each subject to one split.

    Subjects stand in a line, ordered by the hash of seed and id, and the line is cut where the numbers of *pairs* come nearest
    to the proportions. So a subject's place does not depend on who else is there, and a newcomer moves only those who stand
    next to a cut. Every split with a proportion above zero gets at least one subject; if there are too few, train is served
    first, then test, then val.

    Parameters
    ----------
    pairs
        How many pairs each subject has.
    proportions
        Of train, val and test; together 1, train above 0.
    seed
        Another seed, another order.

    Returns
    -------
    dict
        The sorted subjects of `train`, `val` and `test`; some may be empty.

    Raises
    ------
    DatasetError
        if the proportions are not what they should be.

    >>> split_by_subject({"S001": 3, "S002": 3, "S003": 3}, (0.8, 0.1, 0.1))
    {'train': ['S001'], 'val': ['S003'], 'test': ['S002']}
    """
    shares = _checked(proportions)
    line = sorted(pairs, key=lambda subject: _place(subject, seed))
    served = [split for split in _SERVED if shares[split] > 0][: len(line)]
    split: dict[str, list[str]] = {name: [] for name in SPLITS}
    total = sum(pairs.values())
    for waiting, name in reversed(list(enumerate(served))):  # small splits first; `waiting` more need a subject each
        count = (
            len(line) if waiting == 0 else _nearest_cut([pairs[s] for s in line[: len(line) - waiting]], shares[name] * total)
        )
        split[name], line = sorted(line[:count]), line[count:]
    return split


def notes_on(split: Mapping[str, Sequence[str]], proportions: Sequence[float]) -> list[str]:
    """Say in a sentence each what a user should know of a split: which wanted parts stayed empty, and why."""
    count = sum(len(subjects) for subjects in split.values())
    empty = [name for name, share in zip(SPLITS, proportions, strict=True) if share > 0 and not split[name]]
    if not empty:
        return []
    who = "there is only one subject" if count == 1 else f"there are only {count} subjects"
    return [f"the data set has no {' and no '.join(empty)} part, because {who}; photograph more people to have all three"]


def _checked(proportions: Sequence[float]) -> dict[str, float]:
    wrong = len(proportions) != len(SPLITS) or min(proportions) < 0 or abs(sum(proportions) - 1) > 1e-6
    if wrong or proportions[0] <= 0:
        given = ", ".join(f"{share:g}" for share in proportions)
        raise DatasetError(
            f"the proportions {given} are no split; give three for train, val, test that sum to 1, train above 0"
        )
    return dict(zip(SPLITS, proportions, strict=True))


def _place(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest()


def _nearest_cut(weights: Sequence[int], target: float) -> int:
    """Return how many of the first weights, at least one, come nearest to a sum."""
    return int(np.abs(np.cumsum(weights) - target).argmin()) + 1
