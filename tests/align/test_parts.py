"""A part of the face that moved by itself is told apart from a face that fits."""

import numpy as np
import pytest

from deepflash.align import frame
from deepflash.align.agreement import FaceEllipse
from deepflash.align.parts import compare_parts

from .sitters import face_of, pair_of

WIDTH = 520


def ellipse() -> FaceEllipse:
    left, top, right, bottom = (edge / WIDTH for edge in face_of("hopper", WIDTH).box)
    return (left + right) / 2, (top + bottom) / 2, (right - left) / 2, 0.58 * (bottom - top)


def test_a_registered_face_agrees_in_all_its_parts() -> None:
    flash, studio, truth = pair_of("hopper", 1, WIDTH)

    parts = compare_parts(flash, studio, frame.in_frame(truth, WIDTH), ellipse())

    assert parts.agreement > 0.6
    assert parts.shift == 0


@pytest.mark.parametrize("opened_px", [12, 20])
def test_an_open_mouth_is_told_by_how_far_the_chin_moved(opened_px: int) -> None:
    flash, studio, truth = pair_of("hopper", 1, WIDTH)
    left, top, right, bottom = face_of("hopper", WIDTH).box
    mouth = round(top + 0.72 * (bottom - top))
    spoken = flash.copy()
    spoken[mouth + opened_px :] = flash[mouth:-opened_px]
    spoken[mouth : mouth + opened_px] = 30  # the open mouth

    parts = compare_parts(spoken, studio, frame.in_frame(truth, WIDTH), ellipse())

    assert parts.agreement < 0.35
    assert parts.shift == pytest.approx(opened_px / (right - left), abs=0.02)


def test_another_place_of_the_picture_agrees_in_none() -> None:
    flash, studio, _ = pair_of("hopper", 1, WIDTH)

    assert compare_parts(flash, studio, np.array([[1, 0, 0.15], [0, 1, 0.1]]), ellipse()).agreement < 0.2


def test_a_face_at_the_edge_and_a_blank_picture_are_no_crash() -> None:
    flash, studio, _ = pair_of("hopper", 1, WIDTH)
    blank = np.full_like(flash, 128)

    assert compare_parts(blank, blank, np.eye(2, 3), ellipse()).agreement == pytest.approx(0, abs=1e-6)
    assert np.isfinite(compare_parts(flash, studio, np.eye(2, 3), (0.02, 0.03, 0.2, 0.25)).agreement)
    assert np.isfinite(compare_parts(flash, studio, np.eye(2, 3), (1.5, 0.5, 0.2, 0.25)).agreement), "outside the picture"
