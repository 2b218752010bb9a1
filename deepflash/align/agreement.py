"""How well small tiles of the face agree on one affine map, and in which way they do not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, Points, apply
from deepflash.align.tiles import Matches, fit_affine

FaceEllipse = tuple[float, float, float, float]
"""Centre (x, y) and half axes (across, down) of the face, in the frame of `deepflash.align.frame`."""

_STRIPES = 6  # of the face, in which tiles are parted: neighbours overlap and err together
_ITERATIONS = 10
_OUTLIER = 3.6  # times the median residual: 3 standard deviations of normal noise in two dimensions
_MIN_TILES = 24  # for six unknowns a coordinate
_BANDS = (-0.285, 0.215, 0.56)  # where they part, in half heights of the face from its middle


@dataclass(frozen=True)
class Agreement:
    """What the tiles say of a map, in widths of the picture.

    Attributes
    ----------
    residual
        Third quartile of how far tiles lie from where the map puts them.
    halves
        Mean distance on the face between maps fitted to one half of the tiles and to the other; infinite if there
        are too few tiles.
    bend
        Root mean square, on the face, of the motion that a polynomial of the second order sees in the tiles and an
        affine map cannot follow; 0 if there are too few tiles.
    thinnest
        Share of the tiles that lie in the one of four bands (brows, nose, mouth, chin) that has fewest; 1 if there are
        too few tiles. A part that has moved beside the rest finds none, and so says nothing of its motion.
    """

    residual: float
    halves: float
    bend: float
    thinnest: float


def agreement_of_tiles(matches: Matches, moving_from_fixed: Affine, face: FaceEllipse) -> Agreement:
    """Measure how tiles of the face agree with a map, and with each other.

    Parameters
    ----------
    matches
        Tiles found again, in the frame.
    moving_from_fixed
        (2, 3) map of the frame.
    face
        Where the agreement counts.
    """
    if not len(matches.scores):
        return Agreement(np.inf, np.inf, 0.0, 1.0)
    residual = float(np.percentile(matches.residuals(moving_from_fixed), 75))
    return Agreement(residual, _halves(matches, face), _bend(matches, moving_from_fixed, face), _thinnest(matches, face))


def points_on(face: FaceEllipse, steps: int = 15) -> Points:
    """Return (n, 2) points spread evenly over the face."""
    line = np.linspace(-1, 1, steps)
    u, v = (axis.ravel() for axis in np.meshgrid(line, line))
    inside = u**2 + v**2 <= 1
    return np.column_stack([face[0] + face[2] * u[inside], face[1] + face[3] * v[inside]])


def _halves(matches: Matches, face: FaceEllipse) -> float:
    points, distances = points_on(face), []
    for axis in (0, 1):
        at = (matches.points[:, axis] - face[axis]) / face[2 + axis]
        even = np.floor((at + 1) / 2 * _STRIPES).astype(int) % 2 == 0
        first, second = fit_affine(matches.only(even)), fit_affine(matches.only(~even))
        if first is None or second is None:
            return float("inf")
        distances.append(np.linalg.norm(apply(first, points) - apply(second, points), axis=1).mean())
    return float(np.mean(distances))


def _thinnest(matches: Matches, face: FaceEllipse) -> float:
    if len(matches.scores) < _MIN_TILES:
        return 1.0
    band = np.searchsorted(_BANDS, (matches.points[:, 1] - face[1]) / face[3])
    return float(np.bincount(band, minlength=len(_BANDS) + 1).min() / len(band))


def _bend(matches: Matches, moving_from_fixed: Affine, face: FaceEllipse) -> float:
    if len(matches.scores) < _MIN_TILES:
        return 0.0
    rest = matches.found - apply(moving_from_fixed, matches.points)
    design = _second_order(matches.points, face)
    weights = matches.scores
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)[:, None]
        fitted = np.linalg.lstsq(design * root, rest * root, rcond=None)[0]
        residuals = np.linalg.norm(rest - design @ fitted, axis=1)
        limit = _OUTLIER * float(np.median(residuals)) + 1e-9
        weights = matches.scores * np.clip(1 - (residuals / limit) ** 2, 0, None) ** 2
    on_face = _second_order(points_on(face), face)
    bent = on_face @ fitted
    affine_part = on_face[:, :3] @ np.linalg.lstsq(on_face[:, :3], bent, rcond=None)[0]
    return float(np.sqrt(((bent - affine_part) ** 2).sum(axis=1).mean()))


def _second_order(points: Points, face: FaceEllipse) -> NDArray[np.float64]:
    u, v = ((points - face[:2]) / face[2:]).T
    return np.column_stack([np.ones_like(u), u, v, u * u, u * v, v * v])
