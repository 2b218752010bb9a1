"""deepflash/hardware/emulator/head.py: the shape of the head and the place of the pupils."""

import numpy as np
import pytest

from deepflash.hardware.emulator.head import find_pupils, head_depth
from deepflash.hardware.emulator.matting import face_width
from deepflash.hardware.emulator.sitters import Sitter, SitterChoice, load_sitter


@pytest.fixture(scope="module", params=["S001", "S002"])
def sitter(request) -> Sitter:
    return load_sitter(SitterChoice(request.param))


def test_the_nose_stands_out_before_the_cheeks_and_the_cheeks_before_the_ears(sitter):
    depth = head_depth(sitter)
    width = face_width(sitter.landmarks)
    tip = sitter.landmarks["nose_tip"][2] - (0, 0.03 * width)

    def depth_at(point):
        x, y = (np.asarray(point) / 4).round().astype(int)
        return depth[y, x] / (width / 4)

    cheek = tip - (0.25 * width, 0)
    ear = sitter.landmarks["chin"][1]
    assert depth_at(tip) > depth_at(cheek) + 0.05
    assert depth_at(cheek) > depth_at(ear) + 0.1
    assert depth[:20, :20].max() == pytest.approx(0, abs=0.02 * width)


def test_pupils_lie_within_the_eyes(sitter):
    for (centre, iris), name in zip(find_pupils(sitter), ("left_eye", "right_eye"), strict=True):
        opening = sitter.landmarks[name]
        assert opening[:, 0].min() < centre[0] < opening[:, 0].max()
        assert opening[:, 1].min() - iris < centre[1] < opening[:, 1].max() + iris


def test_pupils_are_darker_than_the_whites_beside_them(sitter):
    for (centre, iris), name in zip(find_pupils(sitter), ("left_eye", "right_eye"), strict=True):
        x, y = centre.round().astype(int)
        reach = max(1, round(0.5 * iris))
        pupil = sitter.colour[y - reach : y + reach + 1, x - reach : x + reach + 1].mean()
        xs, ys = sitter.landmarks[name].mean(axis=0).round().astype(int)
        wide = round(2.2 * iris)
        assert pupil < 0.7 * sitter.colour[ys - reach : ys + reach + 1, xs - wide : xs + wide + 1].mean()
