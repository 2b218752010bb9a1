"""Measures agree with independent ones, and with what was done to a picture by construction."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import color

from deepflash.dataset.measures import (
    Measures,
    eyes_are_open,
    lab_of,
    measure,
    remarks_on,
    skin_angle,
    skin_group,
)
from tests.dataset.conftest import FACE_BOX, LANDMARKS

EYES = {"left_eye": [(176.0, 103.0)], "right_eye": [(220.2, 105.5)]}  # of the astronaut
INFO: dict[str, Any] = {"face_box": FACE_BOX, "landmarks": LANDMARKS, "valid_fraction": 1.0}


def shifted(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REPLICATE)


def test_lab_is_that_of_scikit_image() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5000, 3), dtype=np.uint8)
    np.testing.assert_allclose(lab_of(colours), color.rgb2lab(colours[None])[0], atol=0.01)


@pytest.mark.parametrize("skin", [(240, 208, 184), (198, 134, 102), (141, 85, 60), (70, 45, 35)])
@pytest.mark.parametrize("landmarks", [LANDMARKS, {}])
def test_skin_is_measured_on_the_cheeks_alone(skin: tuple[int, int, int], landmarks: dict[str, Any]) -> None:
    """A face of one colour, with dark eyes, bright teeth and a green wall: the angle is that of the colour, by scikit-image."""
    picture = np.full((520, 390, 3), (20, 200, 40), np.uint8)
    left, top, right, bottom = map(int, FACE_BOX)
    picture[top:bottom, left:right] = skin
    picture[top : top + 45, left:right] = 10
    picture[bottom - 30 : bottom, left:right] = 255
    lightness, _, yellow = color.rgb2lab(np.array([[skin]], np.uint8))[0, 0]
    wanted = np.degrees(np.arctan2(lightness - 50, yellow))
    assert skin_angle(picture, {"face_box": FACE_BOX, "landmarks": landmarks}) == pytest.approx(wanted, abs=0.05)


def test_without_a_face_there_is_no_skin(astronaut: np.ndarray) -> None:
    assert skin_angle(astronaut, {}) is None
    assert measure(astronaut, astronaut, {}).studio_ita_deg is None
    outside = {"face_box": (900, 900, 950, 950)}
    assert skin_angle(astronaut, outside) is None


def test_groups_of_skin_end_where_the_literature_says() -> None:
    """Del Bino and Bernerd 2013, table 1."""
    groups = [skin_group(angle) for angle in (56, 55, 42, 41, 29, 28, 11, 10, -29, -30)]
    assert groups == ["very light", "light", "light", *["intermediate"] * 2, "tan", "tan", "brown", "brown", "dark"]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, 0.0), (0.0, -4.0), (5.0, 3.0), (1.5, 0.5)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_motion_is_the_shift_whatever_the_light_and_the_size(
    astronaut: np.ndarray, shift: tuple[float, float], scale: float
) -> None:
    """One picture is darker, yellow, and lit from the left; a sample of half the size says the same."""
    fall = np.linspace(1.0, 0.4, astronaut.shape[1])[None, :, None] * np.array([0.9, 0.8, 0.5])
    flash = (astronaut * fall).astype(np.uint8)
    studio = shifted(astronaut, *shift)
    info = {"face_box": [scale * edge for edge in FACE_BOX]}
    pictures = [cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for picture in (flash, studio)]
    wanted = np.hypot(*shift) / (FACE_BOX[2] - FACE_BOX[0])
    assert measure(*pictures, info).motion == pytest.approx(wanted, abs=0.006)


def test_softer_pictures_have_less_sharpness(astronaut: np.ndarray) -> None:
    blurred = [cv2.GaussianBlur(astronaut, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0, 4.0)]
    found = [measure(picture, astronaut, INFO) for picture in (astronaut, *blurred)]
    sharpness = [entry.flash_sharpness for entry in found]
    assert sharpness == sorted(sharpness, reverse=True)
    assert found[0].flash_sharpness == found[0].studio_sharpness
    assert "the flash picture is soft" in remarks_on(found[-1])
    assert "the flash picture is soft" not in remarks_on(found[0])


def test_exposure_and_clipping_follow_the_light(astronaut: np.ndarray) -> None:
    bright = np.clip(astronaut * 3.0, 0, 255).astype(np.uint8)
    dark = (astronaut * 0.15).astype(np.uint8)
    found = measure(dark, bright, INFO)
    left, top, right, bottom = map(int, FACE_BOX)
    lightness = color.rgb2lab(dark[top:bottom, left:right])[..., 0]
    assert found.flash_lightness == pytest.approx(np.median(lightness), abs=0.05)
    assert found.studio_clipped == pytest.approx((bright[top:bottom, left:right] >= 254).any(axis=2).mean())
    assert found.flash_clipped == 0
    remarks = remarks_on(found)
    assert any("the flash picture is dark" in remark for remark in remarks)
    assert any("burnt out in the studio picture" in remark for remark in remarks)


def test_eyes_are_judged_by_what_is_known() -> None:
    def eye(height: float) -> list[tuple[float, float]]:
        return [(0, 0), (10, -height / 2), (20, -height / 2), (30, 0), (20, height / 2), (10, height / 2)]

    assert eyes_are_open({"landmarks": {"left_eye": eye(9), "right_eye": eye(9)}}) is True
    assert eyes_are_open({"landmarks": {"left_eye": eye(2), "right_eye": eye(3)}}) is False
    assert eyes_are_open({"landmarks": LANDMARKS}) is None
    assert eyes_are_open({}) is None
    assert eyes_are_open({"quality": {"eye_uprightness": -0.7}}) is True
    assert eyes_are_open({"quality": {"eye_uprightness": -1.6}}) is False


def test_eyes_that_are_painted_shut_are_seen_in_either_picture(astronaut: np.ndarray) -> None:
    """Skin is drawn over both eyes, and a line for the lashes."""
    shut = astronaut.copy()
    for name in ("left_eye", "right_eye"):
        x, y = np.mean(EYES[name], axis=0).round().astype(int)
        cv2.ellipse(shut, (int(x), int(y)), (17, 9), 0, 0, 360, tuple(map(int, astronaut[y + 22, x])), -1)
        cv2.ellipse(shut, (int(x), int(y) + 2), (13, 2), 0, 0, 180, (90, 60, 50), 2)
    assert measure(astronaut, astronaut, INFO, eyes=True).eyes_open is True
    assert measure(astronaut, shut, INFO, eyes=True).eyes_open is False
    assert measure(shut, astronaut, INFO, eyes=True).eyes_open is False
    flat = np.full_like(astronaut, 128)
    assert measure(flat, flat, INFO, eyes=True).eyes_open is None


def test_a_good_pair_has_no_remarks_and_each_fault_has_one() -> None:
    good = Measures(50.0, 60.0, 0.0, 0.0, 30.0, 30.0, 0.005, 0.1, 0.1, True, 1.0)
    assert remarks_on(good) == []
    assert remarks_on(replace(good, eyes_open=False)) == ["eyes look shut"]
    assert remarks_on(replace(good, motion=0.04)) == ["the face moved by 4.0% of its width"]
    assert remarks_on(replace(good, studio_lightness=95.0)) == ["the studio picture is bright (L* 95)"]
    assert remarks_on(replace(good, valid_fraction=0.8)) == ["the photographs cover 80% of it"]


def test_a_flat_picture_breaks_nothing() -> None:
    flat = np.full((40, 40, 3), 128, np.uint8)
    found = measure(flat, flat, {"face_box": (-5.0, -5.0, 60.0, 2.0)})
    assert (found.motion, found.flash_sharpness) == (0.0, 0.0)
