"""Pictures in which the change of light matters less: gradients, divided by their local strength.

On real pairs mutual information of intensities has its optimum 15 to 25 px off at 13 megapixels whatever the
optimiser, on gradients it does not (reference: registration.md): flash and studio light shade a face differently,
but brows, eyes, nostrils and lips are edges under both. Their length is compared rather than their direction where
light from another side turns bright and dark about.

What is computed here is the same to the bit on every run and with any number of threads. Not every function of
OpenCV and NumPy is: `cv2.magnitude` rounds a few pixels in 50,000 by whether the address of its result divides by 32,
and a dot product by BLAS adds up in an order that depends on the threads; an iterative optimiser makes 1e-6 px of
either. So lengths and sums are NumPy's own (docs/decisions/0012-methods-and-determinism.md).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.align.frame import Level, Plane

_LOCAL = 8.0  # strength is averaged over this many times the smoothing
_NOISE = 0.004  # grey level differences a pixel that are noise rather than edges, of 1


def gradients(level: Level, sigma_px: float) -> Level:
    """Return the (h, w, 2) gradient (d/dx, d/dy) of a grey level, smoothed, divided by its local strength."""
    smooth = cv2.GaussianBlur(level.plane, (0, 0), sigma_px)
    across = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32), np.float32)
    down = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32), np.float32)
    del smooth  # planes of a large face take 10 MB each: here is the peak of a worker's memory
    strength = _local_mean(_squared_length(across, down), _LOCAL * sigma_px)
    strength += np.float32(_NOISE / sigma_px) ** 2
    np.sqrt(strength, out=strength)
    across /= strength
    down /= strength
    return Level(np.asarray(cv2.merge([across, down]), np.float32), level.spacing, level.corner)


def magnitude(gradient: Level) -> Level:
    """Return the length of the gradients of `gradients`, compressed so that single strong edges do not rule."""
    length = _squared_length(gradient.plane[:, :, 0], gradient.plane[:, :, 1])
    for _ in range(2):
        np.sqrt(length, out=length)
    return Level(length, gradient.spacing, gradient.corner)


def _squared_length(across: Plane, down: Plane) -> Plane:
    length = across * across
    length += down * down
    return length


def correlation(first: Plane, second: Plane, mask: NDArray[np.bool_]) -> float:
    """Return the normalised correlation of two planes inside a mask, -1 to 1; 0 if either is flat or the mask empty.

    Planes are (h, w) or (h, w, channels); the channels are one sample.
    """
    inside = mask if first.ndim == 2 else np.repeat(mask[:, :, None], first.shape[2], axis=2)
    count = np.count_nonzero(inside)
    if count == 0:
        return 0.0
    a, b = first * inside, second * inside
    a_mean, b_mean = _sum(a) / count, _sum(b) / count
    a_variance, b_variance = _sum(a * a) / count - a_mean**2, _sum(b * b) / count - b_mean**2
    if min(a_variance, b_variance) <= 1e-9:  # of gradients of unit strength: flat, but for rounding
        return 0.0
    return float(np.clip((_sum(a * b) / count - a_mean * b_mean) / np.sqrt(a_variance * b_variance), -1, 1))


def _sum(plane: Plane) -> float:
    return float(plane.sum(dtype=np.float64))


def _local_mean(plane: Plane, sigma_px: float) -> Plane:
    """Return the Gaussian mean around each pixel, worked out at a quarter of the size: nothing in it is finer."""
    height, width = plane.shape
    small = cv2.resize(plane, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma_px / 4), (width, height)), np.float32)
