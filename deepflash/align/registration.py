"""Registration of the studio photograph onto the flash photograph: one affine map, although the light is different.

Convention
----------
Pixel (0, 0) is the centre of the top-left pixel, x to the right, y down. The (2, 3) matrix `moving_from_fixed`
maps **fixed (flash) pixel coordinates to moving (studio) pixel coordinates**:

    [x_studio, y_studio] = moving_from_fixed @ [x_flash, y_flash, 1]

This is what SimpleITK's transform gives when both pictures have spacing 1 and origin 0, and what
`cv2.warpAffine(studio, moving_from_fixed, size, flags=INTERPOLATION | cv2.WARP_INVERSE_MAP)` needs to lay the
studio photograph on the flash photograph.

Methods
-------
`paper`: Mattes mutual information of intensities by the (1+1) evolutionary optimiser, for comparison; see
`deepflash.align.paper`.

`mattes`: Mattes mutual information of gradient magnitudes, coarse to fine, on the face, from the best of three starts:
the identity, phase correlation, the face's position in both pictures.

`refined` (default): `mattes`, then small tiles of the face, each matched to a fraction of a pixel at 1560 px width, and a
robust affine fit to them; kept only if tiles that were held out of the fit lie closer to it than to the coarse map.

The last two are at last compared with leaving the pair as it is, by the correlation of gradients on the face: they are
never worse than no registration by a measure that none of them maximises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import IDENTITY, Affine, apply, compose, inverse
from deepflash.align import frame, light, paper, tiles
from deepflash.align.frame import Level
from deepflash.align.mattes import maximise_mutual_information
from deepflash.align.tiles import Matches
from deepflash.errors import AlignError
from deepflash.pairs import Face
from deepflash.pictures import Picture

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in the frame of `deepflash.align.frame`."""

Method = Literal["paper", "mattes", "refined"]

MATTES_WIDTHS_PX = (195, 390, 780)
TILES_WIDTH_PX = 1560

_START = (195, 2.0)  # width and smoothing, in pixels
_TURNS_DEG = (0, -4, 4, -8, 8, -12, 12, -16, 16)
_MATTES_SIGMA_PX = 1.5
_MATTES_STEPS = {195: 0.02, 390: 0.006, 780: 0.002}  # first steps, in the frame: about the error that the level before leaves
_REACH = 0.12  # around the faces, in the frame: 3 % of motion, 4 degrees and 3 % of scale, and some
_TILE_SIGMAS = 32  # the smoothing, as a part of a tile's side
_TILE_ROUNDS = (
    (4, 1),
    (8, 2),
    (8, 2),
)  # how far tiles are looked for, and how far apart they are, as a part of their side
_MIN_REACH_PX = 4
_SETTLED = 2e-4  # in the frame, 0.6 px of 3120: a fit that moves the face less needs no other round of matching

MIN_SIDE_PX = 64


@dataclass(frozen=True)
class Registration:
    """The map from the flash to the studio photograph; see the module's convention.

    Attributes
    ----------
    moving_from_fixed
        (2, 3) `float64`, in full-resolution pixels of the pictures given.
    method
        `paper`, `mattes`, `mattes+refined`, or `identity` where nothing agreed better than leaving the pair as it is.
    metric, metric_before
        Correlation of the gradients on the face, after and before, -1 to 1.
    matches
        Small tiles of the face found again near where the map puts them, in the frame of `deepflash.align.frame`.
    fixed_from_moving
        (2, 3) map from the studio to the flash photograph, in pixels, found with the roles of the pictures exchanged: by
        `mattes` from the inverse of the same start, by `refined` from the inverse of the coarse map. What the two maps
        composed leave is a measure of their error. None where it could not be had, and for `paper`.
    """

    moving_from_fixed: NDArray[np.float64]
    method: str
    metric: float
    metric_before: float
    matches: Matches
    fixed_from_moving: NDArray[np.float64] | None = None


