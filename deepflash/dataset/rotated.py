"""Recognising one photograph at several angles, by what it shows, whatever the files are called.

Two pictures are copies of one photograph if a similarity (rotation, scale, shift, perhaps a mirror) lays one on the other so
well that only the noise of resampling is left. Corners found by ORB propose the similarity; the pixels decide.
A person who sits still for two photographs is not rotated, and is therefore never taken for a copy.

Source: E. Rublee et al., ORB: an efficient alternative to SIFT or SURF, ICCV 2011, doi:10.1109/ICCV.2011.6126544.
"""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.pictures import Picture

_CORNERS_PX = 320  # longer side of the copy in which corners are sought
_LOOK_PX = 128  # longer side of the copy whose pixels are compared
_CORNERS = 300
_LEAST_MATCHES = 8
_NEAREST = 20  # photographs, by their colours, with which a picture is compared
_LEAST_OVERLAP = 0.3  # of the smaller picture
_MOST_DIFFERENCE = 0.2  # RMS of the difference, as a part of the picture's own contrast
_LEAST_ANGLE_DEG = 2.0
_LEAST_ZOOM = 1.05
_BLANK_LEVEL = 8  # what is no brighter may have been filled in when the picture was rotated
_LEAST_SIDE_PX = 32  # ORB needs room around a corner, and fails in native code without any


