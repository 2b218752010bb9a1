"""Pairs of photographs whose true map is known: the cases of the benchmarks of `align`.

Benches:

- `relit`: a portrait rendered twice, in studio-like and in flash-like light, one side warped by a random affine map;
  the truth is exact.
- `hard`: the same with cast shadows and a smooth motion of 3 px that no affine map can undo; the truth is the affine
  map that is left when the affine part of that motion is taken away.
- `real`: real pairs of flash and studio portraits, the studio side warped by a random affine map; the truth is that
  map composed with a consensus of small patches matched on the original pair at full size, good to 1 to 1.5 px.
  Pairs whose patches disagree (the head turned) are left out, by name.
- `emulated`: flash and studio photograph by the emulated studio; exact.
- `static`: a fixed camera, direct against bounced flash, one side warped; exact but for the tripod.
- `infrared`: colour against near infrared with the map that comes with the data; exact.

Random maps: translation to 3 % of the width, rotation to 4 degrees, scale 0.97 to 1.03, shear to 0.02.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import IDENTITY, Affine, apply, compose
from deepflash.faces import find_faces, subject_face
from deepflash.hardware.emulator.scene import Scene, true_moving_from_fixed
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.pairs import Face
from deepflash.pictures import Picture, read_rgb

BENCHES = ["relit", "hard", "real", "emulated", "static", "infrared"]
REFERENCE_WIDTH = 3120
EMULATED_SIZE = (1560, 2080)
MAX_CONSENSUS_RESIDUAL = 6.0 / REFERENCE_WIDTH
MIN_PATCHES = 60


@dataclass(frozen=True)
class Case:
    """A pair of pictures with the true map between their pixels.

    Attributes
    ----------
    bench, name
        Together unlike those of any other case of one seed.
    flash, studio
        (H, W, 3) RGB `uint8`.
    truth
        (2, 3) map from the pixels of `flash` to those of `studio`.
    """

    bench: str
    name: str
    flash: Picture
    studio: Picture
    truth: Affine


def cases(data: Path, repeats: int, benches: list[str], *, seed: int = 0) -> Iterator[Case]:
    """Yield the cases of the chosen benches; the same ones for the same seed, which chooses all that is random.

    Parameters
    ----------
    data
        A folder with `pairs/{deepflash,static,known_affine}/`.
    repeats
        Random maps per picture.
    """
    makers = {
        "relit": relit_cases,
        "hard": hard_cases,
        "real": real_cases,
        "emulated": emulated_cases,
        "static": static_cases,
        "infrared": infrared_cases,
    }
    for bench in benches:
        yield from makers[bench](data / "pairs", repeats, seed)


def relit_cases(pairs: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Render each real studio portrait in two lights."""
    for path in sorted((pairs / "deepflash").glob("*_studio.jpg")):
        portrait = read_rgb(path)
        for repeat in range(repeats):
            rng = np.random.default_rng([int(path.name[:2]), repeat, seed])
            truth = random_affine(rng, portrait.shape[1], portrait.shape[0])
            yield Case("relit", f"{path.name[:2]}.{repeat}", in_flash_light(portrait, rng), warped(portrait, truth), truth)


