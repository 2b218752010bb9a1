"""Cut-outs at full resolution, against mixtures made of known colours and shares."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.model.enhancement.composite import cut_out, foreground_at, matte_at

BROWN, GREEN = (0.45, 0.3, 0.2), (0.1, 0.6, 0.3)


def mixture(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a brown disc with a soft rim before green, (side, side, 3), and how much of each pixel is the disc."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / side
    share = np.clip(0.5 + (0.3 - np.hypot(rows - 0.5, columns - 0.5)) / 0.06, 0, 1)
    return share[..., None] * np.array(BROWN, np.float32) + (1 - share[..., None]) * np.array(GREEN, np.float32), share


def reduced(picture: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.rint(255 * small).astype(np.uint8)


def test_people_are_freed_of_the_old_background_at_their_rim() -> None:
    picture, share = mixture(800)
    cut = cut_out(reduced(picture, 200), cv2.resize(share, (200, 200), interpolation=cv2.INTER_AREA))
    matte = matte_at(cut, picture, 0, 800)
    people = foreground_at(cut, picture, matte, 0, 800)
    rim = (share > 0.02) & (share < 0.98)
    behind = np.array([0.8, 0.4, 0.2])
    wanted = share[..., None] * np.array(BROWN) + (1 - share[..., None]) * behind
    shown = matte[..., None] * people + (1 - matte[..., None]) * behind
    naive = matte[..., None] * picture + (1 - matte[..., None]) * behind
    assert np.abs(shown - wanted)[rim].mean() < 0.02
    assert np.abs(naive - wanted)[rim].mean() > 0.04


def test_the_middle_of_people_and_of_the_background_are_left_as_they_are() -> None:
    picture, share = mixture(400)
    noisy = np.clip(picture + np.random.default_rng(3).normal(0, 0.02, picture.shape), 0, 1).astype(np.float32)
    cut = cut_out(reduced(picture, 100), cv2.resize(share, (100, 100), interpolation=cv2.INTER_AREA))
    matte = matte_at(cut, noisy, 0, 400)
    inside, outside = (cv2.erode((share == value).astype(np.uint8), np.ones((17, 17))) > 0 for value in (1, 0))
    assert (matte[inside] == 1).all()
    assert (matte[outside] == 0).all()
    np.testing.assert_allclose(foreground_at(cut, noisy, matte, 0, 400)[inside], noisy[inside], atol=1e-6)


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
