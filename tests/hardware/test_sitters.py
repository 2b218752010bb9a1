"""deepflash/hardware/emulator/sitters.py: who sits in the emulated studio."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from deepflash.errors import PictureError
from deepflash.faces import find_faces, subject_face
from deepflash.hardware.emulator.matting import face_width
from deepflash.hardware.emulator.sitters import CANVAS, FRAME, MARGIN, SitterChoice, load_sitter, to_linear
from deepflash.pictures import encode

PORTRAITS = Path(__file__).parents[3] / "shared" / "data" / "portraits"


@pytest.mark.parametrize("subject", ["S001", "S002", "S003", "S004"])
def test_a_sitter_fills_the_frame_as_in_a_selfie(subject):
    sitter = load_sitter(SitterChoice(subject))
    assert sitter.colour.shape == (CANVAS[1], CANVAS[0], 3)
    assert sitter.colour.dtype == sitter.matte.dtype == sitter.skin.dtype == sitter.backdrop.dtype == np.float32
    assert 0.3 < face_width(sitter.landmarks) / FRAME[0] < 0.6
    nose = sitter.landmarks["nose_tip"].mean(axis=0) - MARGIN
    assert 0.3 < nose[0] / FRAME[0] < 0.7
    assert 0.3 < nose[1] / FRAME[1] < 0.7


def test_the_first_two_subjects_are_the_portraits_as_they_are():
    """Between the brows the astronaut on the canvas has the colour that the portrait has there."""
    sitter = load_sitter(SitterChoice("S001"))
    portrait = np.asarray(data.astronaut())
    found = subject_face(find_faces(portrait, landmarks="large"), *portrait.shape[1::-1])

    def between_brows(linear, landmarks):
        x, y = np.mean([landmarks["left_eyebrow"][4], landmarks["right_eyebrow"][0]], axis=0).round().astype(int)
        reach = round(0.04 * np.hypot(*np.subtract(landmarks["chin"][16], landmarks["chin"][0])))
        return linear[y - reach : y + reach + 1, x - reach : x + reach + 1].mean(axis=(0, 1))

    expected = between_brows(to_linear(portrait), found.landmarks)
    np.testing.assert_allclose(between_brows(sitter.colour, sitter.landmarks), expected, rtol=0.05)


def test_subjects_of_one_portrait_differ_in_proportions_and_colours():
    original, *others = (load_sitter(SitterChoice(subject)) for subject in ("S001", "S003", "S005"))
    proportions, colours = [], []
    for sitter in (original, *others):
        eyes = np.hypot(*(sitter.landmarks["left_eye"].mean(axis=0) - sitter.landmarks["right_eye"].mean(axis=0)))
        height = sitter.landmarks["chin"][8, 1] - sitter.landmarks["nose_bridge"][0, 1]
        proportions.append(np.array([eyes, height]) / face_width(sitter.landmarks))
        colours.append([np.median(part, axis=(0, 1)) for part in (sitter.backdrop, sitter.colour[-300:])])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(proportions[one] / proportions[other] - 1).max() > 0.02
        assert np.abs(np.subtract(colours[one], colours[other])).max() > 0.05


def test_a_subject_is_the_same_person_in_every_process():
    """Python's own hash differs from process to process; a subject's looks must not."""
    here = load_sitter(SitterChoice("S003"))
    code = (
        "from deepflash.hardware.emulator.sitters import *; s = load_sitter(SitterChoice('S003'));"
        "print(s.seed, float(s.landmarks['chin'].sum()), float(s.colour.astype('f8').sum()))"
    )
    seed, chin, colour = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert int(seed) == here.seed
    assert float(chin) == here.landmarks["chin"].sum()
    assert float(colour) == here.colour.astype("f8").sum()


def test_a_folder_of_portraits_replaces_the_built_in_ones(tmp_path):
    astronaut = np.asarray(data.astronaut())
    (tmp_path / "a.jpg").write_bytes(encode(astronaut, ".jpg"))
    (tmp_path / "b.png").write_bytes(encode(np.ascontiguousarray(astronaut[:, ::-1]), ".png"))
    (tmp_path / "notes.txt").write_text("not a portrait")
    first, second, third = (load_sitter(SitterChoice(subject, tmp_path)) for subject in ("S001", "S002", "S003"))
    assert np.array_equal(first.colour, third.colour)  # two portraits: the third subject is the first again
    flipped = cv2.flip(second.colour, 1)
    x, y = first.landmarks["nose_tip"].mean(axis=0)
    x_flipped = CANVAS[0] - 1 - second.landmarks["nose_tip"].mean(axis=0)[0]
    reach = round(0.3 * face_width(first.landmarks))

    def around(picture, middle):
        return picture[round(y) - reach : round(y) + reach, round(middle) - reach : round(middle) + reach].mean(axis=(0, 1))

    np.testing.assert_allclose(around(flipped, x_flipped), around(first.colour, x), rtol=0.1)


def test_a_portrait_without_a_face_is_named(tmp_path):
    (tmp_path / "wall.png").write_bytes(encode(np.full((300, 300, 3), 128, np.uint8), ".png"))
    with pytest.raises(PictureError, match=r"wall\.png shows no face"):
        load_sitter(SitterChoice("S001", tmp_path))


def test_a_folder_without_portraits_is_named(tmp_path):
    with pytest.raises(PictureError, match=f"{tmp_path.name} holds no portraits"):
        load_sitter(SitterChoice("S001", tmp_path))


def test_a_truncated_portrait_is_named(tmp_path):
    whole = encode(np.asarray(data.astronaut()), ".png")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 50])
    with pytest.raises(PictureError, match=r"half\.png"):
        load_sitter(SitterChoice("S001", tmp_path))


def test_a_choice_can_be_sent_to_another_process_as_json():
    choice = SitterChoice("S007", "portraits")
    assert SitterChoice(**json.loads(json.dumps(asdict(choice)))) == choice


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="the shared portraits are not on this machine")
@pytest.mark.parametrize("subject", ["S001", "S006", "S016"])
def test_real_portraits_can_be_seated(subject):
    sitter = load_sitter(SitterChoice(subject, PORTRAITS))
    chin = sitter.landmarks["chin"][8].round().astype(int)
    assert sitter.matte[chin[1], chin[0]] > 0.9
    assert 0.15 < sitter.matte.mean() < 0.75
