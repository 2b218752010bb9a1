"""What a sitter looks like under the studio lamps, and under the phone's flash alone.

The lamps: the portrait as it is, in warm light. The flash: a small lamp beside the lens, at arm's length.
The portrait's own shading is estimated and mostly taken away; a smooth head fitted to the landmarks gives
depth and normals; the light follows from Lambert's cosine, the inverse square of the distance, a
Blinn-Phong lobe where skin is oily, and the cast shadow on the backdrop; pupils return it red.

Radiances are in linear light, 1 being what saturates the sensor; more is clipped later, by the sensor.
Lengths are in face widths (the distance between the jaw's ends, about 14 cm).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.hardware.emulator.head import COARSE, LUMINANCE, Spot, around, bumps, coarse, find_pupils, head_depth, polygon
from deepflash.hardware.emulator.matting import Map, face_width
from deepflash.hardware.emulator.sitters import Sitter

_CAMERA_TO_FACE = 3.0  # 42 cm: a selfie
_CAMERA_TO_BACKDROP = 12.5
# Colours of the two lights as the camera renders them on grey, fitted by eye to the eight real pairs.
_LAMPS = np.array([1.0, 0.56, 0.37], np.float32)
_FLASH = np.array([0.80, 1.08, 1.07], np.float32)
# Linear r:g:b of skin in those pairs. Portraits come with any white balance: each is brought half-way here.
_SKIN_UNDER_LAMPS = np.array([1.0, 0.30, 0.15], np.float32)
_SKIN_UNDER_FLASH = np.array([1.0, 0.87, 0.62], np.float32)
_LAMPS_ON_SKIN = 0.50  # radiance of the red channel at the median of the face
_FLASH_ON_SKIN = 0.55  # of luminance


@dataclass(frozen=True, eq=False)
class Relit:
    """A sitter's radiance under each light at full strength; add them in any proportion.

    Attributes
    ----------
    lamps, flash
        (H, W, 3) float32: the person, on the sitter's canvas.
    lamps_backdrop, flash_backdrop
        (h, w, 3) float32: what is behind, on a coarser canvas.
    shadow
        (h, w) float32: the part of the flash's light that the person keeps from the backdrop.
    """

    lamps: Map
    flash: Map
    lamps_backdrop: Map
    flash_backdrop: Map
    shadow: Map


def relight(sitter: Sitter) -> Relit:
    """Light a sitter by the studio lamps, and by the flash.

    What differs from person to person (how oily the skin, how red the pupils, on which side the shadow
    falls) follows from the sitter's seed.
    """
    rng = np.random.default_rng([sitter.seed, 1])
    flash_at = np.array([rng.choice((-1, 1)) * rng.uniform(0.05, 0.09), -rng.uniform(0.01, 0.05)])
    lamps, lamps_backdrop = _under_lamps(sitter)
    flash, flash_backdrop = _under_flash(sitter, flash_at, rng)
    return Relit(lamps, flash, lamps_backdrop, flash_backdrop, _shadow(sitter, flash_at))


def _under_lamps(sitter: Sitter) -> tuple[Map, Map]:
    """Light the person and the backdrop by the lamps."""
    lamps = _balanced(_LAMPS, sitter, _SKIN_UNDER_LAMPS)
    skin = np.median(sitter.colour[_cheeks(sitter)] * lamps, axis=0)
    exposure = np.float32((_LAMPS_ON_SKIN / max(float(skin[0]), 0.02)) ** 0.7)  # a camera meters, but not fully
    return sitter.colour * (lamps * exposure), coarse(sitter.backdrop) * (lamps * exposure * np.float32(0.75))


def _under_flash(sitter: Sitter, flash_at: NDArray[np.float64], rng: np.random.Generator) -> tuple[Map, Map]:
    """Light the person and the backdrop by the flash."""
    light, lobe, fall = _light_on(head_depth(sitter), flash_at * face_width(sitter.landmarks) / COARSE, sitter, rng)
    shape = sitter.matte.shape[::-1]
    albedo = _flattened(sitter)
    grey = (albedo @ LUMINANCE)[..., None]
    albedo += np.float32(0.12) * (grey - albedo)
    colour = _balanced(_FLASH, sitter, _SKIN_UNDER_FLASH)
    diffuse = albedo * (cv2.resize(light, shape)[..., None] * colour)
    skin = float(np.median(diffuse[_cheeks(sitter)] @ LUMINANCE))
    exposure = np.float32((_FLASH_ON_SKIN * rng.uniform(0.8, 1.3) / max(skin, 0.02)) ** 0.75)
    flash = diffuse * exposure + (cv2.resize(lobe, shape) * _pores(sitter, rng))[..., None] * _FLASH
    flash += np.array([0.001, 0.005, 0.005], np.float32)  # light strayed within the lens
    _redden_pupils(flash, sitter, rng)
    return flash, coarse(sitter.backdrop) * (fall[..., None] * colour * np.array([0.75, 1, 1.05], np.float32) * exposure)


def _balanced(light: Map, sitter: Sitter, wanted: Map) -> Map:
    """Tint a light so that this sitter's skin comes half-way to what is wanted, at the same luminance."""
    skin = np.median(sitter.colour[_cheeks(sitter)], axis=0) * light + 1e-3
    gain = np.sqrt((wanted / wanted[0]) / (skin / skin[0]))
    balanced = light * gain
    return np.asarray(balanced * ((light @ LUMINANCE) / (balanced @ LUMINANCE)), np.float32)


