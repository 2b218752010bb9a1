"""Faces are found where they are, in pixels of the picture given, and face_recognition's traps stay shut."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import get_data_path
from skimage import data

from deepflash.errors import FaceError
from deepflash.faces import (
    _detector_and_predictor,
    _face_recognition,
    face_embedding,
    find_faces,
    find_near,
    find_people,
    find_subject,
    map_face,
    may_be_one,
    subject_face,
)
from deepflash.pairs import Face
from deepflash.pictures import Picture, read_rgb

# The astronaut's face as a person sees it in the 512 x 512 picture: eyes and nose within a few pixels
EYES = {"left": (202.0, 98.0), "right": (244.0, 98.0)}
NOSE = (224.0, 122.0)


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return np.asarray(data.astronaut(), dtype=np.uint8)


def test_the_astronauts_face_is_found_with_box_and_five_points(astronaut: Picture) -> None:
    face = find_faces(astronaut)[0]  # the detector takes the badge on her suit for a second, smaller one
    left, top, right, bottom = face.box
    assert left < NOSE[0] < right
    assert top < NOSE[1] < bottom
    assert 60 < right - left < 140
    points = np.concatenate([np.array(group) for group in face.landmarks.values()])
    assert len(points) == 5
    eyes = points[points[:, 1].argsort()][:4]
    np.testing.assert_allclose(eyes.mean(axis=0), (223, 98), atol=12)


def test_the_large_model_names_the_parts_of_the_face(astronaut: Picture) -> None:
    face = find_faces(astronaut, landmarks="large")[0]
    assert {"left_eye", "right_eye", "nose_tip", "chin", "top_lip"} <= set(face.landmarks)
    np.testing.assert_allclose(np.mean(face.landmarks["left_eye"], axis=0), EYES["left"], atol=10)
    np.testing.assert_allclose(np.mean(face.landmarks["right_eye"], axis=0), EYES["right"], atol=10)


def test_coordinates_are_those_of_the_picture_given_however_large_it_is(astronaut: Picture) -> None:
    """Four times as large is four times as far from the origin's corner, to the detector's own step."""
    large = np.asarray(cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    small_nose, large_nose = (np.array(find_faces(picture)[0].landmarks["nose_tip"][0]) for picture in (astronaut, large))
    np.testing.assert_allclose((large_nose + 0.5) / 4 - 0.5, small_nose, atol=3)


def test_the_subject_of_the_astronauts_portrait_is_her_face_and_not_the_badge(astronaut: Picture) -> None:
    face = subject_face(find_faces(astronaut), 512, 512)
    assert face is not None
    np.testing.assert_allclose(face.landmarks["nose_tip"][0], NOSE, atol=15)


def test_no_face_is_an_empty_list() -> None:
    assert find_faces(np.full((200, 300, 3), 128, np.uint8)) == []


def test_the_subject_is_the_large_face_near_the_middle_and_not_a_larger_one_at_the_edge() -> None:
    middle, passer_by, small = Face((400, 400, 600, 600)), Face((0, 0, 240, 240)), Face((480, 480, 520, 520))
    assert subject_face([passer_by, small, middle], 1000, 1000) is middle
    assert subject_face([], 1000, 1000) is None


def tilted(picture: Picture, angle_deg: float) -> tuple[Picture, np.ndarray]:
    turn = np.asarray(cv2.getRotationMatrix2D(NOSE, angle_deg, 1.0))
    return np.asarray(cv2.warpAffine(picture, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8), turn


def in_the_dark(picture: Picture) -> Picture:
    """Leave a thirtieth of the light, and a camera's noise."""
    light = (picture / 255.0) ** 2.2 * 0.03 + np.random.default_rng(0).normal(0, 0.002, picture.shape)
    return np.asarray(np.clip(light, 0, 1) ** (1 / 2.2) * 255, np.uint8)


def small_in_a_large_picture(picture: Picture) -> tuple[Picture, np.ndarray]:
    large = np.full((1536, 1152, 3), 110, np.uint8)
    large[700:956, 400:656] = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    return large, np.array([[0.5, 0, 399.75], [0, 0.5, 699.75]])


@pytest.mark.parametrize("harm", ["none", "dark", "grey haze", "tilted", "small"])
def test_a_subject_is_found_whatever_the_photograph_is_like(astronaut: Picture, harm: str) -> None:
    picture, moved = {
        "none": lambda: (astronaut, np.eye(2, 3)),
        "dark": lambda: (in_the_dark(astronaut), np.eye(2, 3)),
        "grey haze": lambda: (np.asarray(120 + 0.06 * astronaut, np.uint8), np.eye(2, 3)),
        "tilted": lambda: tilted(astronaut, 40),
        "small": lambda: small_in_a_large_picture(astronaut),
    }[harm]()

    face = subject_face(find_subject(picture), *picture.shape[1::-1])

    assert face is not None
    scale = np.sqrt(np.linalg.det(moved[:, :2]))
    nose, eyes = (moved @ [*point, 1] for point in (NOSE, np.mean(list(EYES.values()), axis=0)))
    found_eyes = np.mean([*face.landmarks["left_eye"], *face.landmarks["right_eye"]], axis=0)
    np.testing.assert_allclose(face.landmarks["nose_tip"][0], nose, atol=15 * scale)
    np.testing.assert_allclose(found_eyes, eyes, atol=12 * scale)


