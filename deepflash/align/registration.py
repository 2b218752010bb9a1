"""Registration of the studio photograph onto the flash photograph: one affine map, although the light is different.

Convention
----------
Pixel (0, 0) is the centre of the top-left pixel, x to the right, y down. The (2, 3) matrix `moving_from_fixed`
maps **fixed (flash) pixel coordinates to moving (studio) pixel coordinates**:

    [x_studio, y_studio] = moving_from_fixed @ [x_flash, y_flash, 1]

This is what SimpleITK's transform gives when both pictures have spacing 1 and origin 0, and what
`cv2.warpAffine(studio, moving_from_fixed, size, flags=INTERPOLATION | cv2.WARP_INVERSE_MAP)` needs to lay the
studio photograph on the flash photograph.

Method
------
1. Candidates for a start: the identity, the face's position and size in both pictures, phase correlation.
2. `mattes`: Mattes mutual information of gradient magnitudes, coarse to fine, on the face.
3. `refined`: small tiles of the face, each matched to a fraction of a pixel at 1560 px width, and a robust affine
   fit to them; kept only if tiles that were held out of the fit lie closer to it than to the coarse map.

At last the answer is compared with leaving the pair as it is, by the correlation of gradients on the face: it is never
worse than no registration by its own measure.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import IDENTITY, Affine, apply
from deepflash.align import frame, light, tiles
from deepflash.align.frame import Level
from deepflash.align.mattes import maximise_mutual_information
from deepflash.align.tiles import Matches
from deepflash.errors import AlignError
from deepflash.pairs import Face
from deepflash.pictures import Picture

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in the frame of `deepflash.align.frame`."""

MATTES_WIDTHS_PX = (195, 390, 780)
TILES_WIDTH_PX = 1560

_MATTES_STEPS = (0.02, 0.006, 0.002)  # first steps, in the frame: about the error that the level before leaves
_REACH = 0.12  # around the faces, in the frame: 3 % of motion, 4 degrees and 3 % of scale, and some
_TILE_ROUNDS = 3
_SETTLED = 1e-3  # in the frame: a fit that moves the face less needs no other round of matching

MIN_SIDE_PX = 64


@dataclass(frozen=True)
class Registration:
    """The map from the flash to the studio photograph; see the module's convention.

    Attributes
    ----------
    moving_from_fixed
        (2, 3) `float64`, in full-resolution pixels of the pictures given.
    method
        `mattes`, `mattes+refined`, or `identity` where nothing agreed better than leaving the pair as it is.
    metric, metric_before
        Correlation of the gradients on the face, after and before, -1 to 1.
    matches
        Small tiles of the face found again near where the map puts them, in the frame of `deepflash.align.frame`.
    """

    moving_from_fixed: NDArray[np.float64]
    method: str
    metric: float
    metric_before: float
    matches: Matches


def register(fixed: Picture, moving: Picture, *, fixed_face: Face | None, moving_face: Face | None) -> Registration:
    """Find the affine map that takes a point of the flash picture to the same point of the studio picture.

    Parameters
    ----------
    fixed, moving
        The flash and the studio picture, equal in size, (H, W, 3) RGB or (H, W) grey `uint8`. Copies of 1560 px
        in width serve as well as the full photographs.
    fixed_face, moving_face
        The subject's face in each, in pixels of the pictures given. Where only one is known it serves for both;
        without any, the middle of the picture is registered.

    Returns
    -------
    Registration
        The same on every run.

    Raises
    ------
    AlignError
        if the pictures differ in size or are too small.
    """
    if fixed.shape[:2] != moving.shape[:2]:
        sizes = " and ".join(f"{picture.shape[1]} x {picture.shape[0]}" for picture in (fixed, moving))
        raise AlignError(f"the flash and the studio picture have {sizes} pixels; both must come from one camera setting")
    if min(fixed.shape[:2]) < MIN_SIDE_PX:
        raise AlignError(f"pictures of {fixed.shape[1]} x {fixed.shape[0]} pixels are too small; {MIN_SIDE_PX} are needed")
    height, width = fixed.shape[:2]
    couple = _Couple(
        _gray(fixed),
        _gray(moving),
        _face_box(fixed_face or moving_face, width, height),
        _face_box(moving_face or fixed_face, width, height),
    )
    before = couple.agreement(IDENTITY)
    method, affine, matches = _best_map(couple, _best_start(couple, fixed_face, moving_face))
    after = couple.agreement(affine)
    if before >= after:
        method, affine, after = "identity", IDENTITY, before
    return Registration(frame.in_pixels(affine, width), method, after, before, matches)


