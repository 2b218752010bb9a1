"""The network sees faces at the size that it was trained on, and what it says of them joins without seams."""

import numpy as np
import pytest

from deepflash.model.enhancement.regions import SIDE_IN_BOXES, Frame, frames_of, window
from deepflash.pairs import Face


def face(x: float, y: float, side: float) -> Face:
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2))


def test_a_small_face_gets_a_square_of_the_trained_share() -> None:
    [frame] = frames_of([face(1500, 1000, 300)], 4000, 3000)
    assert frame.width == frame.height == round(SIDE_IN_BOXES * 300)
    assert (frame.left + frame.right) / 2 == pytest.approx(1500, abs=1)
    assert 0.4 < (1000 - frame.top) / frame.height < 0.5


def test_a_face_that_the_whole_photograph_shows_at_a_trained_size_needs_none() -> None:
    assert frames_of([face(500, 500, 400)], 1000, 1000) == []
    assert frames_of([face(500, 500, 990)], 1000, 1300) == []


@pytest.mark.parametrize(("x", "y"), [(10, 10), (3990, 20), (5, 2990), (3995, 2999), (-60, 1500)])
def test_squares_never_reach_beyond_the_photograph(x: float, y: float) -> None:
    [frame] = frames_of([face(x, y, 200)], 4000, 3000)
    assert (frame.width, frame.height) == (460, 460)
    assert frame.left >= 0
    assert frame.top >= 0
    assert frame.right <= 4000
    assert frame.bottom <= 3000


def test_weights_fall_to_nothing_inside_and_stay_at_the_photographs_own_edges() -> None:
    columns, rows = window(Frame(0, 300, 600, 900), 4000, 900)
    assert columns[0] == rows[-1] == 1  # the photograph's left and lower edge
    assert columns[-1] == pytest.approx(0, abs=1e-3)
    assert rows[0] == pytest.approx(0, abs=1e-3)
    assert np.abs(np.diff(columns)).max() < 0.02  # no step
    assert (columns[:450] == 1).all()
