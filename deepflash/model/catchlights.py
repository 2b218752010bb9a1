"""The highlights of the eyes: those of the flash are painted over, those of the example are put in their place.

As in Shih et al. 2014, highlights are what is bright within the iris, which is found as a circle. Their program takes
drawn highlights from the example; here they are found in it in the same way. An eye that is not surely seen in both portraits
(too small, hidden, more than a third of it bright, as behind a reflecting lens) is left as it is.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.model.correspondence import Correspondence
from deepflash.model.stacks import Channel, blurred, normalised
from deepflash.pairs import Face
from deepflash.pictures import Picture

LEAST_RADIUS_PX = 3.0
"""Smaller irises have no highlights that one could see."""

_BRIGHT = (20.0, 35.0)  # of L, above the iris: from a trace of highlight to nothing but highlight; the release cuts at L = 60
_BRIGHTEST = 70.0  # of L: so that no highlight weighs more than the sclera in the search for the iris
_MOST_BRIGHT = 0.35  # of an iris: more is no highlight
_LEAST_EDGE = 6.0  # of L: the sclera beside an iris is brighter by that much, or it is not an iris
_RADII = (0.15, 0.18, 0.21, 0.24)  # of the distance of the eye's corners; 0.195 by anatomy
_SEARCH = (0.22, 0.14)  # the same: how far right or left, and up or down, an iris's middle may be
_SEARCH_PX = 64  # width of an eye on the copy that is searched
_OPENING = (0.28, 0.2)  # the same: how far up and down the lids open, at the middle between the corners
_AROUND = 0.6  # of the iris's radius: from how far the colour comes that fills a hole


@dataclass(frozen=True)
class Iris:
    """A circle around (x, y), in pixels, and the eye's corners, left and right as seen."""

    x: float
    y: float
    radius: float
    corners: NDArray[np.float64]


@dataclass(frozen=True)
class _Frame:
    """A square of whole pixels around an iris, 4 radii wide, and how far its middle is off the iris's, in radii."""

    left: int
    top: int
    side: int
    radius: float
    off: NDArray[np.float64]


def transfer_catchlights(styled: Picture, picture: Picture, example: Picture, found: Correspondence) -> Picture:
    """Give the eyes of a restyled portrait the highlights of the example's eyes.

    Parameters
    ----------
    styled, picture
        (H, W, 3) RGB `uint8`: the restyled portrait, and what it was made of, whose highlights are to go.
    example
        (H, W, 3) RGB `uint8`.
    found
        Between the two.

    Returns
    -------
    Picture
        A copy of `styled` with other eyes; the same where no eyes are found.
    """
    result = styled.copy()
    if found.face is None or found.example_face is None:
        return result
    for name in ("left_eye", "right_eye"):
        iris, example_iris = find_iris(picture, found.face, name), find_iris(example, found.example_face, name)
        if iris and example_iris:
            _transfer(result, picture, example, iris, example_iris)
    return result


def find_iris(picture: Picture, face: Face, name: str) -> Iris | None:
    """Find the iris of an eye: the dark circle whose left and right rims are brightest outside.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.
    face, name
        The face, and which of its landmarks are the eye's: `left_eye` or `right_eye`.

    Returns
    -------
    Iris or None
        None if there is none, or it is smaller than `LEAST_RADIUS_PX`.

    Notes
    -----
    Daugman, How iris recognition works, 2004, equation 1, over the arcs that lids do not hide.
    """
    points = np.array(face.landmarks.get(name, ()), dtype=np.float64)
    if len(points) < 2:
        return None
    corners = points[[points[:, 0].argmin(), points[:, 0].argmax()]]
    middle, width = corners.mean(axis=0), float(np.linalg.norm(corners[1] - corners[0]))
    if width * _RADII[0] < LEAST_RADIUS_PX:
        return None
    shrink = _SEARCH_PX / width
    patch = _lightness(_around(picture, middle, shrink, 2 * _SEARCH_PX)).clip(None, _BRIGHTEST)
    edge, (x, y), radius = max(_circles(patch), key=lambda circle: circle[0])
    if edge < _LEAST_EDGE:
        return None
    off = (np.array([x, y]) - (_SEARCH_PX - 0.5)) / shrink
    return Iris(float(middle[0] + off[0]), float(middle[1] + off[1]), radius / shrink, corners)


def _transfer(result: Picture, picture: Picture, example: Picture, iris: Iris, example_iris: Iris) -> None:
    frame = _frame(iris)
    left, top, side = frame.left, frame.top, frame.side
    if min(left, top) < 0 or left + side > result.shape[1] or top + side > result.shape[0]:
        return
    seen = _seen_iris(iris, frame)
    _, old = _highlights(picture, iris, frame)
    light, new = _highlights(example, example_iris, frame)
    if max(old.sum(), new.sum()) > _MOST_BRIGHT * seen.sum():
        return
    eye = result[top : top + side, left : left + side].astype(np.float32)
    old, new = _with_halo(old, seen), _with_halo(new, seen)
    gone = (old - new).clip(0, None)
    iris_alone = np.asarray(seen * (1 - old), dtype=np.float32)
    holes = (normalised(eye[..., number].copy(), iris_alone, _AROUND * iris.radius).full() for number in range(3))
    filled = np.stack(list(holes), axis=2)
    mixed = eye + gone[..., None] * (filled - eye) + new[..., None] * (light - eye)
    result[top : top + side, left : left + side] = mixed.round().clip(0, 255)


