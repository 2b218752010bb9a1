"""Drawn people, whose matte and pupils are known by construction."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.pairs import Face

SKIN, HAIR, SHIRT = (205, 160, 130), (45, 35, 30), (70, 90, 150)


def face_at(x: float, y: float, width: float) -> Face:
    """Return the frontal face that a detector would report for a head whose face has its middle at (x, y)."""
    half = width / 2
    eyes = {
        "left_eye": [(x - 0.29 * width, y - 0.2 * width), (x - 0.12 * width, y - 0.2 * width)],
        "right_eye": [(x + 0.29 * width, y - 0.2 * width), (x + 0.12 * width, y - 0.2 * width)],
    }
    return Face((x - half, y - half, x + half, y + half), {**eyes, "nose_tip": [(x, y + 0.12 * width)]})


def draw_person(picture: NDArray[np.uint8], face: Face, hair: tuple[int, int, int] = HAIR) -> NDArray[np.bool_]:
    """Draw head, hair, neck and shoulders, in place, and return where they are."""
    width = face.box[2] - face.box[0]
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    where = np.zeros(picture.shape[:2], np.uint8)

    def ellipse(below: float, half_width: float, half_height: float, colour: tuple[int, int, int]) -> None:
        middle, axes = (round(x), round(y + below * width)), (round(half_width * width), round(half_height * width))
        for canvas, value in ((picture, colour), (where, 1)):
            cv2.ellipse(canvas, middle, axes, 0, 0, 360, value, -1, cv2.LINE_8)

    ellipse(1.75, 1.35, 0.95, SHIRT)
    ellipse(0.6, 0.28, 0.5, SKIN)
    ellipse(-0.2, 0.6, 0.75, hair)
    ellipse(0.05, 0.46, 0.6, SKIN)
    return where > 0
