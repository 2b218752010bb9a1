"""Confidence intervals over subjects: against scipy, and against the bootstrap written out."""

import numpy as np
import pytest
from scipy import stats

from deepflash.model.intervals import Interval, intervals_over_subjects, method_for


@pytest.mark.parametrize("subjects", range(2, 10))
def test_few_subjects_have_students_interval(subjects: int) -> None:
    values = np.random.default_rng(subjects).normal(20, 3, (subjects, 2))
    for column, interval in zip(values.T, intervals_over_subjects(values), strict=True):
        low, high = stats.t.interval(0.95, subjects - 1, column.mean(), stats.sem(column))
        assert (interval.mean, interval.low, interval.high) == pytest.approx((column.mean(), low, high), rel=1e-4)


def test_many_subjects_have_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2, 1, (25, 1))
    (interval,) = intervals_over_subjects(values)
    random = np.random.default_rng(1)
    means = [random.choice(values[:, 0], 25).mean() for _ in range(20_000)]
    assert interval.low == pytest.approx(np.percentile(means, 2.5), abs=0.03)
    assert interval.high == pytest.approx(np.percentile(means, 97.5), abs=0.03)
    assert interval.mean == pytest.approx(values.mean())


def test_the_bootstrap_is_the_same_every_time() -> None:
    values = np.random.default_rng(0).random((12, 3))
    assert intervals_over_subjects(values) == intervals_over_subjects(values.copy())


def test_a_single_subject_has_no_interval_and_it_is_said() -> None:
    assert intervals_over_subjects(np.array([[3.0, 4.0]])) == [Interval(3, None, None), Interval(4, None, None)]
    assert "no interval" in method_for(1)
    assert "Student" in method_for(9)
    assert "bootstrap" in method_for(10)


def test_an_interval_is_cut_where_no_value_can_be() -> None:
    assert Interval(0.9, 0.4, 1.4).within(-1, 1) == Interval(0.9, 0.4, 1)
    assert Interval(0.9, None, None).within(-1, 1) == Interval(0.9, None, None)
