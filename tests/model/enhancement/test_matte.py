"""The matte, against people drawn at known places, and on a real portrait."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from deepflash.faces import find_people
from deepflash.model.enhancement.matte import apply_lines, guided_lines, subject_matte
from deepflash.pictures import read_rgb
from tests.model.enhancement.people import draw_person, face_at

REAL = Path(__file__).parents[4] / "shared" / "data" / "pairs" / "deepflash"


def backdrop(kind: str, height: int = 320, width: int = 320) -> NDArray[np.uint8]:
    chance = np.random.default_rng(1)
    level = {"grey": 150, "dark": 10, "white": 235}[kind]
    return np.clip(chance.normal(level, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def overlap(matte: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    return float(((matte > 0.5) & truth).sum() / ((matte > 0.5) | truth).sum())


@pytest.mark.parametrize("kind", ["grey", "dark", "white"])
def test_a_person_before_a_plain_backdrop_is_found(kind: str) -> None:
    picture, face = backdrop(kind), face_at(160, 140, 100)
    truth = draw_person(picture, face)
    matte = subject_matte(picture, [face])
    assert matte.shape == (320, 320)
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert overlap(matte, truth) > 0.95


def test_dark_hair_in_the_dark_is_kept() -> None:
    picture, face = backdrop("dark"), face_at(160, 140, 100)
    before = picture.copy()
    truth = draw_person(picture, face, hair=(30, 26, 24))
    hair = truth & (picture[..., 0] == 30)
    assert before[hair].mean() > 5
    assert subject_matte(picture, [face])[hair].mean() > 0.9


def test_two_people_are_both_in_front_and_what_is_between_them_is_not() -> None:
    picture = backdrop("grey", 320, 560)
    faces = [face_at(120, 130, 80), face_at(440, 150, 80)]
    truth = draw_person(picture, faces[0]) | draw_person(picture, faces[1])
    matte = subject_matte(picture, faces)
    assert overlap(matte, truth) > 0.95
    assert matte[100, 280] == 0


def test_nobody_is_nowhere() -> None:
    assert not subject_matte(backdrop("grey"), []).any()


def test_every_run_and_any_number_of_threads_give_the_same_bits() -> None:
    picture, face = backdrop("dark"), face_at(150, 140, 90)
    draw_person(picture, face)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        first = subject_matte(picture, [face])
        cv2.setNumThreads(4)
        cv2.setRNGSeed(99)
        np.testing.assert_array_equal(subject_matte(picture, [face]), first)
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("shape", [(200, 320, 3), (40, 30, 3), (320, 200, 3)])
def test_where_nothing_can_be_told_apart_geometry_decides_and_the_face_is_whole(shape: tuple[int, int, int]) -> None:
    face = face_at(shape[1] / 2, shape[0] / 2, min(shape[:2]) / 3)
    matte = subject_matte(np.full(shape, 90, np.uint8), [face])
    left, top, right, bottom = (round(edge) for edge in face.box)
    inset = (right - left) // 4
    assert (matte[top + inset : bottom - inset, left + inset : right - inset] > 0.99).all()
    assert matte[0, 0] < 0.5
    assert matte[0, -1] < 0.5


@pytest.mark.parametrize("place", [(20, 10, 120), (50, 50, 500), (-90, 50, 40), (50, 160, 60)])
@pytest.mark.parametrize("side", [7, 100])
def test_a_face_that_reaches_beyond_the_picture_is_no_error(place: tuple[float, float, float], side: int) -> None:
    matte = subject_matte(backdrop("grey", side, side), [face_at(*place)])
    assert matte.shape == (side, side)
    assert np.isfinite(matte).all()


def test_a_real_portrait_before_a_busy_background() -> None:
    picture = skimage.data.astronaut()
    faces = find_people(picture)
    matte = subject_matte(picture, faces)
    left, top, right, bottom = (round(edge) for edge in faces[0].box)
    assert matte[top + 10 : bottom, left + 15 : right - 15].min() > 0.9
    assert matte[-60:, 150:300].min() > 0.9  # the suit
    assert matte[:60, :60].max() < 0.1
    assert matte[150:250, -40:].max() < 0.1  # the shuttle


def test_a_guided_filter_of_lines_is_the_values_where_the_guide_explains_them() -> None:
    guide = np.random.default_rng(2).random((40, 50, 3)).astype(np.float32)
    values = (0.2 * guide[..., 0] - 0.5 * guide[..., 1] + 0.7 * guide[..., 2] + 0.1).astype(np.float32)
    lines = guided_lines(guide, values, 3, 1e-7)
    np.testing.assert_allclose(apply_lines(lines, guide), values, atol=1e-3)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
def test_dark_curls_in_a_real_flash_photograph_are_not_eaten() -> None:
    picture = cv2.resize(read_rgb(REAL / "01_flash.jpg"), (640, 640), interpolation=cv2.INTER_AREA)
    matte = subject_matte(picture, find_people(picture)[:1])
    assert matte[60:200, 160:560].mean() > 0.95
    assert matte[:300, :80].max() < 0.1
