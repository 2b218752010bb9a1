"""Before and after in one picture."""

import numpy as np
import pytest

from deepflash.model.enhancement.comparison import comparison
from deepflash.photos import Photo

BEFORE, AFTER = (Photo(np.full((300, 400, 3), value, np.uint8)) for value in (60, 160))


def test_side_by_side_shows_both_whole_with_a_word_in_each() -> None:
    shown = comparison(BEFORE, AFTER, "side")
    assert shown.shape[0] == 300
    assert 800 < shown.shape[1] < 820
    assert (shown[:200, :400] == 60).all()
    assert (shown[:200, -400:] == 160).all()
    for half, level in ((shown[250:, :400], 60), (shown[250:, -400:], 160)):
        assert (half != level).any()  # the word


def test_split_shows_the_left_half_of_one_and_the_right_half_of_the_other() -> None:
    shown = comparison(BEFORE, AFTER, "split")
    assert shown.shape == (300, 400, 3)
    assert (shown[:200, :190] == 60).all()
    assert (shown[:200, 210:] == 160).all()


def test_large_deep_and_transparent_photographs_are_brought_to_a_screen() -> None:
    deep = np.full((4000, 3000, 3), 60 * 257, np.uint16)
    alpha = np.full((4000, 3000), 65535, np.uint16)
    alpha[:, :1000] = 0
    shown = comparison(Photo(deep, alpha), Photo(deep), "side")
    assert shown.dtype == np.uint8
    assert shown.shape[0] == 2048
    assert (shown[100, 100] == 255).all()
    assert (shown[100, 1400] == 60).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_the_smallest_photographs_can_be_compared(size: tuple[int, int]) -> None:
    tiny = Photo(np.zeros((*size, 3), np.uint8))
    assert comparison(tiny, tiny, "split").shape == (*size, 3)
    assert comparison(tiny, tiny, "side").shape[0] == size[0]