def register(
    fixed: Picture,
    moving: Picture,
    *,
    fixed_face: Face | None,
    moving_face: Face | None,
    method: Method = "refined",
) -> Registration:
    """Find the affine map that takes a point of the flash picture to the same point of the studio picture.

    Parameters
    ----------
    fixed, moving
        The flash and the studio picture, equal in size, (H, W, 3) RGB or (H, W) grey `uint8`. Copies of 1560 px
        in width serve as well as the full photographs.
    fixed_face, moving_face
        The subject's face in each, in pixels of the pictures given. Where only one is known it serves for both;
        without any, the middle of the picture is registered.
    method
        See the module.

    Returns
    -------
    Registration
        The same to the bit on every run, whatever the number of threads.

    Raises
    ------
    AlignError
        if the pictures differ in size or are too small.
    """
    _check_sizes(fixed, moving)
    width = fixed.shape[1]
    couple = _couple(fixed, moving, fixed_face, moving_face)
    if method == "paper":
        found = _paper(frame.reduced(_gray(fixed), paper.WIDTH_PX), frame.reduced(_gray(moving), paper.WIDTH_PX), couple)
    else:
        start = _best_start(couple, _face_shift(fixed_face, moving_face, width))
        found = {"mattes": _mattes, "refined": _refined}[method](couple, start)
    before, after = (couple.agreement(affine, *couple.finest) for affine in (IDENTITY, found.there))
    if before >= after and found.method != "paper":
        found, after = replace(found, method="identity", there=IDENTITY), before
    back = None if found.back is None else frame.in_pixels(found.back, width)
    return Registration(frame.in_pixels(found.there, width), found.method, after, before, found.matches, back)


def _check_sizes(fixed: Picture, moving: Picture) -> None:
    if fixed.shape[:2] != moving.shape[:2]:
        sizes = " and ".join(f"{picture.shape[1]} x {picture.shape[0]}" for picture in (fixed, moving))
        raise AlignError(f"the flash and the studio picture have {sizes} pixels; both must come from one camera setting")
    if min(fixed.shape[:2]) < MIN_SIDE_PX:
        raise AlignError(f"pictures of {fixed.shape[1]} x {fixed.shape[0]} pixels are too small; {MIN_SIDE_PX} are needed")


@dataclass(frozen=True)
class _Found:
    """What a method made of a couple; maps of the frame."""

    method: str
    there: Affine
    back: Affine | None
    matches: Matches


_NOTHING = _Found("identity", IDENTITY, None, tiles.NO_MATCHES)


def _paper(fixed: Level, moving: Level, couple: "_Couple") -> _Found:
    """Register as the paper did: mutual information of intensities of the whole pictures; one way only, as it is slow."""
    affine = paper.register_as_published(fixed, moving)
    return _NOTHING if affine is None else _Found("paper", affine, None, couple.matches(affine))


def _mattes(couple: "_Couple", start: Affine) -> _Found:
    """Register by mutual information of gradients on the face, forward and backward from the same start."""
    coarse = _climb(couple, start)
    if coarse is None:
        return _NOTHING
    return _Found("mattes", coarse, _climb_back(couple, start), couple.matches(coarse))


def _refined(couple: "_Couple", start: Affine) -> _Found:
    """Register as `mattes` does, then by tiles where that is demonstrably better; backward by tiles of the other picture."""
    coarse = _climb(couple, start)
    if coarse is None:
        return _NOTHING
    there, matches = _fit_tiles(couple, coarse)
    if there is None or tiles.held_out_residual(matches) >= float(np.median(matches.residuals(coarse))):
        return _Found("mattes", coarse, _climb_back(couple, start), matches)
    back, _ = _fit_tiles(couple.turned(coarse), inverse(coarse))
    return _Found("mattes+refined", there, _climb_back(couple, start) if back is None else back, matches)


