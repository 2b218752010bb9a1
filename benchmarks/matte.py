"""How well people are told from the background, and red pupils from others, on real photographs.

    python benchmarks/matte.py --data ../shared/data

The mattes of the eight DeepFlash pairs are known: their backdrop is green, and the studio photograph is keyed by that.
`flash` and `studio` are those photographs; `dark`, `grey` and `scene` are their studio subjects cut out by the key and put
before a dark room with noise, a grey wall and an out-of-focus scene. Given are IoU at one half, the mean absolute error
in a band of 8 px around the true outline and wherever the truth is soft, on a copy of 640 px, and CPU seconds.
The flash sides are registered to the studio ones as their authors did it: at hair, some pixels off; 10 is a bad pair.

Red eyes: false alarms are counted on the portraits and the studio sides; to see what is found, red pupils of several
colours and sizes are drawn into the darkest place of each eye of every n-th portrait.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from deepflash.faces import find_people, map_face
from deepflash.model.enhancement.composite import cut_out, foreground_at
from deepflash.model.enhancement.matte import MATTE_SIDE_PX, subject_matte
from deepflash.model.enhancement.red_eye import correct_red_eyes
from deepflash.pairs import Face
from deepflash.pictures import encode, read_rgb

PAIRS = ["01", "02", "05", "07", "09", "10", "12", "18"]
BAND_PX = 8
REDS = {"red": (220, 40, 50), "crimson": (130, 15, 40), "orange": (235, 120, 50), "dim": (110, 35, 30)}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with portraits/ and pairs/")
    parser.add_argument("--every", type=int, default=8, help="draw red pupils into every n-th portrait")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write the cut-outs; they show real people")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print_mattes(options.data, options.pictures)
    print_red_eyes(options.data, options.every)


def print_mattes(data: Path, pictures: Path | None) -> None:
    """Compare the mattes with the truth."""
    totals: dict[str, list[tuple[float, float, float]]] = {}
    print(f"{'pair':6} {'kind':8} {'IoU':>6} {'error':>6} {'CPU s':>6}")
    for pair in PAIRS:
        for kind, picture, faces, truth in _cases(data, pair):
            start = time.process_time()
            matte = subject_matte(picture, faces)
            row = iou(matte, truth), band_error(matte, truth), time.process_time() - start
            totals.setdefault(kind, []).append(row)
            print(f"{pair:6} {kind:8} {row[0]:6.3f} {row[1]:6.3f} {row[2]:6.2f}", flush=True)
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                shown = np.rint(picture * matte[..., None] + 255 * (1 - matte[..., None])).astype(np.uint8)
                (pictures / f"{pair}-{kind}.png").write_bytes(encode(shown, ".png"))
    for kind, rows in totals.items():
        print(f"{'mean':6} {kind:8} " + " ".join(f"{value:6.3f}" for value in np.mean(rows, axis=0)))


def print_red_eyes(data: Path, every: int) -> None:
    """Count false alarms, and red pupils drawn and found."""
    portraits = sorted((data / "portraits").glob("*.jpg"))
    seen = [(read_rgb(path), path) for path in portraits]
    with_faces = [(picture, faces) for picture, _ in seen if (faces := find_people(picture)[:1])]
    studio = [read_rgb(data / "pairs" / "deepflash" / f"{pair}_studio.jpg") for pair in PAIRS]
    clear = with_faces + [(picture, find_people(picture)[:1]) for picture in studio]
    alarms = sum(correct_red_eyes(picture, faces) is not picture for picture, faces in clear)
    print(f"false alarms: {alarms} of {len(clear)} photographs without red eyes")
    for name, colour in REDS.items():
        for size in (0.08, 0.12, 0.16):
            found = [_found(picture, faces[0], colour, size) for picture, faces in with_faces[::every]]
            eyes = [eye for one in found for eye in one]
            print(f"drawn {name:8} radius {size:.2f} of the eye: {sum(eyes)} of {len(eyes)} eyes found")
    for pair in PAIRS:
        picture = read_rgb(data / "pairs" / "deepflash" / f"{pair}_flash.jpg")
        faces = find_people(picture)[:1]
        print(f"{pair}_flash: {sum(_changed_eyes(picture, correct_red_eyes(picture, faces), faces[0]))} eyes corrected")


def iou(matte: np.ndarray, truth: np.ndarray) -> float:
    """Return intersection over union at one half."""
    return float(((matte > 0.5) & (truth > 0.5)).sum() / ((matte > 0.5) | (truth > 0.5)).sum())


def band_error(matte: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean absolute error near the true outline and where the truth is soft."""
    inside = (truth > 0.5).astype(np.uint8)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1,) * 2)
    band = (cv2.dilate(inside, brush) != cv2.erode(inside, brush)) | ((truth > 0.02) & (truth < 0.98))
    return float(np.abs(matte - truth)[band].mean())


