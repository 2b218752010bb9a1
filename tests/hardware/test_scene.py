"""deepflash/hardware/emulator/scene.py: what the camera sees, and the truth about what moved."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest

from deepflash.hardware.emulator.scene import Scene, true_moving_from_fixed
from deepflash.hardware.emulator.sitters import FRAME, MARGIN, Sitter, SitterChoice, load_sitter

SIZE = (390, 520)


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return load_sitter(SitterChoice("S001"))


@pytest.fixture(scope="module")
def scene(sitter) -> Scene:
    return Scene(sitter, SIZE, seed=5)


@pytest.fixture(scope="module")
def tiny(sitter) -> Scene:
    """The same motion and blinks, where the picture does not matter."""
    return Scene(sitter, (39, 52), seed=5)


def face_of(sitter: Sitter, size=SIZE) -> tuple[slice, slice]:
    """Rows and columns of the face in the neutral frame."""
    chin = (sitter.landmarks["chin"] - MARGIN) * size[0] / FRAME[0]
    top = (sitter.landmarks["left_eyebrow"].min(axis=0)[1] - MARGIN) * size[0] / FRAME[0]
    return slice(round(top), round(chin[:, 1].max())), slice(round(chin[:, 0].min()), round(chin[:, 0].max()))


def shift_between(one, other) -> float:
    """Residual displacement of two patches in pixels, by the phase of their spectra."""
    gray = [cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float64) for patch in (one, other)]
    window = cv2.createHanningWindow(gray[0].shape[::-1], cv2.CV_64F)
    return float(np.hypot(*cv2.phaseCorrelate(*gray, window)[0]))


def open_eyed_shots(tiny: Scene, count: int) -> list[int]:
    return [shot for shot in range(4 * count) if not tiny.render(shot, 0.0, False)[1]["blink"]][:count]


def test_a_picture_has_the_size_asked_for_in_any_proportion(sitter):
    for size in (SIZE, (300, 300), (520, 390)):
        picture, truth = Scene(sitter, size, seed=0).render(0, 1.0, False)
        assert picture.shape == (size[1], size[0], 3)
        assert picture.dtype == np.uint8
        assert truth["size"] == list(size)


def test_the_same_seed_and_shot_give_the_same_picture(sitter, scene):
    picture, truth = scene.render(3, 0.1, True)
    again, truth_again = Scene(sitter, SIZE, seed=5).render(3, 0.1, True)
    other, _ = Scene(sitter, SIZE, seed=6).render(3, 0.1, True)
    assert np.array_equal(picture, again)
    assert truth == truth_again
    assert not np.array_equal(picture, other)


def test_shots_do_not_depend_on_what_was_photographed_before(sitter):
    fresh = Scene(sitter, SIZE, seed=5).render(4, 0.0, True)[0]
    used = Scene(sitter, SIZE, seed=5)
    for shot in range(4):
        used.render(shot, 1.0, False)
    assert np.array_equal(used.render(4, 0.0, True)[0], fresh)


def test_the_truth_takes_one_shot_of_the_head_to_another(sitter, scene, tiny):
    """The studio shot, warped by the truth, lies on another studio shot to a small part of a pixel."""
    first, *others = open_eyed_shots(tiny, 6)
    fixed, truth_fixed = scene.render(first, 1.0, False)
    face = face_of(sitter)
    before = []
    for shot in others:
        moving, truth_moving = scene.render(shot, 1.0, False)
        moving_from_fixed = true_moving_from_fixed(truth_moving, truth_fixed)
        warped = cv2.warpAffine(moving, moving_from_fixed, SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        before.append(shift_between(moving[face], fixed[face]))
        assert shift_between(warped[face], fixed[face]) < 0.15
    assert max(before) > 1  # there was motion to undo


def test_the_truth_holds_between_flash_and_studio_shots(sitter, scene, tiny):
    """Edges, which both lights show alike, lie on each other after the warp; eyes are left out for the pupils' sake."""
    studio_shot, flash_shot = open_eyed_shots(tiny, 2)
    studio, truth_studio = scene.render(studio_shot, 1.0, False)
    flash, truth_flash = scene.render(flash_shot, 0.0, True)
    moving_from_fixed = true_moving_from_fixed(truth_studio, truth_flash)
    warped = cv2.warpAffine(studio, moving_from_fixed, SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    rows, columns = face_of(sitter)
    mouth = slice((rows.start + rows.stop) // 2, rows.stop), columns
    assert shift_between(warped[mouth], flash[mouth]) < 0.5


def test_the_truth_scales_with_the_size_of_the_picture(sitter):
    """A shot at twice the size, reduced, is the shot: the pixel-centre convention holds at every size."""
    small, truth = Scene(sitter, SIZE, seed=5).render(2, 1.0, False)
    large, truth_large = Scene(sitter, (2 * SIZE[0], 2 * SIZE[1]), seed=5).render(2, 1.0, False)
    reduced = cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA)
    face = face_of(sitter)
    assert shift_between(small[face], reduced[face]) < 0.12
    matrix, matrix_large = np.array(truth["picture_from_head"]), np.array(truth_large["picture_from_head"])
    np.testing.assert_allclose(matrix[:, :2], matrix_large[:, :2])
    centre, centre_large = (np.array(SIZE) - 1) / 2, np.array(SIZE) - 0.5
    moved = matrix @ [*centre, 1]
    moved_large = matrix_large @ [*centre_large, 1]
    np.testing.assert_allclose((moved + 0.5) * 2, moved_large + 0.5)


def test_a_picture_larger_than_the_portrait_has_detail_that_moves_with_the_head(sitter, tiny):
    size = (1560, 2080)
    scene = Scene(sitter, size, seed=5)
    first, second = open_eyed_shots(tiny, 2)
    pictures, truths = zip(*(scene.render(shot, 1.0, False) for shot in (first, second)), strict=True)
    warped = cv2.warpAffine(
        pictures[1], true_moving_from_fixed(truths[1], truths[0]), size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    rows, columns = face_of(sitter, size)
    middle = slice(rows.start + 200, rows.stop - 200), slice(columns.start + 150, columns.stop - 150)
    fine = [
        patch[middle].astype(np.float32) - cv2.GaussianBlur(patch[middle].astype(np.float32), (0, 0), 2)
        for patch in (pictures[0], warped)
    ]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.4
    assert shift_between(pictures[0][middle], warped[middle]) < 0.3


def test_head_and_hand_move_little_between_two_shots_and_never_far(tiny):
    truths = [tiny.render(shot, 0.0, False)[1] for shot in range(40)]
    middle = np.array([*(np.array((39, 52)) - 1) / 2, 1])
    for one, other in pairwise(truths):
        between = true_moving_from_fixed(one, other)
        assert np.hypot(*(between @ middle - middle[:2])) < 0.025 * 39
        scale = np.sqrt(np.linalg.det(between[:, :2]))
        assert 0.985 <= scale <= 1.015
        assert abs(np.degrees(np.arctan2(between[1, 0], between[0, 0]))) < 2
    places = [np.array(truth["picture_from_head"]) @ middle - middle[:2] for truth in truths]
    assert np.abs(places).max() < 0.05 * 39
    assert np.std(places) > 0.002 * 39


def test_the_backdrop_moves_with_the_camera_alone(scene):
    truth = scene.render(1, 0.0, False)[1]
    assert truth["picture_from_head"] != truth["picture_from_backdrop"]
    turn = np.array(truth["picture_from_backdrop"])[:, :2]
    np.testing.assert_allclose(turn @ turn.T, np.linalg.det(turn) * np.eye(2), atol=1e-12)  # no shear in a hand


def test_truth_is_json(scene):
    truth = scene.render(0, 0.25, True)[1]
    assert json.loads(json.dumps(truth)) == truth
    assert truth["lamp_light"] == 0.25
    assert truth["flash"] is True


def test_without_any_light_the_picture_is_nearly_black_but_noisy(scene):
    picture, _ = scene.render(0, 0.0, False)
    assert picture.mean() < 5
    assert picture.std() > 0


def test_the_flash_lights_the_face_and_leaves_the_backdrop_dark(sitter, scene):
    flash, _ = scene.render(0, 0.0, True)
    studio, _ = scene.render(1, 1.0, False)
    corner = slice(20, 60), slice(5, 40)
    face = face_of(sitter)
    assert np.median(flash[face]) > 2 * np.median(flash[corner])
    assert np.median(flash[corner]) < 0.8 * np.median(studio[corner])
    assert flash.max() == 255  # some of it is clipped


def test_lamps_that_have_not_gone_out_show_in_the_flash_picture(sitter, scene):
    """Lamp light adds in linear light: the more of it, the brighter the backdrop and the warmer the face."""
    pictures = [scene.render(0, light, True)[0].astype(np.float64) for light in (0.0, 0.1, 0.5)]
    face, corner = face_of(sitter), (slice(20, 60), slice(5, 40))
    corners = [picture[corner].mean() for picture in pictures]
    assert corners[0] + 2 < corners[1] < corners[2] - 2
    warmth = [np.median(picture[face][..., 0]) / np.median(picture[face][..., 2]) for picture in pictures]
    assert warmth[0] < warmth[2]


def test_the_flash_picture_is_noisier(scene):
    def noise(flash: bool) -> float:
        picture = scene.render(0, 0.0 if flash else 1.0, flash)[0][20:60, 5:40].astype(np.float64)
        return float(np.std(picture - cv2.GaussianBlur(picture, (0, 0), 2)))

    assert noise(True) > 1.3 * noise(False)


def test_now_and_then_the_sitter_blinks_and_never_twice_running(tiny):
    blinks = [tiny.render(shot, 0.0, False)[1]["blink"] for shot in range(150)]
    assert 4 <= sum(blinks) <= 25
    assert not any(one and other for one, other in pairwise(blinks))


def test_a_blink_changes_the_eyes_and_nothing_else(sitter, scene, tiny):
    blinking = next(shot for shot in range(60) if tiny.render(shot, 0.0, False)[1]["blink"])
    blink, truth_blink = scene.render(blinking, 1.0, False)
    before, truth_before = scene.render(blinking - 1, 1.0, False)
    warped = cv2.warpAffine(
        before, true_moving_from_fixed(truth_before, truth_blink), SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    change = np.abs(cv2.GaussianBlur(warped, (0, 0), 1.5).astype(int) - cv2.GaussianBlur(blink, (0, 0), 1.5)).max(axis=2)
    at = {
        name: np.array(truth_blink["picture_from_head"]) @ [*((points.mean(axis=0) - MARGIN) * SIZE[0] / FRAME[0]), 1]
        for name, points in sitter.landmarks.items()
    }
    around = {name: change[round(y) - 4 : round(y) + 5, round(x) - 6 : round(x) + 7].max() for name, (x, y) in at.items()}
    assert min(around["left_eye"], around["right_eye"]) > 40
    assert max(around["nose_tip"], around["top_lip"]) < 20


def test_different_subjects_are_different_pictures():
    pictures = [
        Scene(load_sitter(SitterChoice(subject)), (195, 260), seed=0).render(0, 1.0, False)[0].astype(np.float64)
        for subject in ("S001", "S002", "S003", "S004")
    ]
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert np.abs(one - other).mean() > 8
