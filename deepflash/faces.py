"""Faces, by `face_recognition` (dlib): the only module that imports it.

Importing `face_recognition` has two traps, both sprung and defused here: without `pkg_resources` it
calls `quit()`, ending the process with exit code 0; and it switches off Pillow's check for truncated
files for the whole process.
"""

import functools
import importlib.util
import warnings
from types import ModuleType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.errors import FaceError
from deepflash.pairs import Face
from deepflash.pictures import Picture

DETECTION_SIDE_PX = 1024
"""Faces are searched on a copy with this longer side: 60 ms a copy, faces from 60 px found."""

LandmarkModel = Literal["small", "large"]


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