def key_green(picture: np.ndarray) -> np.ndarray:
    """Return the matte of who stands before a green backdrop: how much of the backdrop's green each pixel lacks."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.8).astype(np.float32) / 255
    green = smooth[..., 1] - np.maximum(smooth[..., 0], smooth[..., 2])
    sure = cv2.erode(((green > 0.35 * smooth[..., 1]) & (green > 0.03)).astype(np.uint8), np.ones((5, 5))) > 0
    backdrop = _spread(green, sure)
    for _ in range(3):  # hair that is seen through is no backdrop
        backdrop = _spread(green, sure & (green > 0.8 * backdrop))
    matte = np.clip((1 - green / np.maximum(backdrop, 0.02) - 0.12) / 0.5, 0, 1)
    _, parts, sizes, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    person = (parts == 1 + np.argmax(sizes[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    matte = np.where(cv2.dilate(person, np.ones((9, 9))) > 0, matte, 0)
    _, holes, sizes, _ = cv2.connectedComponentsWithStats((matte < 0.5).astype(np.uint8))
    small = [number for number in range(1, len(sizes)) if sizes[number, cv2.CC_STAT_AREA] < 150]  # reflections in spectacles
    return np.where(np.isin(holes, small), 1, matte).astype(np.float32)


def _cases(data: Path, pair: str) -> Iterator[tuple[str, np.ndarray, list[Face], np.ndarray]]:
    flash, flash_faces = _reduced(read_rgb(data / "pairs" / "deepflash" / f"{pair}_flash.jpg"))
    studio, studio_faces = _reduced(read_rgb(data / "pairs" / "deepflash" / f"{pair}_studio.jpg"))
    truth = key_green(studio)
    yield "flash", flash, flash_faces, truth
    yield "studio", studio, studio_faces, truth
    chance = np.random.default_rng(0)
    scene = cv2.resize(read_rgb(data / "pairs" / "static" / "3_flash.jpg"), truth.shape[::-1], interpolation=cv2.INTER_AREA)
    behind = {
        "dark": chance.normal(14, 4, studio.shape),
        "grey": chance.normal(150, 3, studio.shape),
        "scene": cv2.GaussianBlur(scene, (0, 0), 5).astype(np.float64),
    }
    rows = studio.astype(np.float32) / 255
    people = 255 * foreground_at(cut_out(studio, truth), rows, truth, 0, len(rows))
    for kind, background in behind.items():
        mixed = truth[..., None] * people + (1 - truth[..., None]) * background
        yield kind, np.clip(np.rint(mixed), 0, 255).astype(np.uint8), studio_faces, truth


def _reduced(picture: np.ndarray) -> tuple[np.ndarray, list[Face]]:
    scale = MATTE_SIDE_PX / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small_from_picture = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    return small, [map_face(face, small_from_picture) for face in find_people(picture)[:1]]


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill in a smooth plane from where it is known, from near first."""
    weights = known.astype(np.float32)
    small, small_weights = (
        cv2.resize(maps, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA) for maps in (values * weights, weights)
    )
    total, done = np.zeros_like(small), np.zeros_like(small)
    for reach in (small.shape[1] / 36, small.shape[1] / 12, small.shape[1] / 4, small.shape[1] * 0.75):
        weight = cv2.GaussianBlur(small_weights, (0, 0), reach)
        share = np.clip(weight / 0.2, 0, 1) * (1 - done)
        total += share * cv2.GaussianBlur(small, (0, 0), reach) / np.maximum(weight, 1e-6)
        done += share
    return cv2.resize(total / np.maximum(done, 1e-3), values.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _corners(face: Face) -> list[np.ndarray]:
    return [np.array(face.landmarks[name]) for name in ("left_eye", "right_eye")]


def _found(picture: np.ndarray, face: Face, colour: tuple[int, int, int], size: float) -> list[bool]:
    """Draw red pupils, at thrice the portrait's size, and tell which of them were corrected."""
    scaling = np.array([[3.0, 0, 1], [0, 3.0, 1]])
    large, large_face = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), map_face(face, scaling)
    drawn = large.copy()
    for corners in _corners(large_face):
        _draw_pupil(drawn, corners, colour, size)
    return _changed_eyes(drawn, correct_red_eyes(drawn, [large_face]), large_face)


def _draw_pupil(picture: np.ndarray, corners: np.ndarray, colour: tuple[int, int, int], size: float) -> None:
    length = float(np.hypot(*(corners[1] - corners[0])))
    x, y = (round(float(v)) for v in corners.mean(axis=0))
    reach = round(0.22 * length)
    near = cv2.GaussianBlur(picture[y - reach : y + reach + 1, x - reach : x + reach + 1].mean(axis=2), (0, 0), 0.08 * length)
    row, column = np.unravel_index(np.argmin(near), near.shape)
    centre, radius = (x - reach + int(column), y - reach + int(row)), size * length
    mask = cv2.circle(np.zeros(picture.shape[:2], np.float32), centre, round(radius), 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.15 * radius)[..., None]
    mixed = picture * (1 - mask) + np.array(colour) * mask
    light = cv2.circle(np.zeros(picture.shape[:2], np.float32), centre, round(radius / 4), 1.0, -1)[..., None]
    picture[:] = np.rint(mixed * (1 - light) + 250 * light)


def _changed_eyes(before: np.ndarray, after: np.ndarray, face: Face) -> list[bool]:
    changed = (before != after).any(axis=2)
    answers = []
    for corners in _corners(face):
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        margin = (right - left) / 2
        part = changed[max(0, int(top - margin)) : int(bottom + margin), max(0, int(left)) : int(right) + 1]
        answers.append(bool(part.any()))
    return answers


if __name__ == "__main__":
    main()
