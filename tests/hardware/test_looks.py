"""deepflash/hardware/emulator/looks.py: what makes another subject of the same portrait."""

import numpy as np
import pytest

from deepflash.hardware.emulator.looks import Looks, coloured, displacement, draw_looks, moved, repainted
from deepflash.hardware.emulator.matting import face_width
from deepflash.hardware.emulator.sitters import Sitter, SitterChoice, load_sitter


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return load_sitter(SitterChoice("S001"))


def test_no_looks_change_nothing(sitter):
    points = np.array([[100.0, 200], [500, 600]])
    assert np.array_equal(moved(points, sitter.landmarks, Looks()), points)
    np.testing.assert_allclose(coloured(sitter.colour, sitter.skin, sitter.landmarks, Looks()), sitter.colour, atol=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_points_move_to_where_the_picture_shows_them(sitter, seed):
    """`displacement` says where the picture comes from, `moved` where a point goes: one undoes the other."""
    looks = draw_looks(seed)
    points = np.concatenate(list(sitter.landmarks.values()))
    seen = moved(points, sitter.landmarks, looks)
    np.testing.assert_allclose(seen + displacement(seen, sitter.landmarks, looks), points, atol=0.01)
    assert np.abs(seen - points).max() > 0.01 * face_width(sitter.landmarks)


@pytest.mark.parametrize("seed", range(8))
def test_proportions_change_smoothly_and_never_fold(sitter, seed):
    looks = draw_looks(seed)
    x, y = np.meshgrid(np.arange(0, 1168, 8.0), np.arange(0, 1515, 8.0))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    source = (points + displacement(points, sitter.landmarks, looks)).reshape(*x.shape, 2)
    across, down = np.diff(source, axis=1)[:-1] / 8, np.diff(source, axis=0)[:, :-1] / 8
    area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    assert area.min() > 0.4
    assert area.max() < 1.8


def test_darker_skin_leaves_eyes_and_clothes_alone(sitter):
    darker = coloured(sitter.colour, sitter.skin, sitter.landmarks, Looks(skin_dark=0.8))
    ratio = darker.mean(axis=2) / sitter.colour.mean(axis=2).clip(1e-3)
    assert np.median(ratio[sitter.skin > 0.9]) < 0.6
    np.testing.assert_allclose(ratio[-100:, :200], 1, atol=0.02)
    x, y = sitter.landmarks["left_eye"].mean(axis=0).round().astype(int)
    assert ratio[y, x] > 0.8


def test_a_repainted_backdrop_has_the_paint_s_colour():
    paint = (0.1, 0.4, 0.2)
    repaint = repainted(np.full((20, 30, 3), 0.5, np.float32), paint)
    np.testing.assert_allclose(repaint.reshape(-1, 3), np.tile(np.float32(paint), (600, 1)), rtol=1e-5)
