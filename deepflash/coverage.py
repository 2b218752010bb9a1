"""Which pixels of a sample the photographs really cover; the others repeat a photograph's edge.

A photograph covers the points within its pixels, whose centres have integer coordinates: from -0.5 to width - 0.5.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, Points, apply, inverse

_TOLERANCE_PX = 1e-6  # a frame that ends with the photograph is covered, whatever the rounding


def valid_fraction(size: int, *photographs: tuple[Affine, tuple[int, int]]) -> float:
    """Return the share of a sample that every photograph covers.

    Parameters
    ----------
    size
        Side of the sample in pixels.
    photographs
        For each its photograph_from_sample matrix and its (width, height) in pixels.
    """
    common = _corners(size, size)
    for photograph_from_sample, (width, height) in photographs:
        there = apply(photograph_from_sample, common)
        for axis, side in ((0, width), (1, height)):
            there = _clipped(there, axis, 1.0, -0.5)
            there = _clipped(there, axis, -1.0, 0.5 - side)
        common = apply(inverse(photograph_from_sample), there) if len(there) else there
    return min(1.0, _area(common) / size**2)


def valid_mask(info: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which pixels of a sample both photographs cover, from what its JSON says.

    Parameters
    ----------
    info
        With `size`, and for both lights `flash_size`, `flash_from_sample` and so on, as `build-dataset` wrote it.

    Returns
    -------
    (size, size) bool
        True where the centre of the pixel lies within both photographs. Its mean is `valid_fraction`, to the pixels on the
        rim.
    """
    size = int(info["size"])
    rows, columns = np.mgrid[:size, :size]
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    valid = np.ones(len(centres), dtype=np.bool_)
    for light in ("flash", "studio"):
        there = apply(np.array(info[f"{light}_from_sample"]), centres)
        last = np.array(info[f"{light}_size"]) - 0.5
        valid &= ((there >= -0.5 - _TOLERANCE_PX) & (there <= last + _TOLERANCE_PX)).all(axis=1)
    return valid.reshape(size, size)


def _clipped(polygon: Points, axis: int, sign: float, least: float) -> Points:
    """Cut off what of a convex polygon lies where sign * coordinate is below `least` (Sutherland and Hodgman 1974).

    OpenCV's `intersectConvexConvex` is up to 2 % of the area off where edges coincide, as those of two photographs do.
    """
    inside = sign * polygon[:, axis] - least
    kept = []
    for here, there, within, then_within in zip(
        polygon, np.roll(polygon, -1, axis=0), inside, np.roll(inside, -1), strict=True
    ):
        if within >= 0:
            kept.append(here)
        if (within >= 0) != (then_within >= 0):
            kept.append(here + (there - here) * within / (within - then_within))
    return np.array(kept).reshape(-1, 2)


def _area(polygon: Points) -> float:
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _corners(width: int, height: int) -> NDArray[np.float64]:
    # half a pixel beyond the centres of the corner pixels
    return np.array([(0, 0), (width, 0), (width, height), (0, height)]) - 0.5
