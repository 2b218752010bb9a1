"""The same person's face is found in both photographs, and taken to the three pictures of the paper."""

import numpy as np
import pytest

from deepflash.affine import apply
from deepflash.align.subjects import Faces, find_pair_faces, locate
from deepflash.faces import map_face, may_be_one
from deepflash.pairs import Face
from deepflash.pictures import Picture

from .sitters import face_of, motion, moved, portrait

CROWD = (1000, 600)


def crowd(people: dict[str, tuple[int, int, int]]) -> Picture:
    """Return a picture with heads at (left, top, width)."""
    picture = np.full((CROWD[1], CROWD[0], 3), 120, np.uint8)
    for name, (left, top, width) in people.items():
        head = portrait(name, width)
        picture[top : top + head.shape[0], left : left + width] = head
    return picture


def nose(name: str, left: int, top: int, width: int) -> tuple[float, float]:
    x, y = face_of(name, width).landmarks["nose_tip"][0]
    return left + x, top + y


def test_the_subject_is_the_same_person_in_both_photographs() -> None:
    """In the flash photograph the other person is nearer to the camera, and would be the subject there."""
    studio_places = {"hopper": (330, 80, 330), "astronaut": (700, 120, 240)}
    flash_places = {"hopper": (340, 100, 270), "astronaut": (640, 60, 340)}

    faces = find_pair_faces(crowd(flash_places), crowd(studio_places))

    assert faces.flash is not None
    assert faces.studio is not None
    np.testing.assert_allclose(faces.studio.landmarks["nose_tip"][0], nose("hopper", *studio_places["hopper"]), atol=20)
    np.testing.assert_allclose(faces.flash.landmarks["nose_tip"][0], nose("hopper", *flash_places["hopper"]), atol=20)


@pytest.mark.parametrize("hidden", ["flash", "studio"])
def test_a_face_in_one_photograph_only_leads_and_nobody_else_is_taken_for_it(hidden: str) -> None:
    pictures = {"flash": crowd({"hopper": (330, 80, 330)}), "studio": crowd({"hopper": (340, 85, 330)})}
    pictures[hidden] = np.full_like(pictures[hidden], 90)

    faces = find_pair_faces(**pictures)

    assert getattr(faces, hidden) is None
    assert getattr(faces, "studio" if hidden == "flash" else "flash") is not None


def test_one_face_in_each_photograph_is_one_person_who_may_have_moved_far() -> None:
    faces = find_pair_faces(crowd({"hopper": (40, 80, 330)}), crowd({"hopper": (600, 80, 330)}))

    assert faces.flash is not None
    assert faces.studio is not None


def test_without_any_face_there_is_none_and_no_crash() -> None:
    wall = np.full((400, 300, 3), 140, np.uint8)

    assert find_pair_faces(wall, wall) == Faces(None, None)
    located = locate(Faces(None, None), np.eye(2, 3))
    assert (located.flash, located.studio, located.registered) == (None, None, None)


def test_a_face_is_taken_through_the_map_to_where_it_was_not_found() -> None:
    """Where it is found in both, M' shows the studio photograph's face, in pixels of the flash photograph."""
    truth = motion(3, 390, 520)
    flash_face, (left, top, right, bottom) = face_of("hopper", 390), (150.0, 160.0, 250.0, 260.0)
    studio_face = Face((left, top, right, bottom), {"nose_tip": [(200.0, 220.0)]})

    both = locate(Faces(flash_face, studio_face), truth)
    studio_only, flash_only = locate(Faces(None, studio_face), truth), locate(Faces(flash_face, None), truth)

    assert (both.flash, both.studio) == (flash_face, studio_face)
    assert both.registered is not None
    assert studio_only.flash == both.registered
    np.testing.assert_allclose(apply(truth, both.registered.landmarks["nose_tip"]), [(200, 220)], atol=1e-9)
    assert flash_only.studio is not None
    assert flash_only.registered == flash_face
    np.testing.assert_allclose(
        flash_only.studio.landmarks["nose_tip"], apply(truth, flash_face.landmarks["nose_tip"]), atol=1e-9
    )


def test_a_flash_photograph_in_the_dark_shows_the_face_that_the_studio_photograph_shows() -> None:
    truth, studio = motion(1, 390, 520), portrait("hopper", 390)
    light = (moved(studio, truth) / 255.0) ** 2.2 * 0.004 + np.random.default_rng(0).normal(0, 0.0003, studio.shape)
    flash = np.asarray(light.clip(0, 1) ** (1 / 2.2) * 255, np.uint8)

    faces = find_pair_faces(flash, studio)

    assert faces.flash is not None
    assert may_be_one(faces.flash, map_face(face_of("hopper", 390), truth))