@dataclass(frozen=True)
class Corners:
    """Corners of a picture: (n, 2) points in pixels of `Look.gray`, and their (n, 32) ORB descriptors."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


_NO_CORNERS = Corners(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))


@dataclass(frozen=True)
class Look:
    """What is kept of a picture in order to recognise it: some 45 kB.

    Attributes
    ----------
    gray
        (h, w) `uint8`, the longer side 128 pixels.
    corners, mirrored_corners
        Of the picture, and of its mirror image.
    colours
        (64,) histogram, the square roots of parts of 1; what is blank does not count.
    filled
        Whether all four edges' ends are black: a rotation about any point within a picture takes each of them out of it.
    """

    gray: NDArray[np.uint8]
    corners: Corners
    mirrored_corners: Corners
    colours: NDArray[np.float32]
    filled: bool


@dataclass(frozen=True)
class Copy:
    """A picture is another one again, by index: mirrored or not, then rotated by `angle_deg` (counter-clockwise), enlarged."""

    index: int
    of: int
    angle_deg: float
    scale: float
    mirrored: bool


def look_at(picture: Picture) -> Look:
    """Return what is needed to recognise an (H, W, 3) RGB `uint8` picture."""
    small = _reduced(picture, _LOOK_PX)
    large = np.asarray(cv2.cvtColor(_reduced(picture, _CORNERS_PX), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    ratio = gray.shape[1] / large.shape[1]
    ends = [gray[rows, columns] for rows in (slice(2), slice(-2, None)) for columns in (slice(2), slice(-2, None))]
    return Look(
        gray,
        _corners(large, ratio),
        _corners(np.ascontiguousarray(large[:, ::-1]), ratio),
        _colours(small),
        all(end.max() <= _BLANK_LEVEL for end in ends),
    )


def find_copies(looks: Sequence[Look], preferred: AbstractSet[int] = frozenset()) -> list[Copy]:
    """Find all pictures that are another one rotated, enlarged or mirrored.

    Of every group one is kept, the others are returned as its copies: kept is one whose edges were not filled in, among those
    the widest, then the one in the middle of the group's angles.

    Parameters
    ----------
    looks
        Of all pictures, in their order.
    preferred
        Pictures that are kept before all others of their groups, by index.

    Returns
    -------
    list of Copy
        By index.
    """
    groups: list[list[Copy]] = []  # each relative to its first member
    colours = np.zeros((0, 64), np.float32)
    for index, look in enumerate(looks):
        nearest = np.argsort(-(colours @ look.colours), kind="stable")[:_NEAREST]
        for group in (groups[number] for number in nearest):
            copy = _as_copy(look, index, looks[group[0].index], group[0].index)
            if copy is not None:
                group.append(copy)
                break
        else:
            groups.append([Copy(index, index, 0.0, 1.0, mirrored=False)])
            colours = np.vstack([colours, look.colours])
    return sorted((copy for group in groups for copy in _beside_the_kept(group, looks, preferred)), key=lambda copy: copy.index)


def _beside_the_kept(group: list[Copy], looks: Sequence[Look], preferred: AbstractSet[int]) -> list[Copy]:
    """Return the members of a group as copies of the one that is kept."""
    angles = {hand: [copy.angle_deg for copy in group if copy.mirrored == hand] for hand in (False, True)}
    middle = {hand: float(np.median(turned)) for hand, turned in angles.items() if turned}

    def merit(copy: Copy) -> tuple[bool, bool, float, float, int]:
        from_middle = abs(copy.angle_deg - middle[copy.mirrored])
        return copy.index not in preferred, looks[copy.index].filled, round(copy.scale, 1), from_middle, copy.index

    kept = min(group, key=merit)
    return [_relative(copy, kept) for copy in group if copy is not kept]


def _relative(copy: Copy, kept: Copy) -> Copy:
    """Return how one copy of a picture comes from another: a mirror between them turns the angle about."""
    mirrored = copy.mirrored != kept.mirrored
    angle_deg = _turn(copy.angle_deg + (kept.angle_deg if mirrored else -kept.angle_deg))
    return Copy(copy.index, kept.index, round(angle_deg, 1), round(copy.scale / kept.scale, 3), mirrored)


def _as_copy(look: Look, index: int, first: Look, first_index: int) -> Copy | None:
    """Return how a picture comes from the first of a group, or None if it does not."""
    for mirrored in (False, True):
        matrix = _similarity(first.mirrored_corners if mirrored else first.corners, look.corners)
        if matrix is None or not _lies_on(first.gray[:, ::-1] if mirrored else first.gray, look.gray, matrix):
            continue
        scale = math.hypot(matrix[0, 0], matrix[1, 0])
        angle_deg = math.degrees(math.atan2(-matrix[1, 0], matrix[0, 0]))
        if mirrored or abs(angle_deg) >= _LEAST_ANGLE_DEG or not 1 / _LEAST_ZOOM < scale < _LEAST_ZOOM:
            return Copy(index, first_index, angle_deg, scale, mirrored)
    return None


def _similarity(first: Corners, second: Corners) -> NDArray[np.float64] | None:
    """Return the (2, 3) matrix from pixels of the first to those of the second, or None."""
    if min(len(first.points), len(second.points)) < _LEAST_MATCHES:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(first.descriptors, second.descriptors)
    if len(matches) < _LEAST_MATCHES:
        return None
    here = first.points[[match.queryIdx for match in matches]]
    there = second.points[[match.trainIdx for match in matches]]
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=1.0, maxIters=1000)
    return None if matrix is None or int(inliers.sum()) < _LEAST_MATCHES else np.asarray(matrix, dtype=np.float64)


def _lies_on(first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: NDArray[np.float64]) -> bool:
    """Tell whether the first, laid on the second by the matrix, is the same wherever both show something."""
    height, width = second.shape
    first = np.ascontiguousarray(first)
    laid = cv2.warpAffine(first, matrix, (width, height), flags=cv2.INTER_LINEAR)
    valid = cv2.warpAffine(np.where(first > _BLANK_LEVEL, np.uint8(255), np.uint8(0)), matrix, (width, height))
    both = (cv2.erode(valid, np.ones((3, 3), np.uint8)) == 255) & (second > _BLANK_LEVEL)
    if both.sum() < _LEAST_OVERLAP * min(first.size, second.size):
        return False
    here, there = laid[both].astype(np.float64), second[both].astype(np.float64)
    contrast = max(float(there.std()), 1.0)
    return float(np.sqrt(np.mean((here - there) ** 2))) <= _MOST_DIFFERENCE * contrast


def _corners(gray: NDArray[np.uint8], ratio: float) -> Corners:
    if min(gray.shape) < _LEAST_SIDE_PX:
        return _NO_CORNERS
    found, descriptors = cv2.ORB.create(_CORNERS, fastThreshold=5).detectAndCompute(gray, None)
    if descriptors is None:
        return _NO_CORNERS
    points = np.array([point.pt for point in found], dtype=np.float32)
    return Corners((points + 0.5) * np.float32(ratio) - np.float32(0.5), np.asarray(descriptors, dtype=np.uint8))


def _reduced(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _colours(picture: Picture) -> NDArray[np.float32]:
    seen = picture[picture.max(axis=2) > _BLANK_LEVEL] // 64
    bins = seen.astype(np.int64) @ np.array([16, 4, 1])
    counts = np.bincount(bins, minlength=64).astype(np.float32)
    return np.asarray(np.sqrt(counts / max(counts.sum(), 1)), dtype=np.float32)


def _turn(angle_deg: float) -> float:
    """Return an angle as one from -180 to 180 degrees."""
    return (angle_deg + 180) % 360 - 180
