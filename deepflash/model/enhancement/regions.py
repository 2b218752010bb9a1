"""Which squares of a photograph the network looks at, and how what it says of them is joined.

The network knows faces of one size: in its samples a face's box is 1 / 1.7 to 1 / 2.6 of the square's side (the emulated
studio 1 / 2.4, the real DeepFlash pairs 1 / 1.6 to 1 / 2.3, measured on the un-rotated wide samples; the face frames of half
of the variants 1 / 1.5). Where a face is smaller than that in the photograph as a whole, a square around it is cut out as
the data set's builder cuts its own: it never reaches beyond the photograph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepflash.pairs import Face

SIDE_IN_BOXES = 2.3
"""Side of the square around a face, in sides of its box."""

_LARGEST_IN_BOXES = 2.6  # a photograph whose shorter side is no more than this shows the face at a trained size itself
_FACE_FROM_TOP = 0.45  # the box's middle in the square: there is more body below than hair above
_FADE = 1 / 6  # of the side: a head is 1.5 boxes wide and lies within


@dataclass(frozen=True)
class Frame:
    """A part of a photograph, in whole pixels: `pixels[top:bottom, left:right]`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def frames_of(faces: Sequence[Face], width: int, height: int) -> list[Frame]:
    """Return squares around those faces that are smaller in the photograph than the network knows them.

    Parameters
    ----------
    faces
        In pixels of the photograph.
    width, height
        Of the photograph.
    """
    boxes = [(face, max(face.box[2] - face.box[0], face.box[3] - face.box[1])) for face in faces]
    return [_square(face, box, width, height) for face, box in boxes if _LARGEST_IN_BOXES * box < min(width, height)]


def window(frame: Frame, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights of a frame's columns and rows, whose product weighs its pixels.

    They are 1 in the middle and fall smoothly towards those of its edges that are not the photograph's own.
    """
    across = _fading(frame.width, frame.left > 0, frame.right < width)
    return across, _fading(frame.height, frame.top > 0, frame.bottom < height)


def _square(face: Face, box: float, width: int, height: int) -> Frame:
    side = max(2, min(round(SIDE_IN_BOXES * box), width, height))
    left = (face.box[0] + face.box[2]) / 2 - side / 2
    top = (face.box[1] + face.box[3]) / 2 - _FACE_FROM_TOP * side
    left, top = (round(min(max(start, 0), size - side)) for start, size in ((left, width), (top, height)))
    return Frame(left, top, left + side, top + side)


def _fading(length: int, at_start: bool, at_end: bool) -> NDArray[np.float32]:
    from_start = (np.arange(length) + 0.5) / (_FADE * length)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.minimum(from_start, 1))
    weights = np.ones(length)
    if at_start:
        weights *= ramp
    if at_end:
        weights *= ramp[::-1]
    return weights.astype(np.float32)
