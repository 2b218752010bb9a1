"""The iris and its highlights on drawn eyes, whose truth is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepflash.model.catchlights import find_iris, transfer_catchlights
from deepflash.model.correspondence import Correspondence
from deepflash.pairs import Face
from deepflash.pictures import Picture

SKIN, SCLERA, IRIS = (190, 140, 120), (225, 220, 215), (70, 50, 40)
EYES = {"left_eye": (180.0, 100.0), "right_eye": (80.0, 100.0)}
WIDTH, RADIUS = 60.0, 12.0
_FINE = 16  # drawn at sixteenths of a pixel


def drawn(glint: tuple[float, float] | None, *, look: float = 0.0, glint_radius: float = 3.0) -> Picture:
    """Draw two eyes that look aside by `look`, their glint off the iris's middle, in pixels."""
    picture = np.full((200, 260, 3), SKIN, np.uint8)
    for x, y in EYES.values():
        eye = picture.copy()
        cv2.circle(eye, *_fine(x + look, y, RADIUS), IRIS, -1, cv2.LINE_AA, shift=4)
        if glint:
            cv2.circle(eye, *_fine(x + look + glint[0], y + glint[1], glint_radius), (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        down, across = np.mgrid[:200, :260] - np.array([y, x])[:, None, None]
        open_here = np.abs(down) < 15 * (1 - (2 * across / WIDTH) ** 2)
        white = np.where((eye == SKIN).all(axis=2, keepdims=True), np.array(SCLERA, np.uint8), eye)
        picture = np.where(open_here[..., None], white, picture)
    return np.ascontiguousarray(picture)


def _fine(x: float, y: float, radius: float) -> tuple[tuple[int, int], int]:
    return (round(x * _FINE), round(y * _FINE)), round(radius * _FINE)


def face() -> Face:
    eyes = {name: [(x - WIDTH / 2, y), (x + WIDTH / 2, y)] for name, (x, y) in EYES.items()}
    return Face((40, 40, 220, 220), {**eyes, "nose_tip": [(130.0, 150.0)]})


@pytest.fixture
def lying() -> Correspondence:
    y, x = np.mgrid[:200, :260].astype(np.float32)
    return Correspondence(np.stack([x, y], axis=2), 1.0, face(), face(), 180.0)


@pytest.mark.parametrize("look", [-8.0, 0.0, 5.5])
def test_an_iris_is_found_where_it_was_drawn(look: float) -> None:
    for name, (x, y) in EYES.items():
        iris = find_iris(drawn((2, -3), look=look), face(), name)
        assert iris is not None
        np.testing.assert_allclose((iris.x, iris.y), (x + look, y), atol=2)
        assert iris.radius == pytest.approx(RADIUS, rel=0.15)


def test_the_flashs_glint_goes_and_the_examples_comes(lying: Correspondence) -> None:
    flash, example = drawn((0, 0)), drawn((5, -4))

    result = transfer_catchlights(flash, flash, example, lying)

    for x, y in ((round(x), round(y)) for x, y in EYES.values()):
        np.testing.assert_allclose(result[y, x], IRIS, atol=12, err_msg="the glint in the middle is painted over")
        assert result[y - 4, x + 5].min() > 200, "the example's glint is in its place"
    assert (result[160:] == flash[160:]).all()


def test_its_own_highlights_change_nothing(lying: Correspondence) -> None:
    flash = drawn((3, -3))
    assert (transfer_catchlights(flash, flash, flash, lying) == flash).all()


def test_an_example_without_glint_leaves_none(lying: Correspondence) -> None:
    flash = drawn((2, -2))
    result = transfer_catchlights(flash, flash, drawn(None), lying)
    assert result[88:112, 70:90].max(axis=2)[8:16, 8:16].max() < 110


def test_reflecting_lenses_are_left_alone(lying: Correspondence) -> None:
    glaring = drawn((0, 0), glint_radius=9)
    assert (transfer_catchlights(glaring, glaring, drawn((5, -4)), lying) == glaring).all()


def test_without_faces_nothing_is_done(lying: Correspondence) -> None:
    flash = drawn((0, 0))
    result = transfer_catchlights(flash, flash, drawn((5, -4)), replace(lying, face=None))
    assert (result == flash).all()
    assert result is not flash


def test_where_there_is_no_iris_none_is_found() -> None:
    plain = np.full((200, 260, 3), SKIN, np.uint8)
    tiny = Face((0, 0, 30, 30), {"left_eye": [(10, 10), (20, 10)]})
    assert find_iris(plain, face(), "left_eye") is None
    assert find_iris(drawn(None), tiny, "left_eye") is None
    assert find_iris(drawn(None), Face((0, 0, 30, 30)), "left_eye") is None