def _light_on(depth: Map, flash_px: NDArray[np.float64], sitter: Sitter, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Trace the flash: its light on the person (cosine and distance), the specular lobe, its light on the backdrop."""
    width = face_width(sitter.landmarks) / COARSE
    middle = sitter.landmarks["nose_bridge"].mean(axis=0) / COARSE
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]].astype(np.float32)
    front = float(np.percentile(depth, 99.5))
    normal = _normals(depth)
    place = np.stack([columns - middle[0], rows - middle[1], depth - front - _CAMERA_TO_FACE * width], axis=2)
    to_flash = np.append(flash_px, 0).astype(np.float32) - place
    fall = (_CAMERA_TO_FACE * width) ** 2 / (to_flash**2).sum(axis=2)
    to_flash = _unit(to_flash)
    cosine = np.clip((normal * to_flash).sum(axis=2), 0, 1)
    half = _unit(to_flash - _unit(place))  # half-way between the directions to the flash and to the camera
    shine = np.clip((normal * half).sum(axis=2), 0, 1) ** np.float32(rng.uniform(14, 30))
    lobe = (shine + np.float32(0.15) * shine ** np.float32(0.25)) * fall * _oil(sitter, rng)
    far = np.hypot((columns - middle[0]) / width, (rows - middle[1]) / width) / _CAMERA_TO_BACKDROP
    behind = (_CAMERA_TO_FACE / _CAMERA_TO_BACKDROP) ** 2 / (1 + far**2) ** 2
    diffuse = (0.22 + 0.78 * cosine) * fall  # skin is rougher than Lambert's law has it
    return diffuse.astype(np.float32), lobe.astype(np.float32), behind.astype(np.float32)


def _normals(depth: Map) -> Map:
    slope_x, slope_y = (cv2.Sobel(depth, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    return _unit(np.stack([-slope_x, -slope_y, np.ones_like(depth)], axis=2))


def _unit(vectors: Map) -> Map:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True), np.float32)


def _flattened(sitter: Sitter) -> Map:
    """Take most of the portrait's own shading out of the colours, where there is skin to judge it by."""
    width = face_width(sitter.landmarks) / COARSE
    logs, skin = np.log(coarse(sitter.colour) @ LUMINANCE + 0.02), coarse(sitter.skin) ** 2 + 1e-4
    level = float(np.average(logs, weights=skin))
    broad = cv2.GaussianBlur(logs * skin, (0, 0), 0.16 * width) / cv2.GaussianBlur(skin, (0, 0), 0.16 * width)
    fine = cv2.GaussianBlur(logs * skin, (0, 0), 0.05 * width) / cv2.GaussianBlur(skin, (0, 0), 0.05 * width)
    excess = 0.65 * (broad - level) + 0.3 * (fine - broad)
    gain = np.exp(-np.clip(excess, -0.9, 0.9) * np.clip(1.3 * coarse(sitter.skin), 0, 1))
    gain *= 1 + 0.35 * (1 - coarse(sitter.skin)) * np.exp(-np.exp(logs) / 0.05)  # flash looks into dark hair and cloth
    return np.asarray(sitter.colour * cv2.resize(gain, sitter.matte.shape[::-1])[..., None], np.float32)


def _oil(sitter: Sitter, rng: np.random.Generator) -> Map:
    """Draw how much of the flash this skin mirrors: most on forehead, nose, cheekbones and chin."""
    at = {name: points / COARSE for name, points in sitter.landmarks.items()}
    skin = coarse(sitter.skin)
    brow = (at["left_eyebrow"].mean(axis=0) + at["right_eyebrow"].mean(axis=0)) / 2
    up = brow - at["chin"][8]
    spots: list[Spot] = [
        (brow + 0.22 * up, 0.24, 1.0),
        (at["nose_bridge"][1], 0.05, 0.7),
        (at["nose_tip"].mean(axis=0) + 0.06 * up, 0.07, 1.0),
        (at["chin"][8] + 0.1 * up, 0.1, 0.5),
    ]
    for eye, corner, side in (("left_eye", 0, 0), ("right_eye", 3, 4)):
        middle = at[eye].mean(axis=0)
        spots.append(((2 * middle + at["nose_tip"][side]) / 3 + 0.6 * (at[eye][corner] - middle), 0.11, 0.8))
    oil = np.float32(0.12) + bumps(skin.shape, spots, face_width(at))
    return np.asarray(oil * skin * rng.uniform(0.16, 0.42), np.float32)


def _pores(sitter: Sitter, rng: np.random.Generator) -> Map:
    """Draw skin's unevenness, at which highlights break up."""
    noise = rng.standard_normal(sitter.matte.shape, dtype=np.float32)
    width = face_width(sitter.landmarks)
    fine, broad = (cv2.GaussianBlur(noise, (0, 0), sigma * width) * sigma * width for sigma in (0.004, 0.015))
    return np.asarray(np.clip(1 + 0.5 * fine + 0.6 * broad, 0, 2.5), np.float32)


def _redden_pupils(flash: Map, sitter: Sitter, rng: np.random.Generator) -> None:
    """Add what the blood-rich retina returns, within the opening of the lids, and the flash mirrored in the cornea."""
    strength = rng.uniform(0.6, 1.1)
    for (centre, iris), name in zip(find_pupils(sitter), ("left_eye", "right_eye"), strict=True):
        part = around(centre, 3 * iris)
        rows, columns = np.mgrid[: flash.shape[0], : flash.shape[1]][:, *part]
        distance = np.hypot(columns - centre[0], rows - centre[1])
        opening = polygon(sitter.landmarks[name], sitter.matte.shape, 0.1 * iris)[part]
        disc = (np.clip((0.6 * iris - distance) / (0.3 * iris) + 0.5, 0, 1) * opening)[..., None].astype(np.float32)
        depth = np.clip(1.15 - distance / (0.9 * iris), 0.3, 1)[..., None].astype(np.float32)
        red = np.array([0.34, 0.03, 0.045], np.float32) * np.float32(strength) * depth
        flash[part] += disc * np.float32(0.9) * (red - flash[part])
        glint = np.exp(-((distance / (0.13 * iris)) ** 2)) * opening
        flash[part] += glint[..., None].astype(np.float32) * np.array([0.8, 1.0, 1.0], np.float32)


def _shadow(sitter: Sitter, flash_at: NDArray[np.float64]) -> Map:
    """Move the silhouette away from the flash by the parallax between face and backdrop, and give it a penumbra."""
    width = face_width(sitter.landmarks) / COARSE
    parallax = (_CAMERA_TO_BACKDROP - _CAMERA_TO_FACE) / _CAMERA_TO_BACKDROP
    shift = np.array([[1, 0, 0], [0, 1, 0]], np.float64)
    shift[:, 2] = -flash_at * width * parallax
    matte = coarse(sitter.matte)
    moved = cv2.warpAffine(matte, shift, matte.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(0.85 * cv2.GaussianBlur(moved, (0, 0), 0.016 * width), np.float32)


def _cheeks(sitter: Sitter) -> NDArray[np.bool_]:
    """Find the skin of the lower face, on which both lights are metered."""
    inside = np.zeros(sitter.matte.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(sitter.landmarks["chin"][2:15].round().astype(np.int32)), 1)
    seen = (inside > 0) & (sitter.skin > 0.5)
    return seen if bool(seen.any()) else inside > 0
