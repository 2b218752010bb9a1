"""Tiles whose truth is known by construction say what they were made to say."""

import numpy as np
import pytest

from deepflash.affine import apply
from deepflash.align.agreement import agreement_of_tiles, points_on
from deepflash.align.tiles import NO_MATCHES, Matches

FACE = (0.5, 0.6, 0.2, 0.25)
MAP = np.array([[1.01, 0.02, 0.01], [-0.02, 0.99, 0.02]])


def matches(bend: float = 0.0, noise: float = 0.0) -> Matches:
    """Return tiles on the face where MAP puts them, but for a parabola of that height across the face, and noise."""
    points = points_on(FACE)
    found = apply(MAP, points)
    found[:, 0] += bend * ((points[:, 0] - FACE[0]) / FACE[2]) ** 2
    found += np.random.default_rng(0).normal(0, noise, found.shape)
    return Matches(points, found, np.full(len(points), 0.9))


def test_points_lie_on_the_ellipse() -> None:
    x, y = points_on(FACE).T
    assert np.hypot((x - 0.5) / 0.2, (y - 0.6) / 0.25).max() <= 1
    np.testing.assert_allclose([x.mean(), y.mean()], FACE[:2], atol=1e-9)


def test_tiles_that_fit_the_map_leave_nothing() -> None:
    agreement = agreement_of_tiles(matches(), MAP, FACE)

    assert agreement.residual < 1e-9
    assert agreement.halves < 1e-9
    assert agreement.bend < 1e-9


def test_a_wrong_map_leaves_its_error_but_bends_nothing() -> None:
    wrong = MAP + np.array([[0, 0, 0.003], [0, 0, 0.004]])

    agreement = agreement_of_tiles(matches(), wrong, FACE)

    assert agreement.residual == pytest.approx(0.005)
    assert agreement.bend < 1e-9


def test_a_turned_head_bends_by_the_part_of_the_parabola_that_is_not_affine() -> None:
    """On a disc u^2 has the mean 1/4 and the variance 1/8 - 1/16; no affine map follows it."""
    agreement = agreement_of_tiles(matches(bend=0.01), MAP, FACE)

    assert agreement.bend == pytest.approx(0.01 * np.sqrt(1 / 16), rel=0.05)


def test_noise_divides_the_halves_by_about_as_much_as_theory_says() -> None:
    """Each half of n tiles errs by sigma sqrt(3 / n) a coordinate; two halves, two coordinates; Rayleigh's mean."""
    noise, count = 0.002, len(points_on(FACE)) / 2

    halves = agreement_of_tiles(matches(noise=noise), MAP, FACE).halves

    expected = noise * np.sqrt(2 * 3 / count) * np.sqrt(np.pi / 2)
    assert expected / 3 < halves < expected * 3


def test_a_part_that_finds_no_tiles_is_noticed() -> None:
    """On an even grid the chin has 16 % of the tiles: the segment of a disc beyond 0.56 of its radius."""
    whole = matches()
    without_chin = whole.only(whole.points[:, 1] < 0.6 + 0.56 * 0.25)

    assert agreement_of_tiles(whole, MAP, FACE).thinnest == pytest.approx(0.16, abs=0.04)
    assert agreement_of_tiles(without_chin, MAP, FACE).thinnest == 0


def test_too_few_tiles_say_nothing() -> None:
    none, few = agreement_of_tiles(NO_MATCHES, MAP, FACE), agreement_of_tiles(matches().only(np.arange(149) < 10), MAP, FACE)

    assert np.isinf(none.residual)
    assert np.isinf(none.halves)
    assert np.isinf(few.halves)
    assert (few.bend, few.thinnest) == (0, 1)
