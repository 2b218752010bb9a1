"""The normalised frame in which pictures of any size are registered.

Convention: a point (u, v) of the frame is ((x + 0.5) / W, (y + 0.5) / W) for the pixel (x, y) of the upright
photograph of width W, (0, 0) being the centre of its top-left pixel. So the frame does not depend on the size at
which a photograph was decoded, and nothing is off by half a pixel between the levels of a pyramid. Affine maps
are (2, 3) `float64` arrays that take a point of the fixed (flash) picture to the same point of the moving
(studio) picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, compose, inverse
from deepflash.pictures import Picture

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """A grey picture at one level of a pyramid.

    Attributes
    ----------
    plane
        (h, w) or (h, w, channels) `float32`.
    spacing
        Width and height of a pixel in the frame; they differ a little, as whole pixels do not divide evenly.
    corner
        The top-left corner (not the centre) of the top-left pixel in the frame; (0, 0) unless cropped.
    """

    plane: Plane
    spacing: tuple[float, float]
    corner: tuple[float, float] = (0.0, 0.0)

    @property
    def frame_from_pixel(self) -> Affine:
        (sx, sy), (u, v) = self.spacing, self.corner
        return np.array([[sx, 0.0, u + sx / 2], [0.0, sy, v + sy / 2]])

    def crop(self, box: tuple[float, float, float, float]) -> "Level":
        """Return the part inside a (left, top, right, bottom) box of the frame, in whole pixels, at least one."""
        (sx, sy), (u, v) = self.spacing, self.corner
        height, width = self.plane.shape[:2]
        left, right = np.clip([int((box[0] - u) / sx), int((box[2] - u) / sx) + 1], 0, width)
        top, bottom = np.clip([int((box[1] - v) / sy), int((box[3] - v) / sy) + 1], 0, height)
        plane = np.ascontiguousarray(self.plane[top : max(bottom, top + 1), left : max(right, left + 1)])
        return Level(plane, self.spacing, (u + left * sx, v + top * sy))


def reduced(gray: Picture, width: int) -> Level:
    """Return a (H, W) grey `uint8` picture as a level of about `width` columns, in [0, 1]; never enlarged."""
    full_height, full_width = gray.shape
    width = min(width, full_width)
    height = max(1, round(full_height * width / full_width))
    plane = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA) if width < full_width else gray
    return Level(np.divide(plane, 255, dtype=np.float32), (1 / width, full_height / full_width / height))


def coarser(level: Level, width: int) -> Level:
    """Return a level with `width` pixels to a unit of the frame, or the level itself where it has no more."""
    scale = width * level.spacing[0]
    if scale >= 1:
        return level
    height, columns = level.plane.shape[:2]
    size = (max(1, round(columns * scale)), max(1, round(height * scale)))
    spacing = (level.spacing[0] * columns / size[0], level.spacing[1] * height / size[1])
    plane = np.asarray(cv2.resize(level.plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return Level(plane, spacing, level.corner)


def in_frame(pixel_affine: Affine, width: int) -> Affine:
    """Express a map between the pixels of two pictures of this width in the frame."""
    frame_from_pixel = Level(np.empty((0, 0), np.float32), (1 / width, 1 / width)).frame_from_pixel
    return compose(frame_from_pixel, compose(pixel_affine, inverse(frame_from_pixel)))


def in_pixels(affine: Affine, width: int) -> Affine:
    """Express a map of the frame in the pixels of two pictures of this width.

    >>> in_pixels(np.array([[1.0, 0.0, 0.01], [0.0, 1.0, 0.0]]), 3120)[0, 2].item()
    31.2
    """
    frame_from_pixel = Level(np.empty((0, 0), np.float32), (1 / width, 1 / width)).frame_from_pixel
    return compose(inverse(frame_from_pixel), compose(affine, frame_from_pixel))


def warp(moving: Level, affine: Affine, fixed: Level) -> Plane:
    """Resample `moving` on the pixels of `fixed` by `affine` (linear interpolation; 0 outside)."""
    pixels = compose(inverse(moving.frame_from_pixel), compose(affine, fixed.frame_from_pixel))
    height, width = fixed.plane.shape[:2]
    warped = cv2.warpAffine(moving.plane, pixels, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(warped, dtype=np.float32)