def _climb(couple: "_Couple", start: Affine) -> Affine | None:
    """Maximise mutual information level by level; None where no level shows enough to compare."""
    affine = None
    for width in MATTES_WIDTHS_PX:
        fixed, moving = couple.magnitudes(width, _MATTES_SIGMA_PX)
        from_here = start if affine is None else affine
        found = maximise_mutual_information(fixed, moving, couple.mask(fixed), from_here, step=_MATTES_STEPS[width])
        affine = affine if found is None else found
    return affine


def _climb_back(couple: "_Couple", start: Affine) -> Affine | None:
    """Climb with the roles exchanged: from the foot, as near its own top even a wrong map holds its ground."""
    return _climb(couple.turned(start), inverse(start))


def _fit_tiles(couple: "_Couple", coarse: Affine) -> tuple[Affine | None, Matches]:
    """Return the map that fits the tiles found around the coarse one, or None where they are too few; and the tiles."""
    affine = coarse
    for number, (reach, step) in enumerate(_TILE_ROUNDS):
        matches = couple.matches(affine, reach, step)
        fitted = tiles.fit_affine(matches)
        if fitted is None:
            return None, matches
        moved = float(np.linalg.norm(apply(fitted, matches.points) - apply(affine, matches.points), axis=1).mean())
        affine = fitted
        if number > 0 and moved < _SETTLED:
            break
    return affine, matches


class _View:
    """The region of the faces in one picture, and its gradients at each width, as they are asked for."""

    def __init__(self, picture: Picture, region: Box) -> None:
        self.level = frame.reduced(_gray(picture), TILES_WIDTH_PX).crop(region)
        self._gradients: dict[tuple[int, float], Level] = {}
        self._magnitudes: dict[tuple[int, float], Level] = {}

    def gradients(self, width: int, sigma_px: float) -> Level:
        key = (width, sigma_px)
        if key not in self._gradients:
            self._gradients[key] = light.gradients(frame.coarser(self.level, width), sigma_px)
        return self._gradients[key]

    def magnitudes(self, width: int, sigma_px: float) -> Level:
        key = (width, sigma_px)
        if key not in self._magnitudes:
            self._magnitudes[key] = light.magnitude(self.gradients(width, sigma_px))
        return self._magnitudes[key]


