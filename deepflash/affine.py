"""Affine maps of the plane: (2, 3) `float64` arrays that act on points (x, y), named target_from_source.

Pixel (0, 0) is the centre of the top-left pixel, x to the right, y down.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Points = NDArray[np.float64]

IDENTITY: Affine = np.eye(2, 3)


def apply(affine: Affine, points: Any) -> Points:
    """Map (N, 2) points.

    >>> apply(np.array([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]]), [[1, 1]]).tolist()
    [[4.0, 2.0]]
    """
    return np.asarray(np.asarray(points, dtype=np.float64) @ affine[:, :2].T + affine[:, 2], dtype=np.float64)


def compose(*affines: Affine) -> Affine:
    """Return the product of the maps; the last one acts first."""
    product = np.eye(3)
    for affine in affines:
        product = product @ np.vstack([affine, (0, 0, 1)])
    return np.ascontiguousarray(product[:2])


def inverse(affine: Affine) -> Affine:
    """Return the inverse map."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def scaling(factor: float) -> Affine:
    """Return the map to pixels that are `factor` times as many along a side; (0, 0) stays the top-left pixel's centre.

    >>> scaling(0.5).tolist()
    [[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]
    """
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift]])