class _Couple:
    """Both pictures, their gradients at each width as they are asked for, and where the face is."""

    def __init__(self, fixed: Picture, moving: Picture, box: Box, moving_box: Box) -> None:
        self.fixed, self.moving, self.box = fixed, moving, box
        left, top = np.minimum(box[:2], moving_box[:2]) - _REACH
        right, bottom = np.maximum(box[2:], moving_box[2:]) + _REACH
        self.region: Box = (left, top, right, bottom)
        self._cache: dict[tuple[int, float], tuple[Level, Level, NDArray[np.bool_]]] = {}

    def at(self, width: int, sigma_px: float) -> tuple[Level, Level, NDArray[np.bool_]]:
        """Return the gradients of both and the mask of the face."""
        key = (width, sigma_px)
        if key not in self._cache:
            fixed = light.gradients(frame.reduced(self.fixed, width).crop(self.region), sigma_px)
            moving = light.gradients(frame.reduced(self.moving, width).crop(self.region), sigma_px)
            self._cache[key] = (fixed, moving, _ellipse(fixed, self.box))
        return self._cache[key]

    def finest(self) -> tuple[Level, Level, NDArray[np.bool_]]:
        return self.at(TILES_WIDTH_PX, self.tile_px / 32)

    @property
    def tile_px(self) -> int:
        """The side of a tile at the finest level: a tenth of the face, where there are enough pixels."""
        face_px = (self.box[2] - self.box[0]) * min(TILES_WIDTH_PX, self.fixed.shape[1])
        return int(np.clip(face_px / 10, 24, 64))

    def agreement(self, affine: Affine) -> float:
        fixed, moving, mask = self.finest()
        warped = frame.warp(moving, affine, fixed) @ affine[:, :2].astype(np.float32)
        return light.correlation(fixed.plane, warped, mask)


def _gray(picture: Picture) -> Picture:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _face_box(face: Face | None, width: int, height: int) -> Box:
    if face is None:
        return (0.2, 0.2 * height / width, 0.8, 0.8 * height / width)
    left, top, right, bottom = ((edge + 0.5) / width for edge in face.box)
    across, down = 0.05 * (right - left), 0.1 * (bottom - top)
    return (left - across, top - down, right + across, bottom + down)


def _ellipse(level: Level, box: Box) -> NDArray[np.bool_]:
    height, width = level.plane.shape[:2]
    to_frame = level.frame_from_pixel
    u = (np.arange(width) * to_frame[0, 0] + to_frame[0, 2] - (box[0] + box[2]) / 2) / (box[2] - box[0]) * 2
    v = (np.arange(height) * to_frame[1, 1] + to_frame[1, 2] - (box[1] + box[3]) / 2) / (box[3] - box[1]) * 2
    return np.asarray(u[None, :] ** 2 + v[:, None] ** 2 <= 1)


def _best_start(couple: _Couple, fixed_face: Face | None, moving_face: Face | None) -> Affine:
    fixed, moving, mask = couple.at(MATTES_WIDTHS_PX[0], 2.0)
    starts = [IDENTITY, _phase_shift(light.magnitude(fixed), light.magnitude(moving))]
    if fixed_face and moving_face:
        starts.append(_face_shift(fixed_face, moving_face, couple.fixed.shape[1]))
    fixed, moving = light.magnitude(fixed), light.magnitude(moving)
    return max(starts, key=lambda start: light.correlation(fixed.plane, frame.warp(moving, start, fixed), mask))


def _phase_shift(fixed: Level, moving: Level) -> Affine:
    window = cv2.createHanningWindow(fixed.plane.shape[1::-1], cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(fixed.plane, moving.plane, window)
    return np.array([[1.0, 0.0, dx * fixed.spacing[0]], [0.0, 1.0, dy * fixed.spacing[1]]])


def _face_shift(fixed_face: Face, moving_face: Face, width: int) -> Affine:
    shift = (_middle(moving_face) - _middle(fixed_face)) / width
    return np.column_stack([np.eye(2), shift])


def _middle(face: Face) -> NDArray[np.float64]:
    points = [point for name, group in sorted(face.landmarks.items()) if "eye" in name for point in group]
    left, top, right, bottom = face.box
    return np.asarray(np.mean(points, axis=0) if points else [(left + right) / 2, (top + bottom) / 2], dtype=np.float64)


def _best_map(couple: _Couple, start: Affine) -> tuple[str, Affine, Matches]:
    """Return the method that fits best, its map, and the tiles it was judged by."""
    coarse = _mattes(couple, start)
    if coarse is None:
        return "identity", IDENTITY, tiles.NO_MATCHES
    refined, matches = _refined(couple, coarse)
    return ("mattes", coarse, matches) if refined is None else ("mattes+refined", refined, matches)


def _mattes(couple: _Couple, start: Affine) -> Affine | None:
    """Return the coarse map, or None where no level shows enough to compare."""
    affine = None
    for width, step in zip(MATTES_WIDTHS_PX, _MATTES_STEPS, strict=True):
        fixed, moving, mask = couple.at(width, 1.5)
        from_here = start if affine is None else affine
        found = maximise_mutual_information(light.magnitude(fixed), light.magnitude(moving), mask, from_here, step=step)
        affine = affine if found is None else found
    return affine


def _refined(couple: _Couple, coarse: Affine) -> tuple[Affine | None, Matches]:
    """Return a map that fits the tiles demonstrably better than the coarse one, or None; and the tiles."""
    affine = coarse
    for _ in range(_TILE_ROUNDS):
        matches = tiles.match_tiles(*couple.finest(), affine, tile_px=couple.tile_px, reach_px=couple.tile_px // 4)
        fitted = tiles.fit_affine(matches)
        if fitted is None:
            return None, matches
        moved = float(np.linalg.norm(apply(fitted, matches.points) - apply(affine, matches.points), axis=1).mean())
        affine = fitted
        if moved < _SETTLED:
            break
    better = tiles.held_out_residual(matches) < float(np.median(matches.residuals(coarse)))
    return (affine if better else None), matches
