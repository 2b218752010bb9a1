"""Parts of the face compared one by one: a map may fit the brows while the mouth has opened or the nose has turned away.

Tiles of the registration that find nothing near drop out silently; here each part is asked, and has to answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from deepflash.affine import Affine
from deepflash.align import frame, light
from deepflash.align.agreement import FaceEllipse
from deepflash.align.frame import Level, Plane
from deepflash.pictures import Picture

_WIDTH_PX = 780
_SIGMA_PX = 2.0
_MARGIN = 1.3  # of the face's half axes, around it
_BANDS = ((-1.0, -0.33), (-0.33, 0.25), (0.25, 1.0))  # eyes, nose, mouth: of the face's half height from its middle
_BLOCKS = [(0.0, -0.75), *((u, v) for v in (-0.25, 0.25, 0.6) for u in (-0.45, 0.0, 0.45))]  # middles, of the half axes
_BLOCK = (0.16, 0.12)  # half sides of a block, in widths of the face
_REACH = 0.16  # in widths of the face: how far a block is looked for
_ALIKE, _BETTER = 0.5, 0.1  # a block has moved if it correlates as much elsewhere, and by so much more than here


@dataclass(frozen=True)
class Parts:
    """What parts of the face say of a map.

    Attributes
    ----------
    agreement
        Correlation of gradients in the one of three bands (eyes, nose, mouth) that agrees least, -1 to 1.
    shift
        Farthest that one of ten blocks has clearly moved beside the map, in widths of the face; 0 if none has.
    """

    agreement: float
    shift: float


def compare_parts(flash: Picture, studio: Picture, moving_from_fixed: Affine, face: FaceEllipse) -> Parts:
    """Compare the parts of a face in the flash picture and in the registered studio picture.

    Parameters
    ----------
    flash, studio
        (H, W, 3) RGB `uint8`, equal in size.
    moving_from_fixed
        (2, 3) map of the frame of `deepflash.align.frame`.
    face
        In the flash picture.
    """
    x, y, across, down = face
    box = (x - _MARGIN * across, y - _MARGIN * down, x + _MARGIN * across, y + _MARGIN * down)
    fixed = frame.reduced(_gray(flash), _WIDTH_PX).crop(box)
    if not fixed.plane.size:  # the face is outside the picture
        return Parts(0.0, 0.0)
    warped = Level(frame.warp(frame.reduced(_gray(studio), _WIDTH_PX), moving_from_fixed, fixed), fixed.spacing, fixed.corner)
    here, there = light.gradients(fixed, _SIGMA_PX), light.gradients(warped, _SIGMA_PX)
    return Parts(min(_agreements(here, there, face)), max(_shifts(here, there, face)))


def _agreements(here: Level, there: Level, face: FaceEllipse) -> Iterator[float]:
    height, width = here.plane.shape[:2]
    to_frame = here.frame_from_pixel
    u = (np.arange(width) * to_frame[0, 0] + to_frame[0, 2] - face[0]) / face[2]
    v = (np.arange(height) * to_frame[1, 1] + to_frame[1, 2] - face[1]) / face[3]
    inside = u**2 + v[:, None] ** 2 <= 1
    for top, bottom in _BANDS:
        band = inside & ((v >= top) & (v < bottom))[:, None]
        yield float(np.mean([light.correlation(here.plane, there.plane, band & side) for side in (u < 0, u >= 0)]))


def _shifts(here: Level, there: Level, face: FaceEllipse) -> Iterator[float]:
    face_px = 2 * face[2] / here.spacing[0]
    reach = max(2, round(_REACH * face_px))
    half_x, half_y = (max(4, round(side * face_px)) for side in _BLOCK)
    rim = [(half_y + reach, half_y + reach), (half_x + reach, half_x + reach), (0, 0)]
    field, template = (np.pad(level.plane, rim) for level in (there, here))
    (sx, sy), (left, top) = here.spacing, here.corner
    for u, v in _BLOCKS:
        column, row = round((face[0] + u * face[2] - left) / sx), round((face[1] + v * face[3] - top) / sy)
        rows, columns = slice(row, row + 2 * (half_y + reach) + 1), slice(column, column + 2 * (half_x + reach) + 1)
        block = template[rows, columns][reach:-reach, reach:-reach]
        yield _shift_px(block, field[rows, columns], reach) / face_px


def _shift_px(block: Plane, field: Plane, reach: int) -> float:
    if min(block.shape[:2]) < 2 or not block.any():
        return 0.0
    surface = cv2.matchTemplate(field, np.ascontiguousarray(block), cv2.TM_CCOEFF_NORMED)
    _, score, _, (column, row) = cv2.minMaxLoc(surface)
    here = float(surface[reach - 1 : reach + 2, reach - 1 : reach + 2].max())
    return float(np.hypot(column - reach, row - reach)) if score > _ALIKE and score - here > _BETTER else 0.0


def _gray(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
