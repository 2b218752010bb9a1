"""Who is in front of what: the matte of head and shoulders, and where they are skin."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.pictures import Picture

Map = NDArray[np.float32]
Landmarks = dict[str, NDArray[np.float64]]

_GRAB_WIDTH_PX = 256  # grabCut's time grows with the area; the guided filter brings the fine edge back


def find_matte(portrait: Picture, landmarks: Landmarks, backdrop: Map | None = None) -> Map:
    """Return how much of each pixel is head and shoulders.

    The seed is geometry (an ellipse about the landmarks, a torso below the chin), grabCut settles the
    outline by colour, and a guided filter (He et al. 2010) softens it along the picture's own edges.

    Parameters
    ----------
    portrait
        (H, W, 3) RGB `uint8`.
    landmarks
        The 68 points, in pixels of `portrait`.
    backdrop
        (H, W) float32, above 0.5 where somebody has looked and seen backdrop; optional.

    Returns
    -------
    (H, W) float32 in [0, 1]
    """
    scale = _GRAB_WIDTH_PX / portrait.shape[1]
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    labels = _seed(small.shape[:2], {name: points * scale for name, points in landmarks.items()})
    if backdrop is not None:
        labels[cv2.resize(backdrop, small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # grabCut's clustering draws from OpenCV's generator
    behind, before = np.zeros((1, 65)), np.zeros((1, 65))  # models of the colours: scratch
    cv2.grabCut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), labels, (0, 0, 1, 1), behind, before, 4, cv2.GC_INIT_WITH_MASK)
    inside = cv2.GaussianBlur(_largest_part((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)), (0, 0), 1.0)
    rough = np.asarray(cv2.resize(inside, portrait.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    guide = np.asarray(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)
    soft = _guided(guide, rough, radius_px=max(2, round(portrait.shape[1] / 130)), evenness=2e-4)
    return np.asarray(np.clip((soft - 0.08) / 0.84, 0, 1), np.float32)


def find_skin(linear: Map, matte: Map, landmarks: Landmarks) -> Map:
    """Return how likely each pixel is skin, judged by the colour of this very face.

    Parameters
    ----------
    linear
        (H, W, 3) float32 in linear light.
    matte, landmarks
        Of the same picture.

    Returns
    -------
    (H, W) float32 in [0, 1]
    """
    step = max(1, linear.shape[1] // 390)
    small = cv2.resize(linear, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    logs = np.log(small + 0.01)
    features = np.stack([logs[..., 0] - logs[..., 1], logs[..., 1] - logs[..., 2], 0.5 * logs.mean(axis=2)], axis=2)
    hull = np.zeros(small.shape[:2], np.uint8)
    cheeks = np.concatenate([landmarks["chin"][1:16], landmarks["nose_bridge"][:1]]) / step
    cv2.fillConvexPoly(hull, cv2.convexHull(cheeks.round().astype(np.int32)), 1)
    sample = features[hull > 0]
    centre = np.median(sample, axis=0)
    spread = 1.5 * np.median(np.abs(sample - centre), axis=0) + (0.05, 0.05, 0.15)
    distance = (((features - centre) / spread) ** 2).sum(axis=2)
    likely = cv2.GaussianBlur(np.exp(-distance / 12).astype(np.float32), (0, 0), 1.5)
    reach = _near_face(small.shape[:2], {name: points / step for name, points in landmarks.items()})
    full = cv2.resize(likely * reach, linear.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(1.4 * full, 0, 1) * matte, np.float32)


def face_width(landmarks: Landmarks) -> float:
    """Return the distance between the two ends of the jaw, the unit of everything about a head."""
    return float(np.hypot(*(landmarks["chin"][16] - landmarks["chin"][0])))


def _seed(shape: tuple[int, ...], landmarks: Landmarks) -> NDArray[np.uint8]:
    labels = np.full(shape, cv2.GC_PR_BGD, np.uint8)
    width = face_width(landmarks)
    brow = (landmarks["left_eyebrow"].mean(axis=0) + landmarks["right_eyebrow"].mean(axis=0)) / 2
    chin = landmarks["chin"][8]
    middle = (landmarks["chin"][0] + landmarks["chin"][16]) / 2
    angle = float(np.degrees(np.arctan2(*(landmarks["chin"][16] - landmarks["chin"][0])[::-1])))

    def ellipse(centre: NDArray[np.float64], half_width: float, half_height: float, label: int) -> None:
        axes = (round(half_width * width), round(half_height * width))
        cv2.ellipse(labels, tuple(int(v) for v in centre.round()), axes, angle, 0, 360, label, -1)

    ellipse((middle + brow) / 2, 0.85, 1.05, cv2.GC_PR_FGD)
    shoulders = np.array([(-0.45, 0.0), (0.45, 0.0), (1.5, 0.75), (1.6, 9.0), (-1.6, 9.0), (-1.5, 0.75)]) * width + chin
    cv2.fillPoly(labels, [shoulders.round().astype(np.int32)], cv2.GC_PR_FGD)
    torso = np.array([(-0.28, -0.1), (0.28, -0.1), (0.85, 0.75), (0.95, 9.0), (-0.95, 9.0), (-0.85, 0.75)]) * width + chin
    cv2.fillPoly(labels, [torso.round().astype(np.int32)], cv2.GC_FGD)
    ellipse((middle + brow) / 2 + (chin - brow) * 0.05, 0.46, 0.6, cv2.GC_FGD)
    face = np.concatenate([landmarks["chin"], landmarks["left_eyebrow"], landmarks["right_eyebrow"]])
    cv2.fillConvexPoly(labels, cv2.convexHull(face.round().astype(np.int32)), cv2.GC_FGD)
    above = max(0, round(float(chin[1])))
    edge = max(1, shape[1] // 60)
    labels[: max(1, round(float(brow[1] - 1.3 * width)))] = cv2.GC_BGD
    labels[: round(above * 0.8), :edge] = labels[: round(above * 0.8), -edge:] = cv2.GC_BGD
    return labels


def _near_face(shape: tuple[int, ...], landmarks: Landmarks) -> Map:
    """Return 1 on the face, the ears and below (neck, shoulders), fading to 0 towards the hair."""
    width = face_width(landmarks)
    x, y = (landmarks["chin"].mean(axis=0) + landmarks["nose_bridge"].mean(axis=0)) / 2
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    above = np.hypot((columns - x) / (0.62 * width), (rows - y) / (0.78 * width))
    below = np.hypot((columns - x) / (0.8 * width), (rows - y) / (1.4 * width))
    lower = np.clip((rows - landmarks["chin"][4, 1]) / (0.1 * width), 0, 1)
    return np.asarray(np.clip((1.0 - (above + lower * (below - above))) / 0.15, 0, 1), np.float32)


def _largest_part(inside: NDArray[np.bool_]) -> Map:
    """Keep the largest connected part, without its slender outgrowths, with its holes filled."""
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    trimmed = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, brush)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(trimmed)
    part = (labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(inside.shape, np.float32), contours, -1, (1.0,), -1), np.float32)


def _guided(guide: Map, rough: Map, radius_px: int, evenness: float) -> Map:
    size = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(values: Map) -> Map:
        return np.asarray(cv2.blur(values, size), np.float32)

    mean_guide, mean_rough = mean(guide), mean(rough)
    slope = (mean(guide * rough) - mean_guide * mean_rough) / (mean(guide * guide) - mean_guide**2 + evenness)
    return mean(slope) * guide + mean(mean_rough - slope * mean_guide)
