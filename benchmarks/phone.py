"""What an app loses by approximating a step around the ONNX model: dB of the finished portrait against the exact steps.

    python benchmarks/phone.py MODEL.onnx PHOTO...

MODEL is one of encoding C that `deepflash export` wrote; photographs are brought to 1000 px. Everything but the filter that
is looked at is what examples/portrait_onnx.py does. The tables of docs/phone-app.md are made with it.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import portrait_onnx

from deepflash.model.bilateral import bilateral
from deepflash.pictures import read_rgb

SIGMA_R = 0.4
SIDE_PX = 1000
OPPONENT = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)


def exact(small: Any, sigma_s: float) -> Any:
    """Filter as deepflash does."""
    pictures = torch.from_numpy(small).permute(2, 0, 1)[None].contiguous()
    return bilateral(pictures, sigma_s)[0].permute(1, 2, 0).numpy()


def opencv(small: Any, sigma_s: float, factor: float, sigmas: float) -> Any:
    """Filter with OpenCV's, sigma_r multiplied by a factor, in a window of so many sigmas."""
    side = 2 * math.ceil(sigmas / 2 * sigma_s) + 1
    return cv2.bilateralFilter(small, side, factor * SIGMA_R, sigma_s, borderType=cv2.BORDER_REPLICATE)


def on_opponent_axes(small: Any, sigma_s: float) -> Any:
    """Let OpenCV add distances up along luma and two axes of chroma."""
    return opencv(np.ascontiguousarray(small @ OPPONENT.T), sigma_s, 1, 5) @ OPPONENT


def sampled(small: Any, sigma_s: float, count: int = 63) -> Any:
    """Look at neighbours drawn anew for each pixel, one from each cell of a grid over the window."""
    random = np.random.default_rng(0)
    shape, radius, side = small.shape[:2], math.ceil(2.5 * sigma_s), math.ceil(math.sqrt(count))
    padded = cv2.copyMakeBorder(small, *(radius,) * 4, cv2.BORDER_REPLICATE)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    total, weights = np.zeros_like(small), np.zeros((*shape, 1), np.float32)
    for number in range(count):
        row, column = divmod(number, side)
        dy = np.minimum((row + random.random(shape)) / (count / side) * (2 * radius + 1), 2 * radius).astype(int) - radius
        dx = np.minimum((column + random.random(shape)) / side * (2 * radius + 1), 2 * radius).astype(int) - radius
        near = padded[rows + dy + radius, columns + dx + radius]
        distance = np.square(near - small).sum(2) / (2 * SIGMA_R**2) + (dx**2 + dy**2) / (2 * sigma_s**2)
        weight = np.exp(-distance).astype(np.float32)[..., None]
        total += weight * near
        weights += weight
    return total / np.maximum(weights, 1e-6)


def guided(small: Any, sigma_s: float, *, colour: bool) -> Any:
    """Filter a picture with itself as guide: He, Sun and Tang 2013, equations 14 to 19, radius 1.25 sigma_s, epsilon 0.08."""
    side = 2 * round(1.25 * sigma_s) + 1

    def mean(planes: Any) -> Any:
        flat = planes.reshape(*small.shape[:2], -1)
        layers = [
            cv2.blur(np.ascontiguousarray(layer), (side, side), borderType=cv2.BORDER_REPLICATE)
            for layer in flat.transpose(2, 0, 1)
        ]
        return np.stack(layers, axis=2).reshape(planes.shape)

    guide = small if colour else small @ np.float32([[0.299], [0.587], [0.114]])
    mean_guide, mean_values = mean(guide), mean(small)
    variance = mean(guide[..., :, None] * guide[..., None, :]) - mean_guide[..., :, None] * mean_guide[..., None, :]
    covariance = mean(guide[..., :, None] * small[..., None, :]) - mean_guide[..., :, None] * mean_values[..., None, :]
    slope = np.linalg.solve(variance + 0.08 * np.eye(guide.shape[2], dtype=np.float32), covariance)
    offset = mean_values - np.einsum("hwi,hwij->hwj", mean_guide, slope)
    return (np.einsum("hwi,hwij->hwj", guide, mean(slope)) + mean(offset)).astype(np.float32)