def test_nobody_is_nobody_however_hard_one_looks() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 240, 3), dtype=np.uint8)

    assert find_subject(noise) == []
    assert find_near(noise, Face((80, 80, 160, 160))) is None
    assert find_near(noise, Face((300, 400, 380, 480))) is None, "outside the picture"


def test_where_the_other_photograph_shows_a_face_a_dim_one_is_found_too(astronaut: Picture) -> None:
    light = (astronaut / 255.0) ** 2.2 * 0.0006 + np.random.default_rng(0).normal(0, 0.00005, astronaut.shape)
    dim = np.asarray(np.clip(light, 0, 1) ** (1 / 2.2) * 255, np.uint8)
    face = find_subject(astronaut)[0]

    found = find_near(dim, map_face(face, np.array([[1.0, 0, 15], [0, 1, -10]])))

    assert found is not None
    np.testing.assert_allclose(found.box, face.box, atol=20)


def test_faces_may_be_one_if_they_are_near_and_alike_in_size() -> None:
    face = Face((100, 100, 200, 200))
    assert may_be_one(face, Face((140, 120, 230, 210)))
    assert not may_be_one(face, Face((180, 100, 280, 200))), "too far"
    assert not may_be_one(face, Face((125, 125, 175, 175))), "too small"


def test_a_face_is_mapped_with_its_landmarks_and_the_box_around_its_corners() -> None:
    face = Face((10, 20, 30, 40), {"left_eye": [(12.0, 25.0)], "right_eye": [(28.0, 25.0)], "nose_tip": [(20.0, 30.0)]})
    quarter_turn = np.array([[0.0, -1, 100], [1, 0, 0]])
    mirror = np.array([[-1.0, 0, 99], [0, 1, 0]])

    turned, mirrored = map_face(face, quarter_turn), map_face(face, mirror)

    assert turned.box == (60, 10, 80, 30)
    assert turned.landmarks["nose_tip"] == [(70, 20)]
    assert mirrored.landmarks["right_eye"] == [(87, 25)], "left and right stay left and right as seen"


def test_pillow_still_refuses_truncated_files_afterwards() -> None:
    program = (
        "import numpy as np; from PIL import ImageFile; from deepflash.faces import find_faces; "
        "find_faces(np.zeros((64, 64, 3), np.uint8)); import sys; "
        "assert 'face_recognition' in sys.modules; print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_without_pkg_resources_it_says_so_instead_of_ending_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pkg_resources" else found(name))
    _face_recognition.cache_clear()
    with pytest.raises(FaceError, match=r"needs pkg_resources; install it with: pip install 'setuptools<81'"):
        find_faces(np.zeros((64, 64, 3), np.uint8))


def test_without_its_models_a_subject_cannot_be_found_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "face_recognition_models" else found(name))
    _detector_and_predictor.cache_clear()
    with pytest.raises(FaceError, match="face_recognition is not installed; see README, 'Installation'"):
        find_subject(np.zeros((64, 64, 3), np.uint8))


def test_without_face_recognition_it_says_so(tmp_path: Path) -> None:
    """Also where importing it calls `quit()`, as it does without its models."""
    for content in ("raise ImportError('no dlib')", "quit()"):
        (tmp_path / "face_recognition.py").write_text(content)
        program = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy as np\n"
            "from deepflash.errors import FaceError; from deepflash.faces import find_faces\n"
            "try: find_faces(np.zeros((64, 64, 3), np.uint8))\n"
            "except FaceError as error: print(error)"
        )
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert printed.strip() == "face_recognition is not installed; see README, 'Installation'"


def test_embeddings_of_one_face_are_near_and_those_of_two_people_far(astronaut: Picture) -> None:
    """The astronaut again, darker and smaller, against Grace Hopper."""
    hopper = read_rgb(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")
    darker = np.asarray(cv2.resize(astronaut, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA) * 0.7, dtype=np.uint8)
    first, again, other = (face_embedding(p, find_faces(p)[0]) for p in (astronaut, darker, hopper))
    assert first.shape == (128,)
    assert np.linalg.norm(first - again) < 0.35
    assert np.linalg.norm(first - other) > 0.6


def test_everybody_in_a_group_is_found_also_small() -> None:
    """Two astronauts side by side whose faces are 5 % of the longer side, where they were put."""
    astronaut = cv2.resize(data.astronaut(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    picture = np.full((1000, 1600, 3), 90, np.uint8)
    places = [(100, 300), (900, 350)]
    for left, top in places:
        picture[top : top + 256, left : left + 256] = astronaut
    middles = sorted(((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in find_people(picture))
    assert np.allclose(middles, [(left + 112, top + 57) for left, top in places], atol=12)


def test_where_a_group_is_not_seen_a_portrait_is_sought() -> None:
    dark = (data.astronaut() * 0.06).astype(np.uint8)
    assert [face.box for face in find_people(dark)] == [face.box for face in find_subject(dark)]
    assert find_people(np.full((300, 400, 3), 128, np.uint8)) == []
