"""The normalised frame: round trips, and nothing off by half a pixel."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepflash.affine import IDENTITY, apply, compose, inverse
from deepflash.align import frame

small = st.floats(-0.3, 0.3)
affines = st.builds(lambda a, b, c, d, u, v: np.array([[1 + a, b, u], [c, 1 + d, v]]), *[small] * 6)


@given(affines, st.integers(64, 5000))
def test_pixels_and_frame_are_each_others_inverse(affine: np.ndarray, width: int) -> None:
    np.testing.assert_allclose(frame.in_frame(frame.in_pixels(affine, width), width), affine, atol=1e-9)


@given(affines)
def test_a_map_and_its_inverse_cancel(affine: np.ndarray) -> None:
    np.testing.assert_allclose(compose(inverse(affine), affine), IDENTITY, atol=1e-9)


def test_the_same_motion_at_half_the_size_is_the_same_in_the_frame() -> None:
    """A corner pixel's centre is at 0 at both sizes, but a half-size pixel's centre is at 0.5 of the full one."""
    full = np.array([[1.1, 0.0, 7.0], [0.0, 1.1, -3.0]])
    half_from_full = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]])  # x_half = (x_full + 0.5) / 2 - 0.5
    half = compose(half_from_full, compose(full, inverse(half_from_full)))

    np.testing.assert_allclose(frame.in_frame(half, 500), frame.in_frame(full, 1000), atol=1e-12)


def test_cropping_a_level_moves_no_point() -> None:
    level = frame.Level(np.arange(60 * 80, dtype=np.float32).reshape(60, 80), (1 / 80, 1 / 80))

    part = level.crop((0.25, 0.3, 0.75, 0.6))

    x, y = apply(inverse(level.frame_from_pixel), apply(part.frame_from_pixel, [[3, 5]]))[0]
    assert part.plane[5, 3] == level.plane[round(y), round(x)]
    assert part.plane.shape[0] < 30


def test_warping_by_a_map_of_the_frame_is_opencvs_inverse_warp() -> None:
    rng = np.random.default_rng(3)
    plane = cv2.GaussianBlur(rng.random((90, 120), dtype=np.float32), (0, 0), 2)
    level = frame.Level(plane, (1 / 120, 1 / 120))
    pixels = np.array([[1.02, 0.01, 4.5], [-0.01, 0.98, -2.25]])

    warped = frame.warp(level, frame.in_frame(pixels, 120), level)

    expected = cv2.warpAffine(plane, pixels, (120, 90), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    np.testing.assert_allclose(warped, expected, atol=1e-4)


def test_a_coarser_level_shows_the_same_points_at_the_same_place() -> None:
    """Also where the pixels do not divide evenly, and of a cropped level."""
    y, x = np.mgrid[0:211, 0:157].astype(np.float32)
    level = frame.Level(x / 157 + 2 * y / 157, (1 / 157, 1 / 157)).crop((0.2, 0.1, 0.93, 1.2))

    small = frame.coarser(level, 40)

    assert small.plane.shape[1] < level.plane.shape[1] / 3
    rows, columns = np.indices(small.plane.shape)
    u, v = apply(small.frame_from_pixel, np.column_stack([columns.ravel(), rows.ravel()])).T
    np.testing.assert_allclose(small.plane.ravel(), u - 0.5 / 157 + 2 * (v - 0.5 / 157), atol=2e-3)
    assert frame.coarser(level, 157) is level