def _with_halo(highlight: Channel, seen: Channel) -> Channel:
    """Return a highlight and what shines around it, as far as the iris is seen."""
    soft_px = max(1.0, len(seen) / 40)  # a tenth of the radius
    side = 2 * round(soft_px) + 1
    grown = cv2.dilate(highlight, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), soft_px / 2) * seen, dtype=np.float32)


def _circles(patch: Channel) -> list[tuple[float, tuple[float, float], float]]:
    """Return for each circle that might be an iris by how much its rim is brighter outside, its middle, and its radius."""
    middle = (len(patch) - 1) / 2
    right, down = (reach * _SEARCH_PX for reach in _SEARCH)
    angles = np.radians([*range(-40, 31, 10), *range(150, 221, 10)])  # y down: less of the upper rim, which the lid hides
    smooth = blurred(patch, 1.5).full()
    found = []
    for radius in (share * _SEARCH_PX for share in _RADII):
        for x in np.arange(middle - right, middle + right + 1, 2):
            for y in np.arange(middle - down, middle + down + 1, 2):
                inside, outside = (_along(smooth, x, y, reach * radius, angles) for reach in (0.8, 1.2))
                found.append((float((outside - inside).mean()), (float(x), float(y)), radius))
    return found


def _along(patch: Channel, x: float, y: float, radius: float, angles: NDArray[np.float64]) -> NDArray[np.float32]:
    across, down = x + radius * np.cos(angles), y + radius * np.sin(angles)
    return np.asarray(patch[down.round().astype(int), across.round().astype(int)], dtype=np.float32)


def _frame(iris: Iris) -> _Frame:
    side = 2 * round(2 * iris.radius)
    left, top = round(iris.x - (side - 1) / 2), round(iris.y - (side - 1) / 2)
    off = np.array([left + (side - 1) / 2 - iris.x, top + (side - 1) / 2 - iris.y]) / iris.radius
    return _Frame(left, top, side, iris.radius, off)


def _highlights(picture: Picture, iris: Iris, frame: _Frame) -> tuple[Channel, Channel]:
    """Bring an iris to where another one is in its frame: (side, side, 3) from 0 to 255, and how much of it is highlight."""
    middle = np.array([iris.x, iris.y]) + frame.off * iris.radius
    patch = _around(picture, middle, frame.radius / iris.radius, frame.side)
    lightness, seen = _lightness(patch), _seen_iris(iris, frame)
    if not (seen > 0.5).any():
        return patch, np.zeros_like(seen)
    above = lightness - np.percentile(lightness[seen > 0.5], 25)  # three quarters may be glare
    bright = ((above - _BRIGHT[0]) / (_BRIGHT[1] - _BRIGHT[0])).clip(0, 1)
    return patch, np.asarray(bright * seen, dtype=np.float32)


def _seen_iris(iris: Iris, frame: _Frame) -> Channel:
    """Return (side, side): 1 on the iris, as far as its lids open, falling to 0 over a tenth of the radius."""
    y, x = (np.mgrid[: frame.side, : frame.side] - (frame.side - 1) / 2) / frame.radius
    x, y = x + frame.off[0], y + frame.off[1]  # in radii, from the iris's middle
    disc = (0.95 - np.hypot(x, y)) / 0.1  # a little less than the iris: beside it is the sclera, which is bright
    from_corners = np.stack([iris.x + x * iris.radius, iris.y + y * iris.radius], axis=2) - iris.corners.mean(axis=0)
    along = iris.corners[1] - iris.corners[0]
    width = float(np.linalg.norm(along))
    right, down = from_corners @ along / width**2, from_corners @ np.array([-along[1], along[0]]) / width**2
    lens = 1 - (2 * right) ** 2
    lids = (lens - np.where(down < 0, -down / _OPENING[0], down / _OPENING[1])) / 0.1
    return np.asarray(np.minimum(disc, lids).clip(0, 1), dtype=np.float32)


def _around(picture: Picture, middle: NDArray[np.float64], scale: float, side: int) -> Channel:
    """Return a (side, side, 3) patch of a scaled picture."""
    shift = (side - 1) / 2 - scale * middle
    to_patch = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    patch = cv2.warpAffine(picture, to_patch, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, dtype=np.float32)


def _lightness(patch: Channel) -> Channel:
    return np.asarray(cv2.cvtColor(patch / 255, cv2.COLOR_RGB2Lab)[..., 0], dtype=np.float32)
