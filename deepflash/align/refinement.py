"""Sub-pixel refinement by local structure, with robust weights.

Highlights, cast shadows, eyelids and hair must be able to drop out, so each pixel, and then each small tile,
counts the less the worse it fits the map that the others agree on.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.align.frame import Affine, Level, Plane, Points, apply, compose, inverse, warp

_LUCAS_KANADE_ITERATIONS = 25
_SETTLED = 2e-6  # in the frame: 0.006 px at 13 megapixels
_TUKEY = 4.685  # 95 % efficiency on normal residuals (Holland and Welsch 1977)

_MIN_TILES = 12
_MIN_SCORE = 0.4  # a tile that correlates less is not the same thing
_FIT_ITERATIONS = 20
_OUTLIER = 3.6  # times the median residual: 3 standard deviations of normal noise in two dimensions


def lucas_kanade(fixed: Level, moving: Level, mask: NDArray[np.bool_], start: Affine) -> Affine | None:
    """Refine an affine map by robust inverse-compositional Lucas-Kanade on gradient pictures.

    Parameters
    ----------
    fixed, moving
        (h, w, 2) gradients of one level, from `deepflash.align.light.gradients`.
    mask
        (h, w): where to compare.
    start
        (2, 3) map of the frame, within a few pixels of this level.

    Returns
    -------
    (2, 3) map of the frame, or None where it does not settle near `start`.

    Notes
    -----
    Baker and Matthews 2004, "Lucas-Kanade 20 years on", doi:10.1023/B:VISI.0000011205.11775.fd.
    """
    jacobian = _jacobian(fixed, mask)  # (n, 6) for each channel, stacked
    template = fixed.plane[mask].T.ravel()
    affine = start
    for _ in range(_LUCAS_KANADE_ITERATIONS):
        warped = warp(moving, affine, fixed)[mask] @ affine[:, :2].astype(np.float32)  # gradients turn with the map
        residual = warped.T.ravel() - template
        weighted = jacobian * _tukey_weights(residual)[:, None]
        try:
            step = np.linalg.solve((weighted.T @ jacobian).astype(np.float64), (weighted.T @ residual).astype(np.float64))
        except np.linalg.LinAlgError:
            return None
        update = np.array([[1 + step[0], step[1], step[2]], [step[3], 1 + step[4], step[5]]])
        if abs(step).max() > 0.2:
            return None
        affine = compose(affine, inverse(update))
        if abs(step).max() < _SETTLED:
            break
    return affine


@dataclass(frozen=True)
class Matches:
    """Small tiles of the fixed picture found again in the moving one.

    Attributes
    ----------
    points, found
        (n, 2) centres of the tiles in the fixed picture, and where they are in the moving one, in the frame.
    scores
        (n,) their normalised correlation, 0 to 1.
    """

    points: Points
    found: Points
    scores: NDArray[np.float64]

    def residuals(self, affine: Affine) -> NDArray[np.float64]:
        """Return how far from where a (2, 3) map of the frame puts it each tile was found, (n,) in the frame."""
        return np.asarray(np.linalg.norm(self.found - apply(affine, self.points), axis=1), dtype=np.float64)


def match_tiles(fixed: Level, moving: Level, mask: NDArray[np.bool_], start: Affine, *, tile_px: int, reach_px: int) -> Matches:
    """Look for small tiles of the fixed gradients in the moving ones, `reach_px` around where `start` puts them."""
    image = warp(moving, start, fixed) @ start[:, :2].astype(np.float32)
    half, rim = tile_px // 2, tile_px // 2 + reach_px
    height, width = mask.shape
    centres, offsets, scores = [], [], []
    for y in range(rim, height - rim, half):
        for x in range(rim, width - rim, half):
            if not mask[y, x]:
                continue
            tile = fixed.plane[y - half : y + half + 1, x - half : x + half + 1]
            field = image[y - rim : y + rim + 1, x - rim : x + rim + 1]
            offset, score = _best_offset(tile, field, reach_px)
            if offset is not None:
                centres.append((x, y))
                offsets.append(offset)
                scores.append(score)
    pixels = np.array(centres, dtype=np.float64).reshape(-1, 2)
    found = apply(fixed.frame_from_pixel, pixels + np.array(offsets).reshape(-1, 2))
    return Matches(apply(fixed.frame_from_pixel, pixels), apply(start, found), np.array(scores))


def fit_affine(matches: Matches) -> Affine | None:
    """Fit an affine map to matched tiles, robustly; None from fewer than 12 of them."""
    if len(matches.scores) < _MIN_TILES:
        return None
    design = np.column_stack([matches.points, np.ones(len(matches.points))])
    weights = matches.scores
    for _ in range(_FIT_ITERATIONS):
        root = np.sqrt(weights)[:, None]
        affine = np.linalg.lstsq(design * root, matches.found * root, rcond=None)[0].T
        residuals = matches.residuals(affine)
        limit = _OUTLIER * float(np.median(residuals)) + 1e-9
        weights = matches.scores * np.clip(1 - (residuals / limit) ** 2, 0, None) ** 2
    return np.ascontiguousarray(affine)


def _jacobian(fixed: Level, mask: NDArray[np.bool_]) -> Plane:
    """Return the change of the fixed gradients with the six parameters of the map, in the frame."""
    rows, columns = np.nonzero(mask)
    where = apply(fixed.frame_from_pixel, np.column_stack([columns, rows])).astype(np.float32)
    along_x = cv2.Scharr(fixed.plane, cv2.CV_32F, 1, 0)[mask].T / (32 * fixed.spacing[0])
    along_y = cv2.Scharr(fixed.plane, cv2.CV_32F, 0, 1)[mask].T / (32 * fixed.spacing[1])
    basis = np.column_stack([where, np.ones(len(where), np.float32)])
    return np.concatenate(
        [np.hstack([gx[:, None] * basis, gy[:, None] * basis]) for gx, gy in zip(along_x, along_y, strict=True)]
    )


def _tukey_weights(residual: Plane) -> Plane:
    scale = _TUKEY * 1.4826 * float(np.median(abs(residual))) + 1e-6
    return np.asarray(np.clip(1 - (residual / scale) ** 2, 0, None) ** 2, dtype=np.float32)


def _best_offset(tile: Plane, field: Plane, reach_px: int) -> tuple[tuple[float, float] | None, float]:
    surface = cv2.matchTemplate(field, tile, cv2.TM_CCOEFF_NORMED)
    _, score, _, (column, row) = cv2.minMaxLoc(surface)
    if score < _MIN_SCORE or not (0 < column < 2 * reach_px and 0 < row < 2 * reach_px):
        return None, score
    x = column + _peak(*surface[row, column - 1 : column + 2]) - reach_px
    y = row + _peak(*surface[row - 1 : row + 2, column]) - reach_px
    return (x, y), score


def _peak(before: float, at: float, after: float) -> float:
    """Return where the parabola through three samples has its top, from the middle one."""
    curvature = before - 2 * at + after
    return float((before - after) / (2 * curvature)) if curvature < 0 else 0.0
