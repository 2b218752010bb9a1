"""Faces, by `face_recognition` (dlib): the only module that imports them.

Importing `face_recognition` has two traps, both sprung and defused here: without `pkg_resources` it
calls `quit()`, ending the process with exit code 0; and it switches off Pillow's check for truncated
files for the whole process.
"""

import functools
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, apply, compose, inverse
from deepflash.errors import FaceError
from deepflash.pairs import Face
from deepflash.pictures import Picture

DETECTION_SIDE_PX = 1024
"""Faces are searched on a copy with this longer side: 60 ms a copy, faces from 60 px found."""

PEOPLE_SIDE_PX = 2048
"""The same for groups of people, where faces are smaller."""

LandmarkModel = Literal["small", "large"]

_SURE, _LIKELY = 0.0, -0.6  # of the detector's score: anywhere, where the other photograph shows a face
_NEAR_PX = 160  # an expected face's width on the copy that is searched around it
_LARGER = 2.5  # the copy for small faces, of the usual one
_TILTS_DEG = (-25.0, 25.0)  # the detector itself knows heads tilted by 20 to 30 degrees


def find_faces(picture: Picture, *, landmarks: LandmarkModel = "small") -> list[Face]:
    """Find the faces in a picture, the largest first.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.
    landmarks
        `small`: 5 points (both corners of each eye, the tip of the nose), free for any use;
        `large`: 68 points. Their model was trained on iBUG 300-W, which is not for commercial products.

    Returns
    -------
    list of Face
        Boxes and points in pixels of `picture`; empty if there is no face.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    recognition = _face_recognition()
    scale = min(1.0, DETECTION_SIDE_PX / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    small = np.ascontiguousarray(small)
    boxes = recognition.face_locations(small)
    points = recognition.face_landmarks(small, boxes, model=landmarks)
    faces = [
        _full_size(box, groups, picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0])
        for box, groups in zip(boxes, points, strict=True)
    ]
    return sorted(faces, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))


def find_subject(picture: Picture) -> list[Face]:
    """Find the faces in a portrait; where none is seen at once, look brighter, closer, and with the head tilted.

    Four times as fast as `find_faces` where a face fills 8 % of the picture's longer side.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.

    Returns
    -------
    list of Face
        What the first of these steps found, with 5 landmarks, the largest first: on a grey copy of `DETECTION_SIDE_PX`,
        with its contrast equalised, enlarged (faces from 32 px of 1024), and tilted by 25 degrees either way.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    gray = _gray(picture)
    scale = DETECTION_SIDE_PX / max(gray.shape)
    for attempt, picture_from_attempt in _attempts(gray, scale, larger=_LARGER * scale):
        found = _detected(attempt, _SURE, picture_from_attempt)
        if found:
            return sorted(found, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))
    return []


def find_people(picture: Picture) -> list[Face]:
    """Find all faces in anybody's photograph, also small ones; where none is seen, look as `find_subject` does.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`; best with a longer side of `PEOPLE_SIDE_PX`, to which it is brought, in 0.2 s.

    Returns
    -------
    list of Face
        With 5 landmarks, in pixels of `picture`, the largest first; faces from 4 % of the longer side.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    gray = _gray(picture)
    copy, copy_from_picture = _scaled(gray, PEOPLE_SIDE_PX / max(gray.shape))
    found = _detected(copy, _SURE, inverse(copy_from_picture))
    return sorted(found, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1])) or find_subject(picture)


def find_near(picture: Picture, expected: Face) -> Face | None:
    """Find a face about where one is expected, since the other photograph of the pair shows it there.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.
    expected
        In pixels of `picture`.

    Returns
    -------
    Face or None
        The nearest face that `may_be_one` with the expected one, with 5 landmarks.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    left, top, right, bottom = expected.box
    margin = right - left
    x, y = max(0, round(left - margin)), max(0, round(top - margin))
    part = picture[y : max(0, round(bottom + margin)), x : max(0, round(right + margin))]
    if min(part.shape[:2]) < 2:
        return None
    picture_from_part = np.array([[1.0, 0, x], [0, 1, y]])
    for attempt, part_from_attempt in _attempts(_gray(part), _NEAR_PX / margin):
        found = _detected(attempt, _LIKELY, compose(picture_from_part, part_from_attempt))
        near = [face for face in found if may_be_one(face, expected)]
        if near:
            return min(near, key=lambda face: _apart(face, expected))
    return None


def may_be_one(face: Face, other: Face) -> bool:
    """Return whether faces in the two photographs of a pair are near and alike enough in size to be one person's.

    Their middles lie within 0.6 widths, and the widths within a factor of 1.6.
    """
    width, other_width = (one.box[2] - one.box[0] for one in (face, other))
    return _apart(face, other) < 0.6 * max(width, other_width) and max(width, other_width) < 1.6 * min(width, other_width)


