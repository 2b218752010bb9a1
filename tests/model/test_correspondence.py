"""Correspondence against warps that are known: a smooth one, a similarity, another resolution, other light."""

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from deepflash.faces import LandmarkModel
from deepflash.model.correspondence import FACE_SHARE, Correspondence, find_correspondence
from deepflash.pictures import Picture

FACE = (slice(60, 200), slice(160, 290))


def warped(picture: Picture, turn_deg: float, scale: float, waves_px: float) -> tuple[Picture, NDArray[np.float32]]:
    """Return an example, and (H, W, 2): which point of the picture each of its pixels shows."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shrunk_turn = np.exp(1j * np.radians(turn_deg)) / scale
    turned = (x - width / 2 + 1j * (y - height / 2)) * shrunk_turn
    across = turned.real + width / 2 + waves_px * np.sin(y / 60)
    down = turned.imag + height / 2 + waves_px * np.sin(x / 75)
    picture_from_example = np.stack([across, down], axis=2).astype(np.float32)
    example = cv2.remap(picture, picture_from_example, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(example, np.uint8), picture_from_example


def errors_px(found: Correspondence, picture_from_example: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much each pixel misses itself, there and back."""
    height, width = picture_from_example.shape[:2]
    points = cv2.resize(found.points, (width, height))
    back = cv2.remap(picture_from_example, points, None, cv2.INTER_LINEAR)
    y, x = np.mgrid[:height, :width]
    return np.hypot(back[..., 0] - x, back[..., 1] - y)


@pytest.mark.parametrize("landmarks", ["small", "large"])
@pytest.mark.parametrize(("turn_deg", "scale"), [(0, 1.0), (8, 1.2), (-10, 0.8)])
def test_a_smooth_warp_is_found_to_a_pixel(turn_deg: float, scale: float, landmarks: LandmarkModel) -> None:
    picture = skimage.data.astronaut()
    example, picture_from_example = warped(picture, turn_deg, scale, waves_px=4)

    found = find_correspondence(picture, example, landmarks=landmarks)

    assert found.scale == pytest.approx(scale, rel=0.02)
    errors = errors_px(found, picture_from_example)[FACE]
    assert np.median(errors) < 0.3
    assert np.percentile(errors, 95) < 1.0


def test_other_light_hardly_matters() -> None:
    picture = skimage.data.astronaut()
    example, picture_from_example = warped(picture, 8, 1.2, waves_px=4)
    from_the_left = np.linspace(1.0, 0.4, example.shape[1])[None, :, None]
    warm = np.asarray(255 * (example / 255.0) ** 1.5 * from_the_left * [1.0, 0.8, 0.5], np.uint8)

    errors = errors_px(find_correspondence(picture, warm), picture_from_example)[FACE]

    assert np.median(errors) < 0.4
    assert np.percentile(errors, 95) < 1.5


def test_a_picture_lies_upon_itself() -> None:
    picture = skimage.data.astronaut()
    found = find_correspondence(picture, picture)
    y, x = np.mgrid[:512, :512]
    assert found.scale == pytest.approx(1)
    assert np.abs(found.points - np.stack([x, y], axis=2)).max() < 0.01


def test_of_a_larger_example_the_points_are_its_own() -> None:
    picture = skimage.data.astronaut()
    larger = cv2.resize(picture, (1024, 1024), interpolation=cv2.INTER_CUBIC)

    found = find_correspondence(picture, np.asarray(larger, np.uint8))

    y, x = np.mgrid[:512, :512]
    errors = np.linalg.norm(found.points - np.stack([2 * x + 0.5, 2 * y + 0.5], axis=2), axis=2)  # centres: half a pixel
    assert found.scale == pytest.approx(2)
    assert np.percentile(errors, 99) < 1.0, "half a pixel of the picture"


def test_without_faces_the_pictures_are_laid_upon_each_other() -> None:
    picture = skimage.data.coffee()[:300, :400]
    shifted = np.roll(picture, (0, 3), axis=(0, 1))

    found = find_correspondence(picture, shifted)

    assert (found.face, found.example_face, found.scale, found.face_px) == (None, None, 1, FACE_SHARE * 300)
    assert np.median(found.points[..., 0] - np.arange(400)) == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (20, 1400)])
def test_specks_and_strips_are_pictures_too(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    found = find_correspondence(picture, picture)
    y, x = np.mgrid[: size[0], : size[1]]
    points = [found.warp(np.asarray(grid, np.float32), size, size) for grid in (x, y)]
    assert np.abs(np.stack(points) - np.stack([x, y])).max() < 1.5


def test_what_was_computed_of_the_example_at_less_resolution_lands_at_the_same_place() -> None:
    picture = skimage.data.astronaut()
    found = find_correspondence(picture, picture)
    y, x = np.mgrid[:512, :512]
    ramp = np.asarray(x + y, np.float32)
    reduced = cv2.resize(ramp, (128, 128), interpolation=cv2.INTER_AREA)

    warped_ramp = found.warp(np.asarray(reduced, np.float32), (512, 512), (256, 256))

    assert warped_ramp.shape == (256, 256)
    of_half_size = cv2.resize(ramp, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(warped_ramp - of_half_size)[4:-4, 4:-4].max() < 0.05
