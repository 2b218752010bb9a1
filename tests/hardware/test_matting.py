"""deepflash/hardware/emulator/matting.py: who is in front, and where they are skin."""

import cv2
import numpy as np
import pytest

from deepflash.hardware.emulator.matting import face_width, find_matte
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter


@pytest.mark.parametrize("subject", ["S001", "S002"])
def test_the_matte_holds_the_face_and_leaves_the_corners_to_the_backdrop(subject):
    sitter = load_sitter(SitterChoice(subject))
    for points in sitter.landmarks.values():
        for x, y in points.round().astype(int):
            assert sitter.matte[y, x] > 0.6  # the jaw is an edge
    assert sitter.matte[:150, :150].max() < 0.1
    assert sitter.matte[:150, -150:].max() < 0.1
    below_the_chin = round(sitter.landmarks["chin"][8, 1] + 0.7 * face_width(sitter.landmarks))
    assert sitter.matte[below_the_chin, round(sitter.landmarks["chin"][8, 0])] > 0.9


def test_skin_is_found_on_the_cheeks_and_not_on_suit_or_hair():
    sitter = load_sitter(SitterChoice("S001"))
    (x, y), width = sitter.landmarks["nose_bridge"][3], face_width(sitter.landmarks)
    assert sitter.skin[round(y), round(x - 0.22 * width)] > 0.7
    assert sitter.skin[round(y - 1.0 * width), round(x)] < 0.1
    assert sitter.skin[-200:, :200].max() < 0.2


def test_a_drawn_figure_is_found_to_its_edge():
    """A plain head and torso, whose outline is known exactly, before a plain wall."""
    portrait = np.full((400, 300, 3), (90, 120, 200), np.uint8)
    figure = np.zeros((400, 300), np.uint8)
    cv2.ellipse(figure, (150, 160), (52, 70), 0, 0, 360, 1, -1)
    cv2.fillPoly(figure, [np.array([(130, 200), (170, 200), (260, 290), (270, 400), (30, 400), (40, 290)])], 1)
    portrait[figure > 0] = (210, 160, 130)
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([150 + 50 * np.cos(angle), 165 + 62 * np.sin(angle)], axis=1)
    brows = {"left_eyebrow": np.array([(115.0, 140), (140, 138)]), "right_eyebrow": np.array([(160.0, 138), (185, 140)])}
    matte = find_matte(portrait, {"chin": jaw, **brows})
    wrong = (matte > 0.5) != (figure > 0)
    edge = cv2.dilate(figure, np.ones((9, 9), np.uint8)) - cv2.erode(figure, np.ones((9, 9), np.uint8))
    assert wrong.mean() < 0.02
    assert wrong[edge == 0].mean() < 0.002
    assert matte.min() >= 0
    assert matte.max() <= 1


def test_the_flags_beside_the_admiral_stay_backdrop():
    """White, gold and navy as her cap and collar are: known from her portrait, not from colour."""
    sitter = load_sitter(SitterChoice("S002"))
    x, y = (sitter.landmarks["chin"][2] - (0.3 * face_width(sitter.landmarks), 0)).round().astype(int)
    assert sitter.matte[y : y + 100, x - 80 : x].max() < 0.2
