"""Tiles: found to a fraction of a pixel, fitted although some are wrong."""

import numpy as np
import pytest

from deepflash.affine import IDENTITY, apply
from deepflash.align import frame, light, tiles

from .sitters import moved, portrait

TRUTH = np.array([[1.01, 0.02, -0.004], [-0.015, 0.99, 0.01]])


def _matches(count: int, wrong: int, seed: int = 0) -> tiles.Matches:
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2))
    found = apply(TRUTH, points) + rng.normal(0, 1e-4, (count, 2))
    found[:wrong] += rng.uniform(-0.05, 0.05, (wrong, 2))
    return tiles.Matches(points, found, np.ones(count))


def test_a_third_of_wrong_tiles_does_not_spoil_the_fit() -> None:
    fitted = tiles.fit_affine(_matches(150, wrong=50))

    assert fitted is not None
    np.testing.assert_allclose(fitted, TRUTH, atol=2e-4)


def test_too_few_tiles_give_no_map() -> None:
    assert tiles.fit_affine(_matches(11, wrong=0)) is None
    assert tiles.held_out_residual(_matches(20, wrong=0)) == float("inf")


def test_held_out_tiles_lie_where_their_noise_puts_them() -> None:
    """The median distance of normal noise in two dimensions is 1.18 standard deviations."""
    assert tiles.held_out_residual(_matches(2000, wrong=0)) == pytest.approx(1.18e-4, rel=0.1)


def test_tiles_are_found_to_a_tenth_of_a_pixel() -> None:
    picture = portrait("hopper", 520)
    shift = np.array([[1.0, 0.0, 3.3], [0.0, 1.0, -2.6]])
    levels = [
        light.magnitude(light.gradients(frame.reduced(view[:, :, 1], 520), 1.5)) for view in (picture, moved(picture, shift))
    ]
    mask = np.zeros(levels[0].plane.shape[:2], bool)
    mask[150:450, 120:400] = True

    matches = tiles.match_tiles(*levels, mask, IDENTITY, tiles.Lattice(tile_px=40, step_px=20, reach_px=8))

    offsets = (matches.found - matches.points) * 520
    assert len(offsets) > 50
    assert np.linalg.norm(np.median(offsets, axis=0) - [3.3, -2.6]) < 0.1