FILTERS: dict[str, Callable[[Any, float], Any]] = {
    "OpenCV, sigma_r x 1.732, 5 sigma_s": lambda small, sigma_s: portrait_onnx.smoothed(small, sigma_s, SIGMA_R),
    "63 random samples": sampled,
    "OpenCV on luma and chroma, 5 sigma_s": on_opponent_axes,
    "guided, colour": lambda small, sigma_s: guided(small, sigma_s, colour=True),
    "OpenCV on RGB as it is, 3 sigma_s": lambda small, sigma_s: opencv(small, sigma_s, 1, 3),
    "guided, luma": lambda small, sigma_s: guided(small, sigma_s, colour=False),
    "Gaussian blur": lambda small, sigma_s: cv2.GaussianBlur(small, (0, 0), sigma_s, borderType=cv2.BORDER_REPLICATE),
    "no filter": lambda small, _: small,
}


def psnr(a: Any, b: Any) -> float:
    """Compare pictures in [0, 1]."""
    return float(-10 * np.log10(max(1e-12, np.square(a.astype(float) - b).mean())))


def measure(session: Any, photo: Any, size: int, rows: dict[str, list[tuple[float, ...]]]) -> None:
    """Add a photograph's figures: filter, portrait, CPU milliseconds; or those of another step."""

    def reduced(method: int) -> Any:
        return cv2.resize(photo, (size, size), interpolation=method) / np.float32(255)

    def difference(prepared: Any) -> Any:
        return 1 - 2 * portrait_onnx.ask(session, prepared, 32)

    small, sigma_s = reduced(cv2.INTER_AREA), size / 32
    true = exact(small, sigma_s)
    added = difference(true)
    wanted = portrait_onnx.changed(photo, small, added, 1) / 255
    for name, approximate in FILTERS.items():
        began_s = time.process_time()
        filtered = approximate(small, sigma_s)
        took_s = time.process_time() - began_s
        found = portrait_onnx.changed(photo, small, difference(filtered), 1) / 255
        rows.setdefault(name, []).append((psnr(filtered, true), psnr(found, wanted), 1000 * took_s))
    for name, method in (("bicubic, no guide", cv2.INTER_CUBIC), ("bilinear, no guide", cv2.INTER_LINEAR)):
        large = cv2.resize(added, photo.shape[1::-1], interpolation=method)
        before = photo / np.float32(255)
        found = before + np.clip(large, -0.95 * before, 0.8 * (1 - before))
        rows.setdefault(name, []).append((np.nan, psnr(np.rint(255 * found) / 255, wanted), np.nan))
    for name, method in (("reduced bilinear", cv2.INTER_LINEAR), ("reduced to nearest", cv2.INTER_NEAREST)):
        other = reduced(method)
        found = portrait_onnx.changed(photo, other, difference(exact(other, sigma_s)), 1) / 255
        rows.setdefault(name, []).append((np.nan, psnr(found, wanted), np.nan))
    rows.setdefault("the change itself", []).append((np.nan, psnr(photo / 255, wanted), np.nan))


def main(model: str, *photos: str) -> None:
    """Print the means over all photographs."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    session = onnxruntime.InferenceSession(model)
    size = int(session.get_modelmeta().custom_metadata_map["size"])
    rows: dict[str, list[tuple[float, ...]]] = {}
    for path in photos:
        photo = read_rgb(Path(path))
        edge = min(photo.shape[:2])
        square = cv2.resize(photo[:edge, :edge], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        measure(session, square, size, rows)
    print(f"{'':40} filter dB  portrait dB (least)  ms")
    for name, figures in rows.items():
        filtered, portrait, took_ms = np.array(figures).T
        print(f"{name:40} {filtered.mean():9.1f}  {portrait.mean():11.1f} ({portrait.min():5.1f})  {np.median(took_ms):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
