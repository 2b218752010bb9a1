"""How far a mean over a few people may be trusted.

Pairs of one person are alike, so they do not count apart: a mean is taken over the means of the *subjects*, and what varies
is who came. With fewer than ten subjects the interval is Student's, since resampling so few understates the spread; from ten
on it is the percentile bootstrap over subjects (Efron and Tibshirani 1993, chapter 13), which asks for no normal distribution.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

_BOOTSTRAP_FROM = 10  # subjects
_RESAMPLES = 10_000
_SEED = 0
_STUDENT_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060)  # 97.5 % points, 1 to 8 degrees of freedom


@dataclass(frozen=True)
class Interval:
    """A mean over subjects and its 95 % confidence interval; `low` and `high` are None for a single subject."""

    mean: float
    low: float | None
    high: float | None

    def within(self, least: float, most: float) -> "Interval":
        """Return the interval without what lies outside of `least` to `most`."""
        low, high = self.low, self.high
        return Interval(self.mean, None if low is None else max(low, least), None if high is None else min(high, most))


def intervals_over_subjects(values: NDArray[np.float64]) -> list[Interval]:
    """Return the mean of every column and its confidence interval.

    Parameters
    ----------
    values
        (subjects, quantities): every subject's own mean of each quantity.

    Returns
    -------
    list of Interval
        One for each quantity. The same values give the same intervals.
    """
    means = values.mean(axis=0)
    subjects = len(values)
    if subjects == 1:
        return [Interval(float(mean), None, None) for mean in means]
    if subjects < _BOOTSTRAP_FROM:
        reach = _STUDENT_T[subjects - 2] * values.std(axis=0, ddof=1) / subjects**0.5
        lows, highs = means - reach, means + reach
    else:
        tail = (1 - LEVEL) / 2
        lows, highs = np.quantile(_resampling(subjects) @ values, [tail, 1 - tail], axis=0)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in zip(means, lows, highs, strict=True)]


def method_for(subjects: int) -> str:
    """Say in words how the intervals of that many subjects come about."""
    if subjects == 1:
        return "no interval: one subject says nothing of others"
    if subjects < _BOOTSTRAP_FROM:
        return f"Student's t over the means of {subjects} subjects"
    return f"percentile bootstrap over the means of {subjects} subjects, {_RESAMPLES} resamples"


@cache
def _resampling(subjects: int) -> NDArray[np.float64]:
    """Return (resamples, subjects): the share of every subject in every resampling, always the same."""
    drawn = np.random.default_rng(_SEED).multinomial(subjects, [1 / subjects] * subjects, size=_RESAMPLES)
    return drawn / subjects