@dataclass(frozen=True)
class _Couple:
    """Both pictures, and where the face is in the fixed one."""

    fixed: _View
    moving: _View
    box: Box

    def turned(self, moving_from_fixed: Affine) -> "_Couple":
        """Return the couple with its roles exchanged; the face is where a map puts it."""
        left, top, right, bottom = self.box
        (x, y), *_ = apply(moving_from_fixed, [[(left + right) / 2, (top + bottom) / 2]])
        grown = float(np.sqrt(abs(np.linalg.det(moving_from_fixed[:, :2])))) / 2
        across, down = grown * (right - left), grown * (bottom - top)
        return _Couple(self.moving, self.fixed, (x - across, y - down, x + across, y + down))

    def magnitudes(self, width: int, sigma_px: float) -> tuple[Level, Level]:
        return self.fixed.magnitudes(width, sigma_px), self.moving.magnitudes(width, sigma_px)

    def mask(self, level: Level) -> NDArray[np.bool_]:
        """Return the ellipse of the face on the pixels of a level of the fixed picture."""
        height, width = level.plane.shape[:2]
        to_frame, (left, top, right, bottom) = level.frame_from_pixel, self.box
        u = (np.arange(width) * to_frame[0, 0] + to_frame[0, 2] - (left + right) / 2) / (right - left) * 2
        v = (np.arange(height) * to_frame[1, 1] + to_frame[1, 2] - (top + bottom) / 2) / (bottom - top) * 2
        return np.asarray(u[None, :] ** 2 + v[:, None] ** 2 <= 1)

    @property
    def tile_px(self) -> int:
        """The side of a tile at the finest level: a tenth of the face, where there are enough pixels."""
        face_px = (self.box[2] - self.box[0]) / self.fixed.level.spacing[0]
        return int(np.clip(face_px / 10, 24, 64))

    @property
    def finest(self) -> tuple[int, float]:
        """Width and smoothing, in pixels, of the finest level."""
        return TILES_WIDTH_PX, self.tile_px / _TILE_SIGMAS

    def matches(self, affine: Affine, reach: int = 8, step: int = 2) -> Matches:
        """Return tiles found again up to a `reach`-th of their side from where a map puts them, a `step`-th apart."""
        fixed, moving = self.magnitudes(*self.finest)
        lattice = tiles.Lattice(self.tile_px, self.tile_px // step, max(_MIN_REACH_PX, self.tile_px // reach))
        return tiles.match_tiles(fixed, moving, self.mask(fixed), affine, lattice)

    def agreement(self, affine: Affine, width: int, sigma_px: float) -> float:
        """Return the correlation of directed gradients on the face: not what any method maximises."""
        fixed = self.fixed.gradients(width, sigma_px).crop(self.box)
        moving = self.moving.gradients(width, sigma_px)
        turned = np.asarray(cv2.transform(frame.warp(moving, affine, fixed), affine[:, :2].T), dtype=np.float32)
        return light.correlation(fixed.plane, turned, self.mask(fixed))


def _couple(fixed: Picture, moving: Picture, fixed_face: Face | None, moving_face: Face | None) -> _Couple:
    height, width = fixed.shape[:2]
    box = _face_box(fixed_face or moving_face, width, height)
    other = _face_box(moving_face or fixed_face, width, height)
    left, top = np.minimum(box[:2], other[:2]) - _REACH
    right, bottom = np.maximum(box[2:], other[2:]) + _REACH
    region = (left, top, right, bottom)
    return _Couple(_View(fixed, region), _View(moving, region), box)


def _gray(picture: Picture) -> Picture:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _face_box(face: Face | None, width: int, height: int) -> Box:
    if face is None:
        return (0.2, 0.2 * height / width, 0.8, 0.8 * height / width)
    left, top, right, bottom = ((edge + 0.5) / width for edge in face.box)
    across, down = 0.05 * (right - left), 0.1 * (bottom - top)
    return (left - across, top - down, right + across, bottom + down)


def _best_start(couple: _Couple, face_shift: Affine | None) -> Affine:
    """Return the one of identity, the faces' shift and phase correlation at several turns with which gradients agree best.

    Directed gradients, that is: their lengths alone took a start 400 px off for better than one 25 px off (real pair 01).
    """
    fixed, moving = couple.magnitudes(*_START)
    starts = [IDENTITY, *(_phase_shift(fixed, moving, turn) for turn in _turns(couple))]
    if face_shift is not None:
        starts.append(face_shift)
    return max(starts, key=lambda start: couple.agreement(start, *_START))


def _turns(couple: _Couple) -> Iterator[Affine]:
    """Yield turns about the middle of the face, none first."""
    middle = np.array([couple.box[0] + couple.box[2], couple.box[1] + couple.box[3]]) / 2
    for angle in np.radians(_TURNS_DEG):
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        yield np.column_stack([linear, middle - linear @ middle])


def _phase_shift(fixed: Level, moving: Level, turn: Affine) -> Affine:
    """Return a turn followed by the shift that phase correlation finds after it."""
    window = cv2.createHanningWindow(fixed.plane.shape[1::-1], cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(fixed.plane, frame.warp(moving, turn, fixed), window)
    shift = np.array([[1.0, 0.0, dx * fixed.spacing[0]], [0.0, 1.0, dy * fixed.spacing[1]]])
    return compose(turn, shift)


def _face_shift(fixed_face: Face | None, moving_face: Face | None, width: int) -> Affine | None:
    if fixed_face is None or moving_face is None:
        return None
    return np.column_stack([np.eye(2), (_middle(moving_face) - _middle(fixed_face)) / width])


def _middle(face: Face) -> NDArray[np.float64]:
    points = [point for name, group in sorted(face.landmarks.items()) if "eye" in name for point in group]
    left, top, right, bottom = face.box
    return np.asarray(np.mean(points, axis=0) if points else [(left + right) / 2, (top + bottom) / 2], dtype=np.float64)
