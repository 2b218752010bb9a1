"""The shape of a sitter's head, as far as light needs it: depth from the landmarks, and where the pupils are.

Lengths are in face widths (the distance between the jaw's ends, about 14 cm).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.hardware.emulator.matting import Landmarks, Map, face_width
from deepflash.hardware.emulator.sitters import Sitter

COARSE = 4
"""Depth, normals and shadows are smooth: they are computed at a quarter of the canvas."""

Spot = tuple[NDArray[np.float64], float, float]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear sRGB (IEC 61966-2-1)."""


def head_depth(sitter: Sitter) -> Map:
    """Return how far each point stands out towards the camera.

    An inflated silhouette carries an ellipsoid for the head, and that the relief of brows, nose, cheeks,
    lips and chin.

    Returns
    -------
    (H/4, W/4) float32
        In pixels of this coarse map; 0 at the edge of the silhouette.
    """
    at = {name: points / COARSE for name, points in sitter.landmarks.items()}
    width = face_width(at)
    matte = coarse(sitter.matte)
    rows, columns = np.mgrid[: matte.shape[0], : matte.shape[1]].astype(np.float32)
    body = _inflated(matte, 0.45 * width)
    brow = (at["left_eyebrow"].mean(axis=0) + at["right_eyebrow"].mean(axis=0)) / 2
    centre = brow + 0.25 * (at["chin"][8] - brow)
    across, down = (columns - centre[0]) / (0.64 * width), (rows - centre[1]) / (0.86 * width)
    ball = np.sqrt(np.clip(1 - across**2 - down**2, 0, None)).astype(np.float32)
    head = (0.62 * ball + 0.3 * np.clip(ball / 0.3, 0, 1)) * width
    smooth = cv2.GaussianBlur(np.maximum(body, head), (0, 0), 0.05 * width)
    return np.asarray((smooth + width * _relief(matte.shape, at)) * matte, np.float32)


def find_pupils(sitter: Sitter) -> list[tuple[NDArray[np.float64], float]]:
    """Return each pupil's centre and the iris's radius in canvas pixels.

    The centre is the darkest place of the eye's opening, looked for near its middle. An iris measures
    0.39 of the eye's opening (11.7 of 30 mm).
    """
    pupils = []
    for name in ("left_eye", "right_eye"):
        opening = sitter.landmarks[name]
        middle, length = opening.mean(axis=0), float(np.hypot(*(opening[3] - opening[0])))
        rows, columns = np.mgrid[: sitter.matte.shape[0], : sitter.matte.shape[1]][:, *around(middle, length)]
        light = cv2.GaussianBlur(sitter.colour[around(middle, length)] @ LUMINANCE, (0, 0), 0.08 * length)
        within = polygon(opening, sitter.matte.shape, 0.03 * length)[around(middle, length)]
        near = np.exp(-((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2) / (0.22 * length) ** 2)
        weight = within * near * np.exp(-light / (0.25 * float(light.max()) + 1e-6))
        total = max(float(weight.sum()), 1e-6)
        pupils.append((np.array([(weight * columns).sum(), (weight * rows).sum()]) / total, 0.195 * length))
    return pupils


def bumps(shape: tuple[int, ...], spots: Sequence[Spot], width: float) -> Map:
    """Return the sum of round bumps, (H, W) float32: (centre in pixels, reach in face widths, height) each.

    `width` is the face width in pixels.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    height = np.zeros(shape, np.float32)
    for (x, y), reach, amount in spots:
        distance = (columns - np.float32(x)) ** 2 + (rows - np.float32(y)) ** 2
        height += np.float32(amount) * np.exp(-distance / np.float32(reach * width) ** 2)
    return height


def polygon(points: NDArray[np.float64], shape: tuple[int, ...], soft_px: float) -> Map:
    """Return 1 inside the hull of some points and 0 outside, (H, W) float32, with an edge of this softness."""
    filled = cv2.fillConvexPoly(np.zeros(shape, np.float32), cv2.convexHull(points.round().astype(np.int32)), 1.0)
    return np.asarray(cv2.GaussianBlur(filled, (0, 0), max(soft_px, 0.3)), np.float32)


def around(centre: NDArray[np.float64], reach: float) -> tuple[slice, slice]:
    """Return the rows and columns of the square about a point, with `reach` pixels to each side."""
    x, y, reach_px = round(float(centre[0])), round(float(centre[1])), round(reach)
    return slice(max(y - reach_px, 0), y + reach_px + 1), slice(max(x - reach_px, 0), x + reach_px + 1)


def coarse(values: Map) -> Map:
    """Reduce a map of the canvas to a quarter of its size, where what is smooth is computed."""
    size = (values.shape[1] // COARSE, values.shape[0] // COARSE)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _inflated(matte: Map, radius: float) -> Map:
    depth = np.clip(cv2.distanceTransform((matte > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / radius, 0, 1)
    return np.asarray(radius * np.sqrt(1 - (1 - depth) ** 2), np.float32)


def _relief(shape: tuple[int, ...], at: Landmarks) -> Map:
    """Model what the features add to the ellipsoid, in face widths."""
    cheeks = [(at["chin"][4] + 2 * at["left_eye"][0]) / 3, (at["chin"][12] + 2 * at["right_eye"][3]) / 3]
    spots: list[Spot] = [(point, 0.05, 0.035) for point in at["nose_bridge"]]
    spots += [(at["nose_tip"].mean(axis=0) * 0.6 + at["nose_bridge"][3] * 0.4, 0.075, 0.11)]
    spots += [(at["nose_tip"][end], 0.05, 0.03) for end in (0, 4)]
    spots += [(point, 0.06, 0.012) for name in ("left_eyebrow", "right_eyebrow") for point in at[name]]
    spots += [(at[name].mean(axis=0), 0.1, -0.035) for name in ("left_eye", "right_eye")]
    spots += [(cheek, 0.17, 0.05) for cheek in cheeks]
    spots += [(at["top_lip"][3], 0.09, 0.02), (at["bottom_lip"][3], 0.08, 0.02), (at["chin"][8], 0.12, 0.04)]
    return bumps(shape, spots, face_width(at))
