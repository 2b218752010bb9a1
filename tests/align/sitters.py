"""Pairs made from the two portraits that ship in our dependencies, with the true map known by construction."""

import functools
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import skimage.data

from deepflash.pairs import Face
from deepflash.pictures import Picture, encode, read_rgb

_HEADS = {"astronaut": (112, 20, 224), "hopper": (110, 60, 300)}  # left, top, width of a 3:4 crop
_EYES = {"astronaut": ((203.5, 102), (246.5, 104.5)), "hopper": ((216, 196), (302, 196))}  # for tests that need no detector


@functools.cache
def portrait(name: str, width: int) -> Picture:
    """Return head and shoulders of a sitter, 3:4, `width` pixels wide."""
    source = (
        skimage.data.astronaut()
        if name == "astronaut"
        else read_rgb(Path(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))))
    )
    left, top, across = _HEADS[name]
    head = source[top : top + across * 4 // 3, left : left + across]
    return np.asarray(cv2.resize(head, (width, width * 4 // 3), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def motion(seed: int, width: int, height: int) -> np.ndarray:
    """Return a small random affine map about the middle of the picture, in pixels."""
    rng = np.random.default_rng(seed)
    angle, scale, shear = np.radians(rng.uniform(-4, 4)), rng.uniform(0.97, 1.03), rng.uniform(-0.02, 0.02)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    middle = np.array([width - 1, height - 1]) / 2
    return np.column_stack([linear, middle + rng.uniform(-0.03, 0.03, 2) * width - linear @ middle])


def moved(picture: Picture, affine: np.ndarray) -> Picture:
    """Show at affine(x, y) what was at (x, y)."""
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8)


def in_flash_light(picture: Picture, seed: int) -> Picture:
    """Light a portrait anew: other shading and fall-off, a highlight, colder, another tone curve, noise."""
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / width
    shading = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), width / 20)
    light = picture.astype(np.float32) / 255 * np.exp(0.3 * shading / shading.std())[:, :, None]
    light *= (1.2 / (1 + 3 * ((x - 0.5) ** 2 + (y - 0.6) ** 2)))[:, :, None] * np.array([0.8, 1.0, 1.1], np.float32)
    light += 0.4 * np.exp(-((x - 0.5) ** 2 + (y - 0.45) ** 2) / 0.001)[:, :, None]
    light = np.clip(light, 0, 1) ** 0.7 + rng.normal(0, 0.01, light.shape)
    return np.asarray(np.clip(light * 255, 0, 255), dtype=np.uint8)


def pair_of(name: str, seed: int, width: int) -> tuple[Picture, Picture, np.ndarray]:
    """Return flash and studio picture of a sitter who moved, and the true map from flash to studio pixels."""
    picture = portrait(name, width)
    truth = motion(seed, picture.shape[1], picture.shape[0])
    return in_flash_light(picture, seed), moved(picture, truth), truth


def face_of(name: str, width: int) -> Face:
    """Return where the face of `portrait(name, width)` is."""
    left, top, across = _HEADS[name]
    scale = width / across
    (x0, y0), (x1, y1) = (((x - left + 0.5) * scale - 0.5, (y - top + 0.5) * scale - 0.5) for x, y in _EYES[name])
    apart = x1 - x0
    box = ((x0 + x1) / 2 - apart, (y0 + y1) / 2 - 0.6 * apart, (x0 + x1) / 2 + apart, (y0 + y1) / 2 + 1.4 * apart)
    eyes = {"left_eye": [(x0 - 10, y0), (x0 + 10, y0)], "right_eye": [(x1 + 10, y1), (x1 - 10, y1)]}
    return Face(box, {"nose_tip": [((x0 + x1) / 2, y0 + 0.7 * apart)], **eyes})


def mean_error(found: np.ndarray, truth: np.ndarray, face: Face) -> float:
    """Return the mean distance of two maps over the face, in pixels."""
    left, top, right, bottom = face.box
    u, v = np.meshgrid(np.linspace(left, right, 9), np.linspace(top, bottom, 9))
    points = np.column_stack([u.ravel(), v.ravel(), np.ones(u.size)])
    return float(np.linalg.norm(points @ (np.asarray(found) - truth).T, axis=1).mean())


def write_pair(folder: Path, pair_id: str, name: str, seed: int, width: int = 390) -> np.ndarray:
    """Write a pair by file name; return the true map."""
    flash, studio, truth = pair_of(name, seed, width)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{pair_id}_flash.jpg").write_bytes(encode(flash, ".jpg"))
    (folder / f"{pair_id}_studio.jpg").write_bytes(encode(studio, ".jpg"))
    return truth
