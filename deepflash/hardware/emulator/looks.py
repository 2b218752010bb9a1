"""How one subject differs from another who sits for the same portrait: proportions and colours."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.hardware.emulator.matting import Landmarks, Map, face_width


@dataclass(frozen=True)
class Looks:
    """How a subject differs from the portrait; zeros for the portrait itself. Lengths in face widths."""

    mirrored: bool = False
    wider: float = 0.0
    longer: float = 0.0
    jaw: float = 0.0
    eyes_apart: float = 0.0
    nose_longer: float = 0.0
    mouth_lower: float = 0.0
    skin_dark: float = 0.0
    skin_red: float = 0.0
    hair_light: float = 0.0
    hair_warm: float = 0.0
    clothes_hue: float = 0.0
    clothes_light: float = 0.0
    clothes_dye: tuple[float, float, float] = (0.0, 0.0, 0.0)
    backdrop: tuple[float, float, float] | None = None


def draw_looks(seed: int) -> Looks:
    """Draw a subject's looks: strong enough to pass for another person, mild enough to be believed."""
    rng = np.random.default_rng(seed)

    def either(least: float, most: float) -> float:
        """Draw from both sides of zero, but never so near that nothing shows."""
        return float(rng.choice((-1, 1)) * rng.uniform(least, most))

    paint = rng.dirichlet((2.0, 3.0, 2.0)) * rng.uniform(0.3, 0.9)
    dye = rng.dirichlet((1.0, 1.0, 1.0)) * rng.uniform(0.2, 1.0)
    return Looks(
        mirrored=bool(rng.integers(2)),
        wider=either(0.07, 0.15),
        longer=either(0.04, 0.10),
        jaw=either(0.06, 0.17),
        eyes_apart=either(0.008, 0.022),
        nose_longer=either(0.012, 0.035),
        mouth_lower=either(0.005, 0.02),
        skin_dark=float(rng.uniform(-0.15, 0.95)),
        skin_red=float(rng.uniform(-0.08, 0.08)),
        hair_light=float(rng.choice((-1.8, -1.1, -0.5, 0.5)) * rng.uniform(0.8, 1.2)),
        hair_warm=float(rng.uniform(-0.4, 0.6)),
        clothes_hue=float(rng.uniform(0.6, 2 * np.pi - 0.6)),
        clothes_light=float(rng.uniform(-0.7, 0.5)),
        clothes_dye=(float(dye[0]), float(dye[1]), float(dye[2])),
        backdrop=(float(paint[0]), float(paint[1]), float(paint[2])),
    )


def displacement(points: NDArray[np.float64], at: Landmarks, looks: Looks) -> NDArray[np.float64]:
    """Return where, relative to points of the canvas, the neutral canvas holds what is seen there.

    Parameters
    ----------
    points
        (N, 2) in canvas pixels.
    at
        The landmarks before any change, in canvas pixels.
    looks
        The change.

    Returns
    -------
    (N, 2) float64
        In canvas pixels; a sum of smooth bumps about the landmarks.
    """
    width = face_width(at)
    middle = at["nose_bridge"].mean(axis=0)
    shift = np.zeros_like(points)

    def near(centre: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
        return np.asarray(np.exp(-(((points - centre) / (reach * width)) ** 2).sum(axis=1)))

    shift[:, 0] -= looks.wider * (points[:, 0] - middle[0]) * near(middle, 1.1)
    shift[:, 1] -= looks.longer * (points[:, 1] - middle[1]) * near(middle, 1.1)
    shift[:, 0] -= looks.jaw * (points[:, 0] - at["chin"][8, 0]) * near(at["chin"][8], 0.5)
    for eye in (at["left_eye"].mean(axis=0), at["right_eye"].mean(axis=0)):
        shift[:, 0] -= np.sign(eye[0] - middle[0]) * looks.eyes_apart * width * near(eye, 0.25)
    shift[:, 1] -= looks.nose_longer * width * near(at["nose_tip"].mean(axis=0), 0.22)
    shift[:, 1] -= looks.mouth_lower * width * near(at["top_lip"].mean(axis=0), 0.25)
    return shift


def moved(points: NDArray[np.float64], at: Landmarks, looks: Looks) -> NDArray[np.float64]:
    """Return where neutral points are seen: the displacement's inverse, by fixed-point iteration (it contracts)."""
    seen = points
    for _ in range(12):
        seen = points - displacement(seen, at, looks)
    return seen


def coloured(colour: Map, skin: Map, at: Landmarks, looks: Looks) -> Map:
    """Return a person's colours with other skin, hair and clothes.

    Hair (or a cap) is what is not skin above the chin, clothes what is not skin below; eyes and lips stay.

    Parameters
    ----------
    colour
        (H, W, 3) float32 in linear light.
    skin
        (H, W) float32 in [0, 1].
    at
        The landmarks of this picture.
    looks
        The change; none leaves the colours as they are.
    """
    below = at["chin"][:, 1].max() - 0.1 * face_width(at)
    rows = np.arange(colour.shape[0], dtype=np.float32)
    lower = (1 / (1 + np.exp(-(rows - below) / (0.04 * face_width(at))))).astype(np.float32)[:, None]
    kept = np.ones_like(skin)
    for name in ("left_eye", "right_eye", "top_lip", "bottom_lip"):
        cv2.fillConvexPoly(kept, cv2.convexHull(at[name].round().astype(np.int32)), (0.0,))
    free = np.asarray(cv2.GaussianBlur(kept, (0, 0), 0.012 * face_width(at)), np.float32)
    tone = np.exp(-looks.skin_dark * np.array([0.55, 0.9, 1.15])) * np.exp([looks.skin_red, -looks.skin_red / 2, 0])
    hair = np.exp(looks.hair_light + looks.hair_warm * np.array([0.5, 0.0, -0.6]))
    cloth = np.exp(looks.clothes_light) * np.clip(colour @ _hue_rotation(looks.clothes_hue).T.astype(np.float32), 0, 1)
    cloth += np.sqrt(colour.mean(axis=2, keepdims=True)) * np.array(looks.clothes_dye, np.float32)  # shows on black, too
    upper = colour * (1 + (free * (1 - skin) * (1 - lower))[..., None] * (hair - 1).astype(np.float32))
    upper *= 1 + (free * skin)[..., None] * (tone - 1).astype(np.float32)
    away = (lower * (1 - skin))[..., None]
    return np.asarray((upper + away * (cloth - upper)).clip(0, 1), np.float32)


def repainted(backdrop: Map, paint: tuple[float, float, float]) -> Map:
    """Return a backdrop, (H, W, 3) in linear light, in another colour; some of its unevenness stays."""
    light = backdrop.mean(axis=2, keepdims=True)
    uneven = (0.55 + 0.45 * light / max(float(light.mean()), 0.02)).clip(0, 2)
    return np.asarray((np.array(paint, np.float32) * uneven).clip(0, 1), np.float32)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """Rotate about the grey axis of linear RGB (Rodrigues)."""
    axis = np.full(3, 3**-0.5)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) * np.cos(angle) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis))
