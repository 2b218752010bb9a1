"""Sub-pixel refinement by local structure, with robust weights.

Highlights, cast shadows, eyelids and hair must be able to drop out, so each pixel, and then each small tile,
counts the less the worse it fits the map that the others agree on.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.align.frame import Affine, Level, Plane, Points, apply, compose, inverse, warp

_LUCAS_KANADE_ITERATIONS = 25
_SETTLED = 2e-6  # in the frame: 0.006 px at 13 megapixels
_TUKEY = 4.685  # 95 % efficiency on normal residuals (Holland and Welsch 1977)


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


def match_tiles(
    fixed: Level, moving: Level, mask: NDArray[np.bool_], start: Affine, *, tile_px: int, reach_px: int
) -> tuple[Points, Points, NDArray[np.float64]]:
    """Match small tiles of the fixed picture in the moving one, near where `start` puts them.

    Returns
    -------
    points
        (n, 2) centres of the tiles that match well, in the frame of the fixed picture.
    found
        (n, 2) where they are in the moving picture.
    scores
        (n,) their normalised correlation.
    """
    warped = warp(moving, start, fixed)
    warped_image = warped @ start[:, :2].astype(np.float32)
    half, rim = tile_px // 2, tile_px // 2 + reach_px
    height, width = mask.shape
    points, found, scores = [], [], []
    for y in range(rim, height - rim, half):
        for x in range(rim, width - rim, half):
            if not mask[y, x]:
                continue
            tile = fixed.plane[y - half : y + half + 1, x - half : x + half + 1]
            field = warped_image[y - rim : y + rim + 1, x - rim : x + rim + 1]
            offset, score = _best_offset(tile, field, reach_px)
            if offset is not None:
                points.append((x, y))
                found.append((x + offset[0], y + offset[1]))
                scores.append(score)
    if not points:
        return np.empty((0, 2)), np.empty((0, 2)), np.empty(0)
    to_frame = fixed.frame_from_pixel
    return apply(to_frame, points), apply(start, apply(to_frame, found)), np.array(scores)


def fit_affine(points: Points, found: Points, scores: NDArray[np.float64]) -> tuple[Affine, NDArray[np.float64]] | None:
    """Fit an affine map to matched points, robustly; return it with the weight of each point, 0 to 1."""
    if len(points) < 12:
        return None
    design = np.column_stack([points, np.ones(len(points))])
    weights = scores.copy()
    for _ in range(20):
        root = np.sqrt(weights)[:, None]
        solution = np.linalg.lstsq(design * root, found * root, rcond=None)[0]
        distance = np.linalg.norm(found - design @ solution, axis=1)
        scale = 1.2 * float(np.median(distance)) + 1e-9  # of a 2D normal distribution
        weights = scores * np.clip(1 - (distance / (3.0 * scale)) ** 2, 0, None) ** 2
    return np.ascontiguousarray(solution.T), weights


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
    if score < 0.4 or not (0 < column < 2 * reach_px and 0 < row < 2 * reach_px):
        return None, score
    x = column + _peak(*surface[row, column - 1 : column + 2]) - reach_px
    y = row + _peak(*surface[row - 1 : row + 2, column]) - reach_px
    return (x, y), score


def _peak(before: float, at: float, after: float) -> float:
    """Return where the parabola through three samples has its top, from the middle one."""
    curvature = before - 2 * at + after
    return float((before - after) / (2 * curvature)) if curvature < 0 else 0.0
