"""Figures: tiles keep their pictures, wrap evenly, and their labels fit and can be read."""

import numpy as np
import pytest

from deepflash.model.sheets import beside, sheet_of, tile
from deepflash.pictures import Picture


def plain(size: int, level: int) -> Picture:
    return np.full((size, size, 3), level, np.uint8)


@pytest.mark.parametrize(("size", "side"), [(64, 256), (512, 512)])
def test_a_tile_is_the_picture_below_its_label(size: int, side: int) -> None:
    made = tile(plain(size, 90), ["a system", "21.3 dB"])
    assert made.shape[1] == side
    assert (made[-side:] == 90).all()
    label = made[:-side]
    assert label.min() < 60
    assert 0.1 * side < len(label) < 0.3 * side
    letters = np.flatnonzero((label < 128).any(axis=(1, 2)))
    assert letters[-1] - letters[0] > 0.08 * side, "two lines of letters"


def test_a_long_label_stays_within_its_tile() -> None:
    label = tile(plain(512, 0), ["a-very-long-name-of-a-run-" * 4])[:-512]
    assert label[:, :4].min() == label[:, -4:].min() == 255


def test_tiles_wrap_row_by_row() -> None:
    sheet = beside([plain(8, level) for level in (10, 20, 30)], columns=2, gap_px=2)
    assert sheet.shape == (18, 18, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((0, 0), (0, 10), (10, 0), (10, 10), (0, 8))] == [10, 20, 30, 255, 255]


def test_groups_are_wrapped_evenly_below_their_titles() -> None:
    """Six tiles are three and three, not five and one."""
    groups = [[plain(100, level) for _ in range(6)] for level in (10, 20)]
    sheet = sheet_of(groups, ["one", "two"])
    assert sheet.shape[1] == 3 * 100 + 4 * 12
    levels = sheet[:, 60, 0]
    assert [int((levels == level).sum()) for level in (10, 20)] == [200, 200]
