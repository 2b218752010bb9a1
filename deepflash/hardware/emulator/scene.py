"""What the emulated camera sees: a sitter, lamps, a flash, and everything that moves between two shots.

Convention: points are (x, y) in pixels of the picture, (0, 0) being the centre of the top-left pixel. The
neutral frame is the picture in which nothing has moved; `picture_from_head` takes its pixels, where they
show head and shoulders, to the pixels of a shot, `picture_from_backdrop` those of the backdrop.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.hardware.emulator.matting import Landmarks, Map
from deepflash.hardware.emulator.relighting import relight
from deepflash.hardware.emulator.sitters import CANVAS, FRAME, MARGIN, Sitter
from deepflash.pictures import Picture

Affine = NDArray[np.float64]

_BLINKS = 1 / 12  # of all shots; never two in succession
_STRIP_PX = 256  # rows rendered at a time: bounds the memory at 13 megapixels
_ELECTRONS_AT_WHITE = {"lamps": 9000.0, "flash": 2600.0}  # the flash picture is taken at a higher ISO
_READ_NOISE = {"lamps": 0.0008, "flash": 0.0028}  # of white
_VIGNETTING = {"lamps": 0.10, "flash": 0.38}  # light lost at the corners; a flash's beam adds to the lens's
_GRAIN = 0.035  # contrast of skin and cloth finer than the portrait shows
_TILE_PX = 1024


class Scene:
    """One sitter in the studio, photographed shot by shot.

    Parameters
    ----------
    sitter
        Who sits there.
    size
        (width, height) of the pictures in pixels.
    seed
        Decides all motion, blinks and noise: the same sitter, size, seed and shot give the same picture.
    """

    def __init__(self, sitter: Sitter, size: tuple[int, int], seed: int) -> None:
        relit = relight(sitter)
        self._size = size
        self._seed = [seed, sitter.seed]
        self._scale = max(size[0] / FRAME[0], size[1] / FRAME[1])  # picture pixels per canvas pixel
        reduction = min(1.0, self._scale)
        canvas = tuple(max(1, round(side * reduction)) for side in CANVAS)
        self._matte = _resized(sitter.matte, canvas)
        self._lamps, self._flash = _resized(relit.lamps, canvas), _resized(relit.flash, canvas)
        self._lamps_backdrop, self._flash_backdrop, self._shadow = relit.lamps_backdrop, relit.flash_backdrop, relit.shadow
        self._landmarks = {name: _place(points, CANVAS, canvas) for name, points in sitter.landmarks.items()}
        self._grain = _grain_tile(sitter.seed) if self._scale > 1 else None

    def render(self, shot: int, lamp_light: float, flash: bool) -> tuple[Picture, dict[str, Any]]:
        """Take a photograph.

        Parameters
        ----------
        shot
            0, 1, 2, ... in the order of the exposures.
        lamp_light
            The lamps' light during the exposure, relative to full; from `lamps.lamp_light`.
        flash
            Whether the flash fired.

        Returns
        -------
        picture
            (H, W, 3) RGB `uint8`.
        truth
            What cannot be seen in the picture, ready for JSON: shot, size, lamp_light, flash, blink,
            picture_from_head, picture_from_backdrop.
        """
        head, backdrop = _motion(self._seed, shot, self._size)
        blink = _blinks(self._seed, shot)
        truth = {
            "shot": shot,
            "size": list(self._size),
            "lamp_light": float(lamp_light),
            "flash": bool(flash),
            "blink": blink,
            "picture_from_head": head.tolist(),
            "picture_from_backdrop": backdrop.tolist(),
        }
        person = self._person(lamp_light, flash, blink)
        behind = self._behind(lamp_light, flash, head, backdrop)
        rng = np.random.default_rng([*self._seed, shot, 2])
        picture = np.empty((self._size[1], self._size[0], 3), np.uint8)
        light = "flash" if flash else "lamps"
        for top in range(0, self._size[1], _STRIP_PX):
            strip = slice(top, min(top + _STRIP_PX, self._size[1]))
            radiance = self._composed(person, behind, head, backdrop, strip)
            radiance *= _vignette(self._size, strip, _VIGNETTING[light])[..., None]
            picture[strip] = _developed(radiance, light, rng)
        return picture, truth

    def _person(self, lamp_light: float, flash: bool, blink: bool) -> Map:
        """Premultiplied radiance and matte, (H, W, 4)."""
        radiance = self._lamps * np.float32(lamp_light)
        if flash:
            radiance += self._flash
        if blink:
            radiance = _with_closed_eyes(radiance, self._landmarks)
        return np.dstack([radiance * self._matte[..., None], self._matte])

    def _behind(self, lamp_light: float, flash: bool, head: Affine, backdrop: Affine) -> Map:
        radiance = self._lamps_backdrop * np.float32(lamp_light)
        if flash:  # the shadow follows the head, the backdrop the camera
            size = self._shadow.shape[::-1]
            frame = self._frame_from(size)
            canvas_from_head = _inverse(frame) @ _square(_inverse(backdrop)) @ _square(head) @ _square(frame)
            shadow = cv2.warpAffine(self._shadow, canvas_from_head[:2], size, borderMode=cv2.BORDER_REPLICATE)
            radiance += self._flash_backdrop * (1 - shadow)[..., None]
        return radiance

    def _frame_from(self, canvas: tuple[int, ...]) -> Affine:
        """Return the map from a canvas reduced to this size to the pixels of the neutral frame."""
        scale = np.array([CANVAS[0] / canvas[0], CANVAS[1] / canvas[1]]) * self._scale
        shown = np.array(FRAME) * self._scale
        corner = (np.array(self._size) - shown) / 2 - MARGIN * self._scale
        return np.column_stack([np.diag(scale), 0.5 * scale - 0.5 + corner])

    def _composed(self, person: Map, behind: Map, head: Affine, backdrop: Affine, strip: slice) -> Map:
        """Backdrop, and the person over it, for some rows of the picture: one interpolation each."""
        size = (self._size[0], strip.stop - strip.start)
        rows = np.array([[1, 0, 0], [0, 1, strip.start], [0, 0, 1]], np.float64)

        def seen(layer: Map, layer_from_frame: Affine, motion: Affine, sharp: bool) -> Map:
            matrix = (_square(layer_from_frame) @ _square(_inverse(motion)) @ rows)[:2]
            flags = (cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
            return np.asarray(cv2.warpAffine(layer, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)

        front = seen(person, _inverse(self._frame_from(person.shape[1::-1])), head, sharp=True)
        radiance = seen(behind, _inverse(self._frame_from(behind.shape[1::-1])), backdrop, sharp=False)
        radiance *= 1 - front[..., 3:]
        radiance += front[..., :3]
        if self._grain is not None:
            matrix = (_square(_inverse(head)) @ rows)[:2]
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            grain = cv2.warpAffine(self._grain, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)
            radiance *= (1 + grain * (0.25 + 0.75 * front[..., 3]))[..., None]
        return radiance


def true_moving_from_fixed(truth_studio: Mapping[str, Any], truth_flash: Mapping[str, Any]) -> Affine:
    """Return the exact transform of head and shoulders between two shots.

    Parameters
    ----------
    truth_studio, truth_flash
        The truth of the studio (moving) and the flash (fixed) shot, from `Scene.render`.

    Returns
    -------
    (2, 3) float64
        Takes pixels of the flash picture to pixels of the studio picture.
    """
    studio, flash = (np.array(truth["picture_from_head"], np.float64) for truth in (truth_studio, truth_flash))
    return (_square(studio) @ _square(_inverse(flash)))[:2]


def _motion(seed: list[int], shot: int, size: tuple[int, int]) -> tuple[Affine, Affine]:
    """Where a shot shows the head, and the backdrop: a hand that shakes, a head that drifts and sways."""
    slow = np.random.default_rng([*seed, 0])
    period, phase = slow.uniform(13, 29, 3), slow.uniform(0, 2 * np.pi, 3)
    drift = np.sin(2 * np.pi * shot / period + phase) * (0.010, 0.007, np.radians(1.2))  # of the width, and angle
    rng = np.random.default_rng([*seed, shot, 1])

    def swayed(shift: float, angle: float, stretch: float, shear: float) -> Affine:
        dx, dy = rng.uniform(-shift, shift, 2) * size[0]
        turn, scale, slant = rng.uniform(-angle, angle), 1 + rng.uniform(-stretch, stretch), rng.uniform(-shear, shear)
        return _about_middle(size, turn, scale, slant, (dx, dy))

    camera = swayed(0.004, np.radians(0.4), 0.004, 0.0)
    sway = swayed(0.0035, np.radians(0.3), 0.0035, 0.003)
    pose = _about_middle(size, drift[2], 1.0, 0.0, (drift[0] * size[0], drift[1] * size[0]))
    return (_square(camera) @ _square(sway) @ _square(pose))[:2], camera


def _about_middle(size: tuple[int, int], angle: float, scale: float, shear: float, shift: tuple[float, float]) -> Affine:
    middle = (np.array(size) - 1) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    return np.column_stack([linear, middle + shift - linear @ middle])


def _blinks(seed: list[int], shot: int) -> bool:
    def lids_fall(when: int) -> bool:
        return bool(np.random.default_rng([*seed, when, 3]).random() < _BLINKS)

    return lids_fall(shot) and not (shot > 0 and lids_fall(shot - 1))


def _with_closed_eyes(radiance: Map, landmarks: Landmarks) -> Map:
    """Draw the upper lids down: the skin below the brow is stretched over the eye, lashes darken its lower edge."""
    closed = radiance.copy()
    for eye, brow in (("left_eye", "left_eyebrow"), ("right_eye", "right_eyebrow")):
        outer, up1, up2, inner, low2, low1 = landmarks[eye]
        width = float(np.hypot(*(inner - outer)))
        left, right = round(min(outer[0], inner[0]) - 0.2 * width), round(max(outer[0], inner[0]) + 0.2 * width)
        columns = np.arange(left, right + 1, dtype=np.float64)
        upper = np.interp(columns, *_curve([outer, up1, up2, inner]))
        lower = np.interp(columns, *_curve([outer, low1, low2, inner])) + 0.05 * width
        highest = np.maximum(np.interp(columns, *_curve(landmarks[brow])) + 0.12 * width, upper - 0.35 * width)
        start = np.minimum(highest, upper - 0.2 * width)
        rows = np.arange(round(start.min() - 0.2 * width), round(lower.max() + 0.3 * width))[:, None].astype(np.float64)
        along = np.clip((rows - start) / (lower - start), 0, 1.3)
        source = start + along * (upper - 0.1 * width - start)
        sources = np.broadcast_to(columns, source.shape).astype(np.float32), source.astype(np.float32)
        lid = cv2.remap(radiance, *sources, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        taper = np.clip(np.sin(np.pi * (columns - left) / (right - left)) * 2 - 0.3, 0, 1)
        cover = ((rows > start) & (rows < lower)) * taper
        lashes = 0.6 * taper * np.exp(-(((rows - lower + 0.03 * width) / (0.04 * width)) ** 2))
        soft = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 0.035 * width)[..., None]
        part = closed[int(rows[0, 0]) : int(rows[-1, 0]) + 1, left : right + 1]
        part += soft * (lid - part)
        part *= (1 - lashes)[..., None].astype(np.float32)
    return closed


def _curve(points: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    curve = np.array(points, np.float64)
    curve = curve[np.argsort(curve[:, 0])]
    return curve[:, 0], curve[:, 1]


def _vignette(size: tuple[int, int], strip: slice, loss: float) -> Map:
    x = (np.arange(size[0]) - (size[0] - 1) / 2) / size[0]
    y = (np.arange(strip.start, strip.stop) - (size[1] - 1) / 2) / size[0]
    corner = 0.25 + (size[1] / size[0] / 2) ** 2
    radius = (x[None, :] ** 2 + y[:, None] ** 2) / corner
    return np.asarray(1 - loss * radius, np.float32)


def _developed(radiance: Map, light: str, rng: np.random.Generator) -> Picture:
    """Photon and read noise, saturation, and the sRGB curve."""
    noise = rng.standard_normal(radiance.shape, dtype=np.float32)
    noise *= cv2.sqrt(np.maximum(radiance, 0) / _ELECTRONS_AT_WHITE[light] + _READ_NOISE[light] ** 2)
    noise += radiance
    levels = (np.clip(noise, 0, 1) * 65535).astype(np.uint16)
    return _SRGB[levels]


def _srgb_table() -> Picture:
    linear = np.arange(65536) / 65535
    code = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (code * 255).round().astype(np.uint8)


_SRGB = _srgb_table()


def _grain_tile(seed: int) -> Map:
    """Fine texture that belongs to the sitter, periodic, of standard deviation `_GRAIN`."""
    noise = np.random.default_rng([seed, 4]).standard_normal((_TILE_PX, _TILE_PX), dtype=np.float32)
    padded = np.pad(noise, 64, mode="wrap")
    grain = np.zeros_like(padded)
    for sigma, share in ((0.9, 0.7), (2.2, 0.8), (6.0, 0.5)):
        blurred = np.asarray(cv2.GaussianBlur(padded, (0, 0), sigma), np.float32)
        grain += blurred * np.float32(share / blurred.std())
    inner = grain[64:-64, 64:-64]
    return np.asarray(inner * (_GRAIN / inner.std()), np.float32)


def _resized(values: Map, size: tuple[int, ...]) -> Map:
    if size == values.shape[1::-1]:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _place(points: NDArray[np.float64], old: tuple[int, ...], new: tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray((points + 0.5) * np.array(new) / np.array(old) - 0.5)


def _square(affine: Affine) -> Affine:
    return np.vstack([affine[:2], [0, 0, 1]])


def _inverse(affine: Affine) -> Affine:
    return np.asarray(np.linalg.inv(_square(affine))[:2], np.float64)