def map_face(face: Face, affine: Affine) -> Face:
    """Move a face: its landmarks, and the upright box around its moved corners.

    If the map mirrors, `left_...` and `right_...` landmarks exchange names: they stay left and right as seen.
    """
    left, top, right, bottom = face.box
    corners = apply(affine, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
    mirrors = float(np.linalg.det(affine[:, :2])) < 0
    landmarks = {
        _exchanged(name) if mirrors else name: [(float(x), float(y)) for x, y in apply(affine, np.array(points))]
        for name, points in face.landmarks.items()
        if points
    }
    (new_left, new_top), (new_right, new_bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face((new_left, new_top, new_right, new_bottom), landmarks)


def subject_face(faces: list[Face], width: int, height: int) -> Face | None:
    """Return the face of the person photographed: the largest near the middle; None if there is none.

    A face's area counts less the farther its centre lies from the picture's centre, so that a large
    face at the edge (a passer-by) loses against a smaller one in the middle.
    """

    def weight(face: Face) -> float:
        left, top, right, bottom = face.box
        from_centre = np.hypot((left + right) / width - 1, (top + bottom) / height - 1)  # 1 at the edges
        return float((right - left) * (bottom - top) * np.exp(-(from_centre**2)))

    return max(faces, key=weight, default=None)


def face_embedding(picture: Picture, face: Face) -> NDArray[np.float64]:
    """Describe a face by 128 numbers that are near to each other for photographs of one person.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.
    face
        Where the face is, in pixels of `picture`; best 100 to 200 px wide.

    Returns
    -------
    (128,) float64
        The Euclidean distance of two is about 0.3 to 0.5 for one person, 0.6 to 1.0 for two.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    left, top, right, bottom = (round(edge) for edge in face.box)
    encodings = _face_recognition().face_encodings(
        np.ascontiguousarray(picture), known_face_locations=[(top, right, bottom, left)], model="small"
    )
    return np.asarray(encodings[0], dtype=np.float64)


def require_faces() -> None:
    """Raise the `FaceError` that any use of `face_recognition` would raise on this machine, if it would."""
    _face_recognition()


def _full_size(
    box: tuple[int, int, int, int], groups: dict[str, list[tuple[int, int]]], scale_x: float, scale_y: float
) -> Face:
    def point(x: float, y: float) -> tuple[float, float]:  # pixel centres: half a pixel is not at zero
        return (x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5

    top, right, bottom, left = box
    landmarks = {name: [point(x, y) for x, y in points] for name, points in groups.items()}
    return Face((*point(left, top), *point(right, bottom)), landmarks)


def _attempts(gray: Picture, scale: float, larger: float | None = None) -> Iterator[tuple[Picture, Affine]]:
    """Yield scaled copies of a grey picture in which a face may show, and the maps from their pixels to the picture's."""
    copy, copy_from_picture = _scaled(gray, scale)
    picture_from_copy = inverse(copy_from_picture)
    yield copy, picture_from_copy
    equalised = _equalised(copy)
    yield equalised, picture_from_copy
    if larger:
        enlarged, enlarged_from_picture = _scaled(gray, larger)
        yield enlarged, inverse(enlarged_from_picture)
    height, width = copy.shape
    for angle_deg in _TILTS_DEG:
        tilt = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0), np.float64)
        tilted = cv2.warpAffine(equalised, tilt, (width, height), borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(tilted, np.uint8), compose(picture_from_copy, inverse(tilt))


def _detected(gray: Picture, least_score: float, picture_from_gray: Affine) -> list[Face]:
    detector, predictor = _detector_and_predictor()
    boxes, _scores, _ = detector.run(gray, 0, least_score)
    return [map_face(_with_landmarks(box, predictor(gray, box)), picture_from_gray) for box in boxes]


def _with_landmarks(box: Any, shape: Any) -> Face:
    points = [(float(shape.part(number).x), float(shape.part(number).y)) for number in range(5)]
    landmarks = {"left_eye": points[2:4], "right_eye": points[0:2], "nose_tip": points[4:]}  # as face_recognition has them
    return Face((box.left(), box.top(), box.right(), box.bottom()), landmarks)


def _apart(face: Face, other: Face) -> float:
    middles = [np.array([one.box[0] + one.box[2], one.box[1] + one.box[3]]) / 2 for one in (face, other)]
    return float(np.linalg.norm(middles[0] - middles[1]))


def _equalised(gray: Picture) -> Picture:
    """Return a picture with equal contrast everywhere, its noise smoothed before that is amplified."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    return np.asarray(cv2.createCLAHE(3.0, (4, 4)).apply(smooth), np.uint8)


def _gray(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _scaled(picture: Picture, factor: float) -> tuple[Picture, Affine]:
    """Return a copy, and the map from the picture's pixels to the copy's."""
    height, width = picture.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    copy = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    across, down = size[0] / width, size[1] / height  # not quite `factor`, as pixels are whole
    return np.ascontiguousarray(copy, np.uint8), np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])


def _exchanged(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    return "left_" + name.removeprefix("right_") if name.startswith("right_") else name


@functools.cache
def _detector_and_predictor() -> tuple[Any, Any]:
    """Load face_recognition's own detector and 5-point model without the rest of it, which takes 115 MB in every worker.

    The rest is the 68-point model, whose terms `align` would otherwise have to mind, and two networks.
    """
    models = importlib.util.find_spec("face_recognition_models")
    try:
        import dlib
    except ImportError:
        models = None
    if models is None or not models.submodule_search_locations:
        raise FaceError("face_recognition is not installed; see README, 'Installation'")
    folder = Path(models.submodule_search_locations[0]) / "models"
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))


@functools.cache
def _face_recognition() -> ModuleType:
    if importlib.util.find_spec("pkg_resources") is None:
        raise FaceError("face_recognition needs pkg_resources; install it with: pip install 'setuptools<81'")
    from PIL import ImageFile

    truncated_check = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources announces its own end
            import face_recognition
    except (ImportError, SystemExit) as error:
        raise FaceError("face_recognition is not installed; see README, 'Installation'") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated_check
    module: ModuleType = face_recognition
    return module
