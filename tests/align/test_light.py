"""Pictures in which light matters less: computed right, and to the same bit wherever in memory they lie."""

import cv2
import numpy as np
import pytest

from deepflash.align import light
from deepflash.align.frame import Level, reduced

from .sitters import in_flash_light, portrait


def _level(seed: int = 0) -> Level:
    plane = np.random.default_rng(seed).random((97, 131), dtype=np.float32)
    return Level(plane, (1 / 131, 1 / 131))


def test_gradients_of_a_slope_point_up_it_and_have_its_local_strength() -> None:
    across = np.tile(np.linspace(0, 1, 131, dtype=np.float32), (97, 1))

    gradients = light.gradients(Level(across, (1 / 131, 1 / 131)), 1.5).plane[30:-30, 30:-30]

    np.testing.assert_allclose(gradients[:, :, 1], 0, atol=1e-3)
    strength = 1 / 130 / np.hypot(1 / 130, 0.004 / 1.5)  # of its own, and of noise
    np.testing.assert_allclose(gradients[:, :, 0], strength, rtol=0.005)


def test_edges_correlate_in_changed_light_better_than_gray_does() -> None:
    picture = portrait("hopper", 390)
    lit = in_flash_light(picture, 2)
    mask = np.ones(picture.shape[:2], bool)
    gray = [reduced(np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), np.uint8), 390) for view in (picture, lit)]
    edges = [light.gradients(level, 1.5) for level in gray]

    assert light.correlation(edges[0].plane, edges[1].plane, mask) > light.correlation(gray[0].plane, gray[1].plane, mask)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_correlation_is_pearsons_inside_the_mask(channels: int) -> None:
    rng = np.random.default_rng(3)
    first, second = (rng.random((60, 50, channels), dtype=np.float32) for _ in range(2))
    second += first
    mask = rng.random((60, 50)) < 0.4
    expected = np.corrcoef(first[mask].ravel().astype(float), second[mask].ravel().astype(float))[0, 1]

    assert light.correlation(first, second, mask) == pytest.approx(expected, abs=1e-5)
    assert light.correlation(first[:, :, 0], first[:, :, 0], mask) == pytest.approx(1)


def test_flat_planes_and_empty_masks_correlate_with_nothing() -> None:
    flat, plane = np.full((9, 9), 0.3, np.float32), np.random.default_rng(0).random((9, 9), dtype=np.float32)

    assert light.correlation(flat, plane, np.ones((9, 9), bool)) == 0
    assert light.correlation(plane, plane, np.zeros((9, 9), bool)) == 0


def test_no_bit_depends_on_where_in_memory_a_picture_lies() -> None:
    level = _level()
    results = set()
    for offset in range(0, 64, 4):
        moved_level = Level(_at(level.plane, offset), level.spacing)
        gradients = light.gradients(moved_level, 1.5)
        length = light.magnitude(Level(_at(gradients.plane, offset), level.spacing)).plane
        results.add(gradients.plane.tobytes() + length.tobytes())

    assert len(results) == 1
    across, down = gradients.plane[:, :, 0], gradients.plane[:, :, 1]
    np.testing.assert_allclose(length, np.hypot(across, down) ** 0.5, rtol=1e-6)


def _at(plane: np.ndarray, offset: int) -> np.ndarray:
    """Return a copy whose address leaves `offset` when divided by 64."""
    memory = np.empty(plane.nbytes + 128, np.uint8)
    first = -memory.ctypes.data % 64 + offset
    copy = memory[first : first + plane.nbytes].view(plane.dtype).reshape(plane.shape)
    copy[...] = plane
    return copy
