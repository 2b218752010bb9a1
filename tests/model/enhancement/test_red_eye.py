"""Red eyes, on drawn eyes and on pupils drawn into a real portrait."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from matplotlib import cbook
from numpy.typing import NDArray

from deepflash.faces import find_people
from deepflash.model.enhancement.red_eye import correct_red_eyes
from deepflash.pairs import Face
from deepflash.pictures import read_rgb

REAL = Path(__file__).parents[4] / "shared" / "data" / "pairs" / "deepflash"
FACE = Face(
    (60, 40, 340, 320),
    {"left_eye": [(90, 140), (170, 140)], "right_eye": [(310, 140), (230, 140)], "nose_tip": [(200, 230)]},
)
MIDDLES = [(130, 134), (270, 134)]
SKIN, WHITE, BROWN, BLUE = (200, 150, 120), (220, 215, 210), (90, 50, 25), (110, 140, 170)


def eyes(
    iris: tuple[int, int, int], pupils: list[tuple[int, int, int]], radius: int = 9, *, light: bool = True
) -> NDArray[np.uint8]:
    """Draw a face with two eyes, 80 px wide each."""
    picture = np.full((360, 400, 3), SKIN, np.uint8)
    for (x, y), pupil in zip(MIDDLES, pupils, strict=True):
        cv2.ellipse(picture, (x, 140), (38, 17), 0, 0, 360, WHITE, -1)
        cv2.circle(picture, (x, y), 16, iris, -1)
        cv2.circle(picture, (x, y), radius, pupil, -1)
        if light:
            cv2.circle(picture, (x + 2, y - 2), 2, (255, 255, 255), -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)


BLACK = (15, 12, 12)


@pytest.mark.parametrize("iris", [BROWN, BLUE, (80, 90, 60)])
@pytest.mark.parametrize("red", [(220, 40, 50), (150, 20, 45), (240, 120, 60)])
@pytest.mark.parametrize("radius", [7, 12])
def test_red_pupils_become_dark_and_grey(iris: tuple[int, int, int], red: tuple[int, int, int], radius: int) -> None:
    corrected = correct_red_eyes(eyes(iris, [red, red], radius), [FACE])
    for x, y in MIDDLES:
        pupil = corrected[y + 3, x - 3].astype(int)
        assert pupil.max() - pupil.min() < 12
        assert pupil.max() < 100


def test_only_pupils_change_and_the_catch_light_stays() -> None:
    picture = eyes(BLUE, [(220, 40, 50)] * 2)
    corrected = correct_red_eyes(picture, [FACE])
    rows, columns = np.mgrid[:360, :400]
    near = np.any([np.hypot(columns - x, rows - y) < 13 for x, y in MIDDLES], axis=0)
    np.testing.assert_array_equal(corrected[~near], picture[~near])
    for x, y in MIDDLES:
        assert corrected[y - 2, x + 2].min() > 0.85 * picture[y - 2, x + 2].min()


@pytest.mark.parametrize("iris", [BROWN, BLUE, (120, 60, 30)])
@pytest.mark.parametrize("warm", [1.0, 0.6])
def test_eyes_that_are_not_red_are_given_back_as_they_were(iris: tuple[int, int, int], warm: float) -> None:
    picture = np.rint(eyes(iris, [BLACK, BLACK]) * np.array([1, warm, warm**2])).astype(np.uint8)
    assert correct_red_eyes(picture, [FACE]) is picture


def test_red_lids_lips_and_spectacles_are_left_alone() -> None:
    picture = eyes(BROWN, [BLACK, BLACK])
    for x, _ in MIDDLES:
        cv2.ellipse(picture, (x, 140), (40, 19), 0, 0, 360, (200, 70, 70), 3)  # lids
        cv2.rectangle(picture, (x - 55, 105), (x + 55, 180), (190, 20, 20), 7)  # a frame
    cv2.ellipse(picture, (200, 280), (50, 15), 0, 0, 360, (200, 30, 50), -1)
    assert correct_red_eyes(picture, [FACE]) is picture


def test_one_red_eye_is_corrected_alone() -> None:
    picture = eyes(BLUE, [(220, 40, 50), BLACK])
    corrected = correct_red_eyes(picture, [FACE])
    np.testing.assert_array_equal(corrected[:, 200:], picture[:, 200:])
    assert (corrected[:, :200] != picture[:, :200]).any()


def test_sixteen_bits_are_treated_as_eight() -> None:
    picture = eyes(BROWN, [(220, 40, 50)] * 2)
    deep = correct_red_eyes(picture.astype(np.uint16) * 257, [FACE])
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 257, correct_red_eyes(picture, [FACE]), atol=0.51)


@pytest.mark.parametrize("moved", [(-200.0, 0.0), (250.0, 200.0), (-1000.0, 0.0), (0.0, -160.0)])
def test_eyes_at_and_beyond_the_edge_are_no_error(moved: tuple[float, float]) -> None:
    points: dict[str, Any] = {name: [(x + moved[0], y + moved[1]) for x, y in group] for name, group in FACE.landmarks.items()}
    picture = eyes(BROWN, [(220, 40, 50)] * 2)
    assert correct_red_eyes(picture, [Face(FACE.box, points)]).shape == picture.shape


@pytest.mark.parametrize("name", ["astronaut", "grace_hopper"])
def test_real_eyes_that_are_not_red_are_left_alone(name: str) -> None:
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    picture = skimage.data.astronaut() if name == "astronaut" else read_rgb(Path(str(path)))
    assert correct_red_eyes(picture, find_people(picture)) is picture


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
@pytest.mark.parametrize("number", ["05", "12"])
def test_real_red_eyes_are_found_in_the_flash_photograph_alone(number: str) -> None:
    flash, studio = (read_rgb(REAL / f"{number}_{light}.jpg") for light in ("flash", "studio"))
    faces = find_people(flash)[:1]
    changed = (correct_red_eyes(flash, faces) != flash).any(axis=2)
    for eye in ("left_eye", "right_eye"):
        (left, right), y = sorted(x for x, _ in faces[0].landmarks[eye]), faces[0].landmarks[eye][0][1]
        assert changed[round(y) - 100 : round(y) + 60, round(left) : round(right)].any()
    assert changed.sum() < 20_000
    assert correct_red_eyes(studio, find_people(studio)) is studio
