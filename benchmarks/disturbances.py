"""What happens to a face between two photographs: other light, a turning head, a speaking mouth, a blink.

A *motion* is a (H, W, 2) `float32` field in pixels: the disturbed picture shows at p what the undisturbed one showed at
p + motion(p). Lengths that people would want to compare are in pixels of a photograph 3120 px wide.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from truth import REFERENCE_WIDTH

from deepflash.affine import Affine, Points, apply
from deepflash.faces import find_faces, subject_face
from deepflash.pairs import Face
from deepflash.pictures import Picture

Motion = NDArray[np.float32]

_HEAD = (0.75, 0.95)  # half axes of a head across and down, in widths and heights of the detector's box
_TURN_DEG = (5.0, 10.0)
_NOD_DEG = 3.0
_OPENING = (0.08, 0.14)  # of the face's height that the chin goes down


def random_affine(rng: np.random.Generator, width: int, height: int) -> Affine:
    """Return a motion of head and hand, about the middle of the picture, in pixels."""
    angle, scale, shear = np.radians(rng.uniform(-4, 4)), rng.uniform(0.97, 1.03), rng.uniform(-0.02, 0.02)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    middle = np.array([width - 1, height - 1]) / 2
    return np.column_stack([linear, middle + rng.uniform(-0.03, 0.03, 2) * width - linear @ middle])


def warped(picture: Picture, affine: Affine) -> Picture:
    """Move what is at (x, y) to affine(x, y)."""
    size = (picture.shape[1], picture.shape[0])
    moved = cv2.warpAffine(picture, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def displaced(picture: Picture, motion: Motion) -> Picture:
    """Show at p what was at p + motion(p)."""
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(picture, x + motion[..., 0], y + motion[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def affine_part(motion: Motion, points: Points) -> tuple[Affine, float]:
    """Return the affine map closest to p -> p + motion(p) over (n, 2) points, and the mean distance left, in pixels."""
    columns, rows = points.astype(int).T
    targets = points + motion[rows, columns]
    design = np.column_stack([points, np.ones(len(points))])
    affine = np.linalg.lstsq(design, targets, rcond=None)[0].T
    return affine, float(np.linalg.norm(apply(affine, points) - targets, axis=1).mean())


def wobble(shape: tuple[int, int], points: Points, rng: np.random.Generator) -> Motion:
    """Return a smooth motion of 3 px (of 3120) root mean square on the points, without an affine part there."""
    height, width = shape
    design = np.column_stack([points, np.ones(len(points))])
    columns, rows = points.astype(int).T
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    fields = []
    for _ in range(2):
        noise = cv2.resize(rng.standard_normal((height // 16, width // 16)).astype(np.float32), (width, height))
        field = cv2.GaussianBlur(noise, (0, 0), width / 16)
        on_face = field[rows, columns]
        across, down, shift = np.linalg.lstsq(design, on_face, rcond=None)[0]
        rest = float((on_face - design @ [across, down, shift]).std())
        fields.append((field - (across * x + down * y + shift)) * (3 / np.sqrt(2) * width / REFERENCE_WIDTH / rest))
    return np.dstack(fields).astype(np.float32)


def head_turn(shape: tuple[int, int], face: Face, rng: np.random.Generator) -> Motion:
    """Turn the head by 5 to 10 degrees and nod by up to 3, as an ellipsoid: the nose goes farther than the ears."""
    turn = np.radians(rng.uniform(*_TURN_DEG)) * rng.choice([-1, 1])
    nod = np.radians(rng.uniform(-_NOD_DEG, _NOD_DEG))
    _, (half_x, _) = _head(face)
    u, v = _face_coordinates(shape, face)
    depth = half_x * np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
    depth = cv2.GaussianBlur(depth.astype(np.float32), (0, 0), half_x / 12)  # no fold at the rim
    return -np.dstack([np.sin(turn) * depth, np.sin(nod) * depth]).astype(np.float32)


def opened_mouth(shape: tuple[int, int], face: Face, rng: np.random.Generator) -> Motion:
    """Let all below the line of the lips go down by 8 to 14 % of the face's height; `face` has the 68 landmarks."""
    opening = rng.uniform(*_OPENING) * (face.box[3] - face.box[1])
    lips = np.concatenate([face.landmarks["top_lip"], face.landmarks["bottom_lip"]])
    u, v = _face_coordinates(shape, face)
    inside = np.exp(-(np.clip(np.hypot(u, v) - 0.75, 0, None) ** 2) / 0.03)
    below = np.arange(shape[0], dtype=np.float32) - lips[:, 1].mean()
    motion = np.zeros((*shape, 2), np.float32)
    motion[..., 1] = -np.clip(below, 0, opening)[:, None] * inside
    return motion


def with_closed_eyes(picture: Picture, face: Face) -> Picture:
    """Continue the skin around both eyes over them, with a line of lashes below; `face` has the 68 landmarks."""
    closed = picture.copy()
    for side in ("left", "right"):
        _close_eye(closed, np.array(face.landmarks[f"{side}_eye"]))
    return closed


