"""Quality: wrong maps and missing faces are noticed, and said in words."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deepflash.affine import apply, compose, inverse
from deepflash.align.batch import align_pair
from deepflash.align.quality import judge
from deepflash.align.registration import Registration, register
from deepflash.pairs import Face, Pair

from .sitters import face_of, pair_of

WIDTH = 390
SIZE = (WIDTH, WIDTH * 4 // 3)
REAL = Path(__file__).parents[3] / "shared" / "data" / "pairs" / "deepflash"


@pytest.fixture(scope="module")
def registered() -> tuple[Registration, Face, Face]:
    flash, studio, truth = pair_of("hopper", 1, WIDTH)
    face = face_of("hopper", WIDTH)
    landmarks = {name: [tuple(point) for point in apply(truth, points)] for name, points in face.landmarks.items()}
    return register(flash, studio, fixed_face=face, moving_face=None), face, Face(face.box, landmarks)


def test_a_good_registration_is_called_good(registered: tuple[Registration, Face, Face]) -> None:
    judgement = judge(*registered, SIZE)

    assert (judgement.verdict, judgement.reasons) == ("good", ())
    assert judgement.numbers["landmark_residual"] < 0.05
    assert judgement.numbers["agreement"] > judgement.numbers["agreement_before"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (np.array([[1.0, 0, 40], [0, 1, 0]]), "eyes"),
        (np.array([[1.5, 0, -90], [0, 1.5, -130]]), "size"),
        (np.array([[0.7, -0.7, 200], [0.7, 0.7, 0]]), "turns"),
        (np.array([[1.0, 0, 300], [0, 1, 0]]), "inside"),
    ],
)
def test_a_wrong_map_is_called_bad(registered: tuple[Registration, Face, Face], change: np.ndarray, word: str) -> None:
    registration, flash_face, studio_face = registered
    wrong = dataclasses.replace(registration, moving_from_fixed=compose(change, registration.moving_from_fixed))

    judgement = judge(wrong, flash_face, studio_face, SIZE)

    assert judgement.verdict == "bad"
    assert any(word in reason for reason in judgement.reasons)


def test_photographs_of_two_people_are_no_pair() -> None:
    flash, studio = pair_of("astronaut", 1, WIDTH)[0], pair_of("hopper", 1, WIDTH)[1]
    faces = face_of("astronaut", WIDTH), face_of("hopper", WIDTH)

    registration = register(flash, studio, fixed_face=faces[0], moving_face=faces[1])

    assert judge(registration, *faces, SIZE).verdict == "bad"


def test_the_way_back_is_measured_in_widths_of_the_face(registered: tuple[Registration, Face, Face]) -> None:
    registration, flash_face, studio_face = registered
    astray = compose(np.array([[1.0, 0, 3], [0, 1, -4]]), inverse(registration.moving_from_fixed))

    judgement = judge(dataclasses.replace(registration, fixed_from_moving=astray), flash_face, studio_face, SIZE)

    left, _, right, _ = flash_face.box
    assert judgement.numbers["backward_residual"] == pytest.approx(5 / (right - left), rel=1e-3)
    assert judgement.verdict == "check"
    assert any("forward and backward" in reason for reason in judgement.reasons)


def test_confidence_falls_as_the_map_goes_wrong(registered: tuple[Registration, Face, Face]) -> None:
    registration, *faces = registered

    def confidence(shift_px: float) -> float:
        change = np.array([[1.0, 0, shift_px], [0, 1, 0]])
        wrong = dataclasses.replace(registration, moving_from_fixed=compose(change, registration.moving_from_fixed))
        return judge(wrong, *faces, SIZE).numbers["confidence"]

    confidences = [confidence(shift_px) for shift_px in (0, 1, 3, 10)]

    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > 0.9
    assert confidences[-1] < 0.5


def test_a_mouth_that_opened_is_worth_a_look_although_the_map_is_right(registered: tuple[Registration, Face, Face]) -> None:
    registration, flash_face, studio_face = registered
    flash, studio, _ = pair_of("hopper", 1, WIDTH)
    assert judge(registration, flash_face, studio_face, SIZE, pictures=(flash, studio)).verdict == "good"
    _, top, _, bottom = flash_face.box
    mouth, opened_px = round(top + 0.72 * (bottom - top)), 14
    spoken = flash.copy()
    spoken[mouth + opened_px :] = flash[mouth:-opened_px]
    spoken[mouth : mouth + opened_px] = 30

    judgement = judge(registration, flash_face, studio_face, SIZE, pictures=(spoken, studio))

    assert judgement.verdict == "check"
    assert any("such as the mouth" in reason for reason in judgement.reasons)


def test_numbers_of_the_map_are_its_rotation_scale_and_shear(registered: tuple[Registration, Face, Face]) -> None:
    angle, scale, shear = np.radians(10), 1.1, 0.05
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = np.column_stack([scale * turn @ np.array([[1, shear], [0, 1]]), [0, 0]])

    numbers = judge(dataclasses.replace(registered[0], moving_from_fixed=affine), registered[1], None, SIZE).numbers

    assert numbers["rotation_deg"] == pytest.approx(10, abs=1e-3)
    assert numbers["scale_change"] == pytest.approx(0.1, abs=1e-3)
    assert numbers["shear"] == pytest.approx(scale * shear, abs=1e-3)


def test_no_face_at_all_is_bad_and_one_face_is_worth_a_look(registered: tuple[Registration, Face, Face]) -> None:
    registration, flash_face, studio_face = registered

    assert judge(registration, None, None, SIZE).verdict == "bad"
    one = judge(registration, None, studio_face, SIZE)
    assert one.verdict == "check"
    assert "flash" in one.reasons[0]
    assert "studio" in judge(registration, flash_face, None, SIZE).reasons[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
def test_a_real_pair_whose_head_turned_is_noticed_and_one_that_held_still_is_good() -> None:
    verdicts = {
        name: align_pair(Pair(name, name, REAL / f"{name}_flash.jpg", REAL / f"{name}_studio.jpg")).verdict
        for name in ("10", "18")
    }

    assert verdicts["18"] == "good"
    assert verdicts["10"] == "check"
