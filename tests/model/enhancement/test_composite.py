"""Cut-outs at full resolution, against mixtures made of known colours and shares."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deepflash.model.enhancement.composite import cut_out, foreground_at, matte_at, replace_background


def mixture(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a brown disc with a soft rim before green, (side, side, 3), and how much of each pixel is the disc."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / side
    share = np.clip(0.5 + (0.3 - np.hypot(rows - 0.5, columns - 0.5)) / 0.06, 0, 1)
    brown, green = np.array([0.45, 0.3, 0.2], np.float32), np.array([0.1, 0.6, 0.3], np.float32)
    return share[..., None] * brown + (1 - share[..., None]) * green, share


def reduced(picture: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.rint(255 * small).astype(np.uint8)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_no_rim_of_the_old_background_is_left(depth: Any) -> None:
    picture, share = mixture(800)
    white = np.iinfo(depth).max
    pixels = np.rint(picture * white).astype(depth)
    cut = cut_out(reduced(picture, 200), cv2.resize(share, (200, 200), interpolation=cv2.INTER_AREA))
    result = replace_background(pixels, cut, (200, 100, 50)) / white
    behind = np.array([200, 100, 50]) / 255
    wanted = share[..., None] * np.array([0.45, 0.3, 0.2]) + (1 - share[..., None]) * behind
    rim = (share > 0.02) & (share < 0.98)
    assert np.abs(result - wanted)[rim].mean() < 0.02
    naive = share[..., None] * picture + (1 - share[..., None]) * behind
    assert np.abs(naive - wanted)[rim].mean() > 0.04


def test_people_stay_as_they_are_and_the_background_is_the_colour() -> None:
    picture, share = mixture(400)
    noisy = np.clip(picture + np.random.default_rng(3).normal(0, 0.02, picture.shape), 0, 1)
    pixels = np.rint(noisy * 255).astype(np.uint8)
    cut = cut_out(reduced(picture, 100), cv2.resize(share, (100, 100), interpolation=cv2.INTER_AREA))
    result = replace_background(pixels, cut, (10, 20, 30))
    inside, outside = (
        cv2.erode((share == 1).astype(np.uint8), np.ones((17, 17))) > 0,
        cv2.erode((share == 0).astype(np.uint8), np.ones((17, 17))) > 0,
    )
    np.testing.assert_array_equal(result[inside], pixels[inside])
    assert (result[outside] == (10, 20, 30)).all()
    assert result.dtype == np.uint8


def test_the_matte_follows_the_edges_of_the_photograph() -> None:
    truth = np.zeros((640, 640), np.float32)
    cv2.circle(truth, (320, 320), 201, 1.0, -1)
    picture = np.where(truth[..., None] > 0, np.float32(0.8), np.float32(0.2)) * np.ones(3, np.float32)
    coarse = cv2.resize(truth, (80, 80), interpolation=cv2.INTER_AREA)
    cut = cut_out(reduced(picture, 80), coarse)
    along = np.concatenate([matte_at(cut, picture[top : top + 64], top, 640) for top in range(0, 640, 64)])
    plain = cv2.resize(coarse, (640, 640), interpolation=cv2.INTER_LINEAR)
    assert np.abs(along - truth).sum() < 0.5 * np.abs(plain - truth).sum()


def test_strips_of_any_height_say_the_same() -> None:
    picture, share = mixture(300)
    cut = cut_out(reduced(picture, 100), cv2.resize(share, (100, 100), interpolation=cv2.INTER_AREA))
    whole = matte_at(cut, picture, 0, 300)
    part = matte_at(cut, picture[120:163], 120, 300)
    np.testing.assert_allclose(part, whole[120:163], atol=1e-6)
    np.testing.assert_allclose(
        foreground_at(cut, picture[120:163], part, 120, 300), foreground_at(cut, picture, whole, 0, 300)[120:163], atol=1e-5
    )
