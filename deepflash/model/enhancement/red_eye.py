"""Red eyes: pupils in which the flash shows the back of the eye. Found between the corners of each eye, and made dark.

A red pupil is a round spot that is redder than everything around it, in every direction, and sits in something darker than
skin, the iris. Brown eyes, lids, tears and spectacles with red rims are not: red lies beside them, too. Of 414 official
portraits, none with red eyes, this holds for no eye (docs/results.md).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, apply
from deepflash.model.enhancement.matte import Maps
from deepflash.pairs import Face
from deepflash.photos import Pixels

_EYE_PX = 64  # from corner to corner in the patch in which a pupil is looked for
_PATCH = (96, 64)
_RADII_PX = (4.0, 5.0, 6.0, 7.5, 9.0, 11.0)  # of pupils: 1/8 to 1/3 of the eye's width across, wide open in the dark
_PLACES = np.s_[14:40, 26:70]  # of the patch: where a pupil's middle can be, in eyes that look aside too
_SECTORS = 8  # directions in which red must end
_SMALLEST_PX = 12.0  # from corner to corner in the photograph: pupils of smaller eyes are two pixels
_SURE = 0.045  # of white: how much redder it is than what is around; real ones are by 0.05 to 0.24
_SECOND = 0.033  # if the person's other eye is sure
_DARKER = 0.95  # the iris, of the skin
_ELSEWHERE = 0.9  # of a pupil's redness: the most that the rest of the eye and its lids have; of real ones up to 0.82
_CATCH_LIGHT = (0.5, 0.75)  # of the brightest around: where a reflection begins, and where nothing is changed
_PUPIL = 0.7  # of the lesser of green and blue: how dark a pupil becomes


@dataclass(frozen=True)
class _Spot:
    """What could be a red pupil in the patch of an eye."""

    x: int
    y: int
    radius: float
    redness: float
    around: float  # redness in the direction where it is most

    @property
    def contrast(self) -> float:
        return self.redness - self.around


def correct_red_eyes(pixels: Pixels, faces: Sequence[Face]) -> Pixels:
    """Make red pupils dark and colourless; their catch lights stay.

    Parameters
    ----------
    pixels
        (H, W, 3) RGB `uint8` or `uint16`.
    faces
        In these pixels, with both corners of each eye.

    Returns
    -------
    Pixels
        A copy, all but the red pupils as they were; the same array if there are none.
    """
    corrected = pixels
    for face in faces:
        eyes = [np.array(face.landmarks[name]) for name in ("left_eye", "right_eye")]
        for corners, spot in zip(eyes, _red_spots(pixels, eyes), strict=True):
            if spot:
                corrected = pixels.copy() if corrected is pixels else corrected
                _correct(corrected, corners, spot)
    return corrected


def _red_spots(pixels: Pixels, eyes: Sequence[NDArray[np.float64]]) -> list[_Spot | None]:
    """Return the red pupil of each eye; a sure one makes a weak one in the other eye believed."""
    spots = [_reddest(pixels, corners) for corners in eyes]
    sure = any(spot and spot.contrast >= _SURE for spot in spots)
    least = _SECOND if sure else _SURE
    return [spot if spot and spot.contrast >= least else None for spot in spots]


def _reddest(pixels: Pixels, corners: NDArray[np.float64]) -> _Spot | None:
    """Return the spot that is redder than what is around in every direction, if it can be a pupil."""
    patch = _patch(pixels, corners)
    if patch is None:
        return None
    red = _redness(patch)
    spots = [_reddest_of_size(red, radius) for radius in _RADII_PX]
    best = max(spots, key=lambda spot: spot.contrast)
    return best if _may_be_pupil(patch, red, best) else None


def _reddest_of_size(red: Maps, radius: float) -> _Spot:
    disc, sectors = _kernels(radius)
    inside = cv2.filter2D(red, -1, disc)[_PLACES]
    around = np.max([cv2.filter2D(red, -1, sector)[_PLACES] for sector in sectors], axis=0)
    row, column = np.unravel_index(np.argmax(inside - around), inside.shape)
    place = int(column) + _PLACES[1].start, int(row) + _PLACES[0].start
    return _Spot(*place, radius, float(inside[row, column]), float(around[row, column]))


def _may_be_pupil(patch: Maps, red: Maps, spot: _Spot) -> bool:
    """Tell whether nothing else around the eye is as red, and the spot sits in an iris."""
    rows, columns = np.mgrid[: red.shape[0], : red.shape[1]]
    distance = np.hypot(columns - spot.x, rows - spot.y)
    light = patch.mean(axis=2)
    iris = np.quantile(light[(distance > 1.3 * spot.radius) & (distance < 1.9 * spot.radius)], 0.25)
    skin = np.median(light[-8:])
    elsewhere = np.quantile(red[distance > 1.9 * spot.radius], 0.98)
    return bool(iris < _DARKER * skin and elsewhere < _ELSEWHERE * spot.redness)


def _correct(pixels: Pixels, corners: NDArray[np.float64], spot: _Spot) -> None:
    """Change the pixels of one pupil, in place."""
    photo_from_patch = _photo_from_patch(corners)
    x, y = apply(photo_from_patch, np.array([[spot.x, spot.y]], np.float64))[0]
    reach = 1.7 * spot.radius * float(np.hypot(*photo_from_patch[:, 0]))
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    part = pixels[top : int(y + reach) + 2, left : int(x + reach) + 2]
    white = np.float32(np.iinfo(pixels.dtype).max)
    before = part.astype(np.float32) / white
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
    distance = np.hypot(columns + left - x, rows + top - y) / reach
    near = np.clip((1 - distance) / 0.25, 0, 1)
    smooth = cv2.GaussianBlur(_redness(before), (0, 0), max(0.5, 0.04 * reach))
    share = near * np.clip((smooth - spot.around) / (0.3 * spot.contrast), 0, 1)
    after = before + share[..., None] * (_without_red(before) - before)
    part[:] = np.where(share[..., None] > 0, np.rint(after * white), part)


def _without_red(picture: Maps) -> Maps:
    """Return pixels as they would be in a dark pupil: grey, or, in a catch light, no redder than white."""
    green, blue = picture[..., 1], picture[..., 2]
    least = np.minimum(green, blue)
    begin, end = (share * float(picture.max()) for share in _CATCH_LIGHT)
    light = np.clip((least - begin) / (end - begin), 0, 1)[..., None]
    grey = np.repeat(_PUPIL * least[..., None], 3, axis=2)
    plain = np.dstack([np.minimum(picture[..., 0], np.maximum(green, blue)), green, blue])
    return np.asarray((1 - light) * grey + light * plain, np.float32)


def _redness(picture: Maps) -> Maps:
    """Return how much red exceeds both other colours, (h, w)."""
    return np.asarray(picture[..., 0] - np.maximum(picture[..., 1], picture[..., 2]), np.float32)


def _patch(pixels: Pixels, corners: NDArray[np.float64]) -> Maps | None:
    """Return an eye upright and of one size, in [0, 1]; None of an eye that is too small, or outside the photograph."""
    length = float(np.hypot(*(corners[1] - corners[0])))
    left, top = (max(0, int(v)) for v in corners.min(axis=0) - length)
    right, bottom = (int(v) + 2 for v in corners.max(axis=0) + length)
    part = pixels[top : max(0, bottom), left : max(0, right)]
    if length < _SMALLEST_PX or not part.size:
        return None
    values = part.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    scale = length / _EYE_PX
    if scale > 1:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), 0.4 * scale), np.float32)
    part_from_patch = _photo_from_patch(corners) - np.array([[0, 0, left], [0, 0, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(values, part_from_patch, _PATCH, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _photo_from_patch(corners: NDArray[np.float64]) -> Affine:
    first, second = sorted(corners, key=lambda corner: float(corner[0]))
    across, down = (second - first) / _EYE_PX, np.array([first[1] - second[1], second[0] - first[0]]) / _EYE_PX
    middle = (first + second) / 2 - across * (_PATCH[0] - 1) / 2 - down * (_PATCH[1] - 1) / 2
    return np.column_stack([across, down, middle])


@functools.cache
def _kernels(radius: float) -> tuple[Maps, list[Maps]]:
    """Return the mean over a disc, and those over the sectors of a ring around it."""
    reach = int(np.ceil(1.9 * radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance, angle = np.hypot(columns, rows), np.arctan2(rows, columns)
    ring = (distance > 1.3 * radius) & (distance < 1.9 * radius)
    turns = 2 * np.pi * np.arange(_SECTORS) / _SECTORS
    sectors = [ring & (np.cos(angle - turn) > np.cos(np.pi / _SECTORS)) for turn in turns]
    disc, *shares = ((mask / mask.sum()).astype(np.float32) for mask in (distance <= radius, *sectors))
    return disc, shares
