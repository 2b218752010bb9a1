"""Blurs, normalised convolution and Laplacian stacks of one channel: what style transfer is built on.

A stack is a Laplacian pyramid without reduction: bands between Gaussian blurs of doubling width, and the rest. Wide blurs
are made on reduced copies, so a picture of 13 megapixels takes hardly longer per pixel than a small one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Channel = NDArray[np.float32]
"""(H, W) values."""

FLOOR = 1e-2
"""Added to every weight (Shih's release): where nothing has weight, a normalised convolution is a plain blur."""

_LEAST_SIGMA_PX = 3.0  # of a reduced copy; a Gaussian that wide survives enlarging by bilinear interpolation


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of a channel, on a reduced grid.

    Attributes
    ----------
    grid
        (h, w), the channel's size or a power of two less. `size` is (H, W), the channel's.
    """

    grid: Channel
    size: tuple[int, int]

    def full(self) -> Channel:
        """Return it at the channel's size, interpolated bilinearly."""
        return resized(self.grid, self.size)


def blurred(channel: Channel, sigma_px: float) -> Blur:
    """Blur by a Gaussian, mirrored at the borders.

    Once brought to full size, what reducing and enlarging add to the Gaussian's variance is counted in: it differs from
    the exact blur by less than 0.3 % of the channel's range.
    """
    height, width = channel.shape
    factor = 2 ** max(0, math.floor(math.log2(sigma_px / _LEAST_SIGMA_PX)))
    factor = min(factor, height, width)
    if factor == 1:
        return Blur(_gaussian(channel, sigma_px, sigma_px), channel.shape)
    reduced = resized(channel, (math.ceil(height / factor), math.ceil(width / factor)))
    down, across = (_left_to_blur(sigma_px, full / few) for full, few in zip(channel.shape, reduced.shape, strict=True))
    return Blur(_gaussian(reduced, across, down), channel.shape)


def normalised(channel: Channel, weight: Channel | None, sigma_px: float) -> Blur:
    """Return the mean of a channel's values around each pixel, weighted by a Gaussian and by the weights there.

    Knutsson and Westin, Normalized and differential convolution, CVPR 1993.

    Parameters
    ----------
    channel, weight
        (H, W). Weights are in [0, 1]; `FLOOR` is added. None: all the same, a plain blur.
    sigma_px
        Of the Gaussian.
    """
    if weight is None:
        return blurred(channel, sigma_px)
    floored = weight + np.float32(FLOOR)
    above, below = blurred(channel * floored, sigma_px), blurred(floored, sigma_px)
    return Blur(above.grid / below.grid, channel.shape)


def laplacian_stack(channel: Channel, sigmas_px: Sequence[float], weight: Channel | None = None) -> Iterator[Channel]:
    """Yield the bands of a channel from fine to coarse, then the residual; they sum up to the channel.

    Parameters
    ----------
    channel
        (H, W).
    sigmas_px
        Widths of the Gaussians between the bands, rising; one band for each.
    weight
        (H, W) in [0, 1]: blurs are normalised by it, so that what lies outside does not leak in.
    """
    sharper = channel
    for sigma_px in sigmas_px:
        softer = normalised(channel, weight, sigma_px).full()
        yield sharper - softer
        sharper = softer
    yield sharper


def resized(channel: Channel, size: tuple[int, int]) -> Channel:
    """Return a channel (or points) at another (H, W), by area when smaller, bilinearly when larger."""
    if channel.shape[:2] == size:
        return channel
    method = cv2.INTER_AREA if size[0] < channel.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(channel, size[::-1], interpolation=method), dtype=np.float32)


def _left_to_blur(sigma_px: float, factor: float) -> float:
    """Return the sigma, in pixels of a copy, that makes up the whole together with reducing by area and enlarging by a tent."""
    return math.sqrt(sigma_px**2 - (factor**2 - 1) / 12 - factor**2 / 6) / factor


def _gaussian(channel: Channel, across_px: float, down_px: float) -> Channel:
    soft = cv2.GaussianBlur(channel, (0, 0), sigmaX=across_px, sigmaY=down_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft, dtype=np.float32)