def hard_cases(pairs: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Render each real studio portrait in two lights while the face moves."""
    for case in relit_cases(pairs, repeats, seed):
        rng = np.random.default_rng([*case.name.encode(), seed])
        height, width = case.flash.shape[:2]
        face = subject_face(find_faces(case.flash), width, height)
        yield Case("hard", case.name, _distorted(_shadowed(case.flash, rng), face, rng), case.studio, case.truth)


def real_cases(pairs: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Warp the studio side of each real pair."""
    for path in sorted((pairs / "deepflash").glob("*_flash.jpg")):
        flash, studio = read_rgb(path), read_rgb(path.with_name(path.name.replace("flash", "studio")))
        base, residual = patch_consensus(flash, studio)
        if residual > MAX_CONSENSUS_RESIDUAL:
            print(f"real     {path.name[:2]} left out: its patches disagree by {residual * REFERENCE_WIDTH:.1f} px")
            continue
        yield from _warped_cases("real", path.name[:2], flash, studio, base, repeats, seed)


def emulated_cases(_pairs: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Photograph the built-in sitters in the emulated studio."""
    for number in range(1, 2 * repeats + 1):
        scene = Scene(load_sitter(SitterChoice(f"S{number:03d}")), EMULATED_SIZE, seed=number + 1000 * seed)
        studio, studio_truth = scene.render(0, 1.0, flash=False)
        flash, flash_truth = scene.render(1, 0.02, flash=True)
        truth = np.asarray(true_moving_from_fixed(studio_truth, flash_truth), dtype=np.float64)
        yield Case("emulated", f"S{number:03d}", flash, studio, truth)


def static_cases(pairs: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Warp one side of scenes taken with a fixed camera."""
    for path in sorted((pairs / "static").glob("*_flash.jpg")):
        flash, studio = read_rgb(path), read_rgb(path.with_name(path.name.replace("flash", "studio")))
        yield from _warped_cases("static", path.name[:1], flash, studio, IDENTITY, repeats, seed)


def infrared_cases(pairs: Path, _repeats: int, _seed: int) -> Iterator[Case]:
    """Read the scenes that come with a known map."""
    for path in sorted((pairs / "known_affine").glob("*_affine.json")):
        truth = np.array(json.loads(path.read_text())["fixed_to_moving"])
        fixed, moving = (read_rgb(path.with_name(f"{path.name[:2]}_{side}.jpg")) for side in ("fixed", "moving"))
        yield Case("infrared", path.name[:2], fixed, moving, truth)


def _warped_cases(
    bench: str, name: str, flash: Picture, studio: Picture, base: Affine, repeats: int, seed: int
) -> Iterator[Case]:
    for repeat in range(repeats):
        rng = np.random.default_rng([int(name), repeat, seed])
        motion = random_affine(rng, flash.shape[1], flash.shape[0])
        yield Case(bench, f"{name}.{repeat}", flash, warped(studio, motion), compose(motion, base))


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


def in_flash_light(portrait: Picture, rng: np.random.Generator) -> Picture:
    """Render a portrait as a flash might: other shading, fall-off, highlights, colour, tone, a blink, noise."""
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
    if face and rng.random() < 0.5:
        _close(light, face.landmarks["left_eye"])
        _close(light, face.landmarks["right_eye"])
    return np.asarray(np.clip(light * 255, 0, 255), dtype=np.uint8)


def _shadowed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cast a shadow with a sharp edge on each side of the face."""
    height, width = picture.shape[:2]
    shadow = np.ones((height, width), np.float32)
    for side in (0.36, 0.64):
        x, tilt = (side + rng.uniform(-0.05, 0.05)) * width, rng.uniform(-0.1, 0.1) * width
        corners = np.array([[x, 0], [x + tilt, height], [x + tilt + 0.08 * width, height], [x + 0.08 * width, 0]])
        cv2.fillPoly(shadow, [corners.astype(np.int32)], 0.55)
    shadow = cv2.GaussianBlur(shadow, (0, 0), width / 500)
    return np.asarray(picture * shadow[:, :, None], dtype=np.uint8)


def _distorted(picture: Picture, face: Face | None, rng: np.random.Generator) -> Picture:
    """Move the face smoothly by 3 px (of 3120) root mean square, without an affine part on the face."""
    height, width = picture.shape[:2]
    points = grid(face, width, height)
    design = np.column_stack([points, np.ones(len(points))])
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    maps = []
    for at in (x, y):
        noise = cv2.resize(rng.standard_normal((height // 16, width // 16)).astype(np.float32), (width, height))
        field = cv2.GaussianBlur(noise, (0, 0), width / 16)
        on_face = field[points[:, 1].astype(int), points[:, 0].astype(int)]
        across, down, shift = np.linalg.lstsq(design, on_face, rcond=None)[0]
        rest = float((on_face - design @ [across, down, shift]).std())
        motion = (field - (across * x + down * y + shift)) * (3 / np.sqrt(2) * width / REFERENCE_WIDTH / rest)
        maps.append((at + motion).astype(np.float32))
    moved = cv2.remap(picture, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def _close(light: NDArray[np.float32], eye: list[tuple[float, float]]) -> None:
    (x0, y0), (x1, y1) = eye
    reach = 0.7 * abs(x1 - x0)
    rows = slice(int(min(y0, y1) - 0.6 * reach), int(max(y0, y1) + 0.6 * reach))
    columns = slice(int((x0 + x1) / 2 - reach), int((x0 + x1) / 2 + reach))
    light[rows, columns] = cv2.GaussianBlur(light[rows, columns], (0, 0), reach / 3)


def patch_consensus(flash: Picture, studio: Picture) -> tuple[Affine, float]:
    """Return the map on which patches matched both ways agree, and the median distance from it in picture widths."""
    edges = [_edge_strength(picture) for picture in (flash, studio)]
    height, width = edges[0].shape
    face = subject_face(find_faces(flash), width, height)
    there, back = [], []
    for x, y in grid(face, width, height, steps=30).astype(int):
        offset = _patch_offset(edges[0], edges[1], x, y)
        if offset is None:
            continue
        found = np.array([x, y]) + offset
        u, v = np.rint(found).astype(int)
        returned = _patch_offset(edges[1], edges[0], u, v)
        if returned is not None and np.linalg.norm(returned + offset) < 2:
            there.append((x, y))
            back.append(found)
    if len(there) < MIN_PATCHES:
        return IDENTITY, np.inf
    points, targets = np.array(there, float), np.array(back)
    affine, _ = cv2.estimateAffine2D(points, targets, method=cv2.LMEDS)
    residuals = np.linalg.norm(apply(affine, points) - targets, axis=1)
    for _ in range(5):
        near = residuals < max(2.0, 1.5 * float(np.median(residuals)))
        design = np.column_stack([points[near], np.ones(near.sum())])
        affine = np.linalg.lstsq(design, targets[near], rcond=None)[0].T
        residuals = np.linalg.norm(apply(affine, points) - targets, axis=1)
    return affine, float(np.median(residuals)) / width


def _edge_strength(picture: Picture) -> NDArray[np.float32]:
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
    strength = cv2.magnitude(cv2.Scharr(gray, cv2.CV_32F, 1, 0), cv2.Scharr(gray, cv2.CV_32F, 0, 1))
    return strength / (np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), 16)) + 80)


def _patch_offset(
    first: NDArray[np.float32], second: NDArray[np.float32], x: int, y: int, half: int = 40, reach: int = 36
) -> NDArray[np.float64] | None:
    rim = half + reach
    if not (rim <= x < first.shape[1] - rim and rim <= y < first.shape[0] - rim):
        return None
    patch = first[y - half : y + half + 1, x - half : x + half + 1]
    field = second[y - rim : y + rim + 1, x - rim : x + rim + 1]
    surface = cv2.matchTemplate(field, patch, cv2.TM_CCOEFF_NORMED)
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    if surface[row, column] < 0.45 or not (0 < row < 2 * reach and 0 < column < 2 * reach):
        return None
    across, down = surface[row, column - 1 : column + 2], surface[row - 1 : row + 2, column]
    tops = [(line[0] - line[2]) / (2 * (line[0] - 2 * line[1] + line[2])) for line in (across, down)]
    return np.array([column + tops[0], row + tops[1]]) - reach


def grid(face: Face | None, width: int, height: int, steps: int = 21) -> NDArray[np.float64]:
    """Return points in an ellipse on the face, in pixels."""
    left, top, right, bottom = face.box if face else (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    line = np.linspace(-1, 1, steps)
    u, v = (axis.ravel() for axis in np.meshgrid(line, line))
    inside = u**2 + v**2 <= 1
    x = (left + right) / 2 + 0.5 * (right - left) * u[inside]
    y = (top + bottom) / 2 + 0.58 * (bottom - top) * v[inside]
    return np.column_stack([x, y])


def mean_distance(affine: Affine, truth: Affine, points: NDArray[np.float64], width: int) -> float:
    """Return the mean distance of two maps over points, in pixels of a 3120 pixels wide photograph."""
    apart = np.linalg.norm(apply(affine, points) - apply(truth, points), axis=1)
    return float(apart.mean()) * REFERENCE_WIDTH / width
