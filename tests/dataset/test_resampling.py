"""One interpolation, close to the area integral at every scale, in the right place to a fraction of a pixel."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from deepflash.affine import Affine, apply, compose, inverse, scaling
from deepflash.dataset.resampling import (
    Pyramid,
    read_pyramid,
    resample,
    shrink_of,
)
from deepflash.photos import read_srgb
from deepflash.pictures import Picture, encode, read_rgb
from tests.profiles import WIDE


def zoom(shrink: float, angle_deg: float, size: int, photograph: Picture) -> Affine:
    """Rotate and shrink about the middles of output and photograph (a bit off, to hit no pixel exactly)."""
    angle = math.radians(angle_deg)
    linear = shrink * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([photograph.shape[1] / 2 + 0.3, photograph.shape[0] / 2 - 0.2])
    return np.column_stack([linear, middle - linear @ np.full(2, (size - 1) / 2)])


def integral(photograph: Picture, photograph_from_output: Affine, size: int) -> NDArray[np.float64]:
    """The oracle: at least 16 x 16 points per output pixel and 3 per source pixel, bilinear between pixels, averaged."""
    points = max(16, math.ceil(3 * shrink_of(photograph_from_output)))
    grid = (np.arange(size * points) + 0.5) / points - 0.5
    rows = []
    source = photograph.astype(np.float32)
    for y in range(size):
        x, ys = np.meshgrid(grid, grid[y * points : (y + 1) * points])
        where = (
            apply(photograph_from_output, np.column_stack([x.ravel(), ys.ravel()])).astype(np.float32).reshape(points, -1, 2)
        )
        strip = cv2.remap(source, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        rows.append(strip.reshape(points, size, points, 3).mean(axis=(0, 2)))
    return np.stack(rows)


def psnr(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def pyramid_of(photograph: Picture, tmp_path: Path, most_shrink: float) -> Pyramid:
    path = tmp_path / "photograph.png"
    path.write_bytes(encode(photograph, ".png"))
    return read_pyramid(path, most_shrink, most_shrink)


@pytest.mark.parametrize("shrink", [1.3, 2.0, 2.9, 4.3, 6.1])
def test_it_is_far_nearer_to_the_area_integral_than_plain_interpolation(
    shrink: float, astronaut: Picture, tmp_path: Path
) -> None:
    photograph = np.asarray(cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    noise = np.random.default_rng(0).normal(0, 8, photograph.shape)  # sensor noise: what aliases
    photograph = np.clip(photograph + noise, 0, 255).astype(np.uint8)
    size = 64
    matrix = zoom(shrink, 10, size, photograph)
    truth = integral(photograph, matrix, size)
    ours = psnr(resample(pyramid_of(photograph, tmp_path, shrink), matrix, size, shrink), truth)
    plain = cv2.warpAffine(photograph, matrix, (size, size), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    assert ours > 40
    assert ours > psnr(plain, truth) + 5


@pytest.mark.parametrize("shrink", [0.7, 1.0, 1.9, 3.2, 4.4, 6.09])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_smooth_spot_lands_where_the_matrix_says(shrink: float, suffix: str, tmp_path: Path) -> None:
    """Within a hundredth of an output pixel, with every reduction that a decoder or the pyramid makes."""
    width, height, spot = 640, 480, np.array([333.3, 222.7])
    y, x = np.mgrid[:height, :width]
    sigma = 6 * max(1.0, shrink)
    hill = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * sigma**2))
    photograph = np.repeat((20 + 220 * hill)[..., None], 3, axis=2).round().astype(np.uint8)
    path = tmp_path / f"spot{suffix}"
    path.write_bytes(encode(photograph, suffix, quality=98))
    size = 72
    linear = shrink * np.array([[0.96, -0.28], [0.28, 0.96]])
    matrix = np.column_stack([linear, spot - linear @ np.array([36.2, 34.9])])
    picture = resample(read_pyramid(path, shrink, shrink), matrix, size, shrink)[..., 1].astype(float)
    weight = np.clip(picture - 60, 0, None)
    v, u = np.mgrid[:size, :size]
    centre = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, [36.2, 34.9], atol=0.02)


def test_the_identity_returns_the_photograph_itself(astronaut: Picture, tmp_path: Path) -> None:
    photograph = np.ascontiguousarray(astronaut[:200, :200])
    pyramid = pyramid_of(photograph, tmp_path, 1.0)
    np.testing.assert_array_equal(resample(pyramid, np.eye(3)[:2], 200, 1.0), photograph)


def test_outside_the_photograph_its_edge_is_repeated(tmp_path: Path) -> None:
    photograph = np.zeros((40, 40, 3), np.uint8)
    photograph[:, :3] = 200
    moved = np.array([[1.0, 0, -20.0], [0, 1.0, 0]])
    assert (resample(pyramid_of(photograph, tmp_path, 1.0), moved, 40, 1.0)[:, :20] == 200).all()


@pytest.mark.parametrize(("shape", "first"), [((480, 640), 4), ((481, 640), 1), ((478, 638), 2)])
def test_a_jpeg_is_decoded_no_larger_than_needed_but_never_padded(shape: tuple[int, int], first: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(np.zeros((*shape, 3), np.uint8), ".jpg"))
    pyramid = read_pyramid(path, 8.0, 20.0)
    assert min(pyramid.levels) == first
    assert max(pyramid.levels) == 8
    assert pyramid.full_size == (shape[1], shape[0])


@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.2, 8),
    shift=st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    shear=st.floats(-0.3, 0.3),
)
def test_composition_and_inversion_are_those_of_maps(
    angle: float, scale: float, shift: tuple[float, float], shear: float
) -> None:
    a = np.array(
        [
            [scale * math.cos(angle), shear - scale * math.sin(angle), shift[0]],
            [scale * math.sin(angle), scale * math.cos(angle), shift[1]],
        ]
    )
    b = scaling(0.5)
    points = np.array([(0.0, 0.0), (10.0, -3.0), (400.5, 77.25)])
    np.testing.assert_allclose(apply(compose(a, b), points), apply(a, apply(b, points)), atol=1e-6)
    np.testing.assert_allclose(apply(compose(inverse(a), a), points), points, atol=1e-5)


@pytest.mark.parametrize("reduction", [1, 4])
def test_a_photograph_of_a_wider_space_is_brought_to_srgb(reduction: int, astronaut: Picture, tmp_path: Path) -> None:
    path = tmp_path / "photograph.jpg"
    Image.fromarray(astronaut[:512, :384]).save(path, quality=98, subsampling=0, icc_profile=WIDE)
    read = read_pyramid(path, 2.0 * reduction, 2.0 * reduction).levels[reduction]
    height, width = read.shape[:2]
    whole = cv2.resize(read_srgb(path), (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(read.astype(int) - whole).mean() < 1  # averaging before or after the curves differ by as much
    assert np.abs(read.astype(int) - read_rgb(path, reduce=reduction)).mean() > 2
