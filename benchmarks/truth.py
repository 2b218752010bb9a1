"""Truth measured on photographs, by other means than those that are put to the test.

Errors and lengths are in pixels of a photograph 3120 px wide (13 megapixels), so that benches of different sizes compare.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, Points, apply
from deepflash.faces import find_faces, subject_face
from deepflash.pairs import Face
from deepflash.pictures import Picture, read_rgb

REFERENCE_WIDTH = 3120

_PANEL = [(sigma, half) for sigma in (1.5, 2.5) for half in (28, 56)]  # smoothing, and half the side of a patch, in pixels
_REACH = 36  # pixels that a patch is looked for to each side
_MIN_SCORE = 0.45
_MIN_PATCHES = 60
_MAX_ROUND_TRIP = 2.0  # pixels between a patch and where the way back leads


@dataclass(frozen=True)
class Consensus:
    """The map on which small patches of a real pair agree.

    Attributes
    ----------
    moving_from_fixed
        (2, 3), in pixels.
    residual_px
        Median distance of the patches from it: how much of the motion no affine map describes. Infinite without a map.
    spread_px
        Mean distance of the maps that patches of other sizes and smoothings give from their mean: how well it is known.
    """

    moving_from_fixed: Affine
    residual_px: float
    spread_px: float


@functools.cache
def patch_consensus(flash_path: Path, studio_path: Path) -> Consensus:
    """Measure the map between two photographs of one face at full size; 4 CPU seconds.

    Patches of the edge strength are matched both ways, with two smoothings and two sizes; a robust affine fit to each
    of the four sets gives a panel of maps, and their mean the answer.
    """
    flash, studio = read_rgb(flash_path), read_rgb(studio_path)
    height, width = flash.shape[:2]
    face = subject_face(find_faces(flash), width, height)
    points = grid(face, width, height)
    maps, residuals = [], []
    for sigma, half in _PANEL:
        here, there = _matched_patches(_edge_strength(flash, sigma), _edge_strength(studio, sigma), face, half)
        if len(here) >= 2 * _MIN_PATCHES:
            maps.append(_robust_affine(here, there))
            residuals.append(float(np.median(np.linalg.norm(apply(maps[-1], here) - there, axis=1))))
    if len(maps) < len(_PANEL):
        return Consensus(np.eye(2, 3), np.inf, np.inf)
    mean = np.mean(maps, axis=0)
    spread = float(np.mean([mean_distance(affine, mean, points, width) for affine in maps]))
    return Consensus(mean, float(np.median(residuals)) * REFERENCE_WIDTH / width, spread)


def tripod_shift(flash: Picture, studio: Picture) -> Affine:
    """Measure how far a camera meant to stand still has moved: the median shift of all SIFT features matched both ways."""
    sift = cv2.SIFT_create(8000, contrastThreshold=0.01)
    (here, first), (there, second) = (
        sift.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None) for picture in (flash, studio)
    )
    matches = cv2.BFMatcher(crossCheck=True).match(first, second)
    shifts = np.array([np.subtract(there[match.trainIdx].pt, here[match.queryIdx].pt) for match in matches])
    near = np.linalg.norm(shifts, axis=1) < 2
    return np.column_stack([np.eye(2), np.median(shifts[near], axis=0)])


def grid(face: Face | None, width: int, height: int, steps: int = 21) -> Points:
    """Return points in an ellipse on the face (the middle of the picture where there is none), in pixels."""
    left, top, right, bottom = face.box if face else (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    line = np.linspace(-1, 1, steps)
    u, v = (axis.ravel() for axis in np.meshgrid(line, line))
    inside = u**2 + v**2 <= 1
    x = (left + right) / 2 + 0.5 * (right - left) * u[inside]
    y = (top + bottom) / 2 + 0.58 * (bottom - top) * v[inside]
    return np.column_stack([x, y])


def mean_distance(affine: Affine, truth: Affine, points: Points, width: int) -> float:
    """Return the mean distance of two maps over points, in pixels of a 3120 pixels wide photograph."""
    apart = np.linalg.norm(apply(affine, points) - apply(truth, points), axis=1)
    return float(apart.mean()) * REFERENCE_WIDTH / width


def _matched_patches(
    first: NDArray[np.float32], second: NDArray[np.float32], face: Face | None, half: int
) -> tuple[Points, Points]:
    """Return points of the first picture and of the second that are the same; two pairs a patch, one from each way."""
    here, there = [], []
    for x, y in grid(face, first.shape[1], first.shape[0], steps=24).astype(int):
        offset = _patch_offset(first, second, x, y, half)
        if offset is None:
            continue
        found = np.array([x, y]) + offset
        u, v = np.rint(found).astype(int)
        back = _patch_offset(second, first, u, v, half)
        if back is not None and np.linalg.norm(back + offset) < _MAX_ROUND_TRIP:
            here += [(x, y), tuple(np.array([u, v]) + back)]
            there += [tuple(found), (u, v)]
    return np.array(here, np.float64).reshape(-1, 2), np.array(there, np.float64).reshape(-1, 2)


def _robust_affine(points: Points, targets: Points) -> Affine:
    """Fit an affine map by least squares, reweighted by Tukey's biweight."""
    affine, _ = cv2.estimateAffine2D(points, targets, method=cv2.LMEDS)
    design = np.column_stack([points, np.ones(len(points))])
    for _ in range(20):
        residuals = np.linalg.norm(apply(affine, points) - targets, axis=1)
        limit = 4.685 * max(float(np.median(residuals)) / 1.18, 0.2)  # 1.18: the median length of a normal pair of numbers
        root = np.clip(1 - (residuals / limit) ** 2, 0, None)[:, None]
        affine = np.linalg.lstsq(design * root, targets * root, rcond=None)[0].T
    return np.asarray(affine, dtype=np.float64)


def _edge_strength(picture: Picture, sigma: float) -> NDArray[np.float32]:
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), sigma)
    strength = cv2.magnitude(cv2.Scharr(gray, cv2.CV_32F, 1, 0), cv2.Scharr(gray, cv2.CV_32F, 0, 1))
    return strength / (np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), 16)) + 80)


def _patch_offset(
    first: NDArray[np.float32], second: NDArray[np.float32], x: int, y: int, half: int
) -> NDArray[np.float64] | None:
    rim = half + _REACH
    if not (rim <= x < first.shape[1] - rim and rim <= y < first.shape[0] - rim):
        return None
    patch = first[y - half : y + half + 1, x - half : x + half + 1]
    field = second[y - rim : y + rim + 1, x - rim : x + rim + 1]
    surface = cv2.matchTemplate(field, patch, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    if surface[row, column] < _MIN_SCORE or not (0 < row < 2 * _REACH and 0 < column < 2 * _REACH):
        return None
    across, down = surface[row, column - 1 : column + 2], surface[row - 1 : row + 2, column]
    tops = [(line[0] - line[2]) / (2 * (line[0] - 2 * line[1] + line[2])) for line in (across, down)]
    return np.array([column + tops[0], row + tops[1]]) - _REACH