def in_flash_light(portrait: Picture, rng: np.random.Generator, *, blinks: bool = True) -> Picture:
    """Render a portrait as a flash might: other shading, fall-off, highlights, colour, tone, a blink (half of them), noise."""
    height, width = portrait.shape[:2]
    light = portrait.astype(np.float32) / 255
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    shading = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), width / 25)
    light *= np.exp(0.35 * shading / shading.std())[:, :, None]
    light *= (1.2 / (1 + ((x / width - 0.5) ** 2 + (y / height - 0.45) ** 2) * 4))[:, :, None]
    for _ in range(5):
        u, v, spread = rng.uniform(0.35, 0.65) * width, rng.uniform(0.3, 0.7) * height, rng.uniform(0.01, 0.03) * width
        light += 0.4 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * spread**2))[:, :, None]
    light *= np.array([0.85, 1.0, 1.1], np.float32)
    light = np.clip(light, 0, 1) ** rng.uniform(0.6, 1.5) + rng.normal(0, 0.015, light.shape)
    face = subject_face(find_faces(portrait), width, height)
    if face and rng.random() < 0.5 and blinks:
        _blur_eye(light, face.landmarks["left_eye"])
        _blur_eye(light, face.landmarks["right_eye"])
    return np.asarray(np.clip(light * 255, 0, 255), dtype=np.uint8)


def shadowed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cast a shadow with a sharp edge on each side of the face."""
    height, width = picture.shape[:2]
    shadow = np.ones((height, width), np.float32)
    for side in (0.36, 0.64):
        x, tilt = (side + rng.uniform(-0.05, 0.05)) * width, rng.uniform(-0.1, 0.1) * width
        corners = np.array([[x, 0], [x + tilt, height], [x + tilt + 0.08 * width, height], [x + 0.08 * width, 0]])
        cv2.fillPoly(shadow, [corners.astype(np.int32)], 0.55)
    shadow = cv2.GaussianBlur(shadow, (0, 0), width / 500)
    return np.asarray(picture * shadow[:, :, None], dtype=np.uint8)


def _head(face: Face) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the centre and the half axes of the head."""
    left, top, right, bottom = face.box
    return ((left + right) / 2, (top + bottom) / 2), (_HEAD[0] * (right - left), _HEAD[1] * (bottom - top))


def _face_coordinates(shape: tuple[int, int], face: Face) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each pixel lies on the head: 0 in its middle, 1 at its rim, across and down."""
    (x, y), (half_x, half_y) = _head(face)
    across = (np.arange(shape[1], dtype=np.float32) - x) / half_x
    down = (np.arange(shape[0], dtype=np.float32) - y) / half_y
    u, v = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    return u, v


def _close_eye(picture: Picture, eye: Points) -> None:
    """Close one eye in place, given its six landmarks: a corner, two above, the other corner, two below."""
    along = eye[3] - eye[0]
    width = float(np.hypot(*along))
    left, top = (eye.min(axis=0) - 0.6 * width).astype(int)
    right, bottom = (eye.max(axis=0) + 0.6 * width).astype(int)
    part = picture[top:bottom, left:right]
    small = 64 / part.shape[1]  # skin is smooth, and inpainting slow
    centre = small * (eye.mean(axis=0) - (left, top))
    mask = np.zeros((round(part.shape[0] * small), 64), np.uint8)
    axes = (small * 0.62 * width, small * 0.36 * width)
    cv2.ellipse(mask, (tuple(centre), tuple(2 * half for half in axes), float(np.degrees(np.arctan2(*along[::-1])))), 255, -1)
    reduced = cv2.resize(part, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    skin = cv2.resize(cv2.inpaint(reduced, mask, 5, cv2.INPAINT_TELEA), part.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    lashes = np.ones(part.shape[:2], np.float32)
    lids = (eye[[0, 5, 4, 3]] - (left, top)).round().astype(np.int32)
    cv2.polylines(lashes, [lids], False, 0.45, max(2, round(0.05 * width)))
    lashes = cv2.GaussianBlur(lashes, (0, 0), 0.02 * width)
    cover = cv2.resize(cv2.GaussianBlur(mask, (0, 0), 2), part.shape[1::-1])[..., None] / 255
    part[:] = (part * (1 - cover) + skin * lashes[..., None] * cover).round()


def _blur_eye(light: NDArray[np.float32], eye: list[tuple[float, float]]) -> None:
    (x0, y0), (x1, y1) = eye
    reach = 0.7 * abs(x1 - x0)
    rows = slice(int(min(y0, y1) - 0.6 * reach), int(max(y0, y1) + 0.6 * reach))
    columns = slice(int((x0 + x1) / 2 - reach), int((x0 + x1) / 2 + reach))
    light[rows, columns] = cv2.GaussianBlur(light[rows, columns], (0, 0), reach / 3)
