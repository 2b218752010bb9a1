"""Speed and accuracy of the bilateral filter: ours beside those that one could use instead, all on one thread, in one run.

    python benchmarks/bilateral.py [PICTURE...]

CPU seconds are user and system time of this process; accuracy is PSNR against the exact filter on the middle of the picture,
where all treat the border alike. Of each further PICTURE, cut to a square of 512 px, ours alone is measured.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from skimage.restoration import denoise_bilateral
from torch import Tensor

from deepflash.model.bilateral import SIGMA_R, bilateral, bilateral_exact

SIDE = 512
SIGMA_S = 16.0
RADIUS = 40  # px: the exact filter's window, 2.5 sigma_s to every side
LARGE = (3120, 4160)
_MIDDLE = slice(192, 320)
_PATTERNS = 64
_BATCH = 8

Result = TypeVar("Result")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE")
    files = parser.parse_args().pictures
    _one_thread()
    print(f"{SIDE} x {SIDE} RGB, sigma_s {SIGMA_S:.0f}, sigma_r {SIGMA_R}, one thread")
    compare_methods(skimage.data.astronaut().astype(np.float32) / 255)
    print("\nours on other pictures")
    for name, picture in (synthetic() | {file: square_of(file) for file in files}).items():
        seconds, result = _best_of(5, partial(_ours, picture))
        print(f"  {name[-40:]:<40} {seconds:7.3f} CPU s  {_psnr(result, _exact_middle(picture)):5.1f} dB")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:  # alone, so that the peak is its own
        print(executor.submit(measure_large).result())
    print(measure_gpu())


def compare_methods(picture: NDArray[np.float32]) -> None:
    """Filter one picture with each method."""
    methods: dict[str, tuple[int, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
        "ours": (7, _ours),
        "OpenCV, d = 0 (L1 colours, circle of 1.5 sigma)": (3, _opencv),
        "63 samples (Banterle et al. 2012)": (3, SampledFilter(np.random.default_rng(0))),
        "scikit-image as called": (1, _scikit_image),
        "scikit-image, rescaled (sigma_color / 3)": (1, _scikit_image_rescaled),
        "brute force, torch": (1, _brute_force),
    }
    measured = {name: _best_of(times, partial(method, picture)) for name, (times, method) in methods.items()}
    exact, base_s = measured["brute force, torch"][1][_MIDDLE, _MIDDLE], measured["ours"][0]
    for name, (seconds, result) in measured.items():
        print(f"  {name:<48} {seconds:7.3f} CPU s  {seconds / base_s:6.1f} x ours  {_psnr(result, exact):5.1f} dB", flush=True)


def _ours(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter (H, W, 3) RGB in [0, 1], like all methods below."""
    return _from_tensor(bilateral(_to_tensor(picture), SIGMA_S, SIGMA_R))


def _brute_force(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return _from_tensor(bilateral_exact(_to_tensor(picture), SIGMA_S, SIGMA_R))


def _opencv(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.bilateralFilter(picture, 0, SIGMA_R, SIGMA_S))


def _scikit_image(picture: NDArray[np.float32], sigma_color: float = SIGMA_R) -> NDArray[np.float32]:
    """Filter with the exact filter's window and border."""
    window = 2 * RADIUS + 1
    return np.asarray(
        denoise_bilateral(picture, window, sigma_color=sigma_color, sigma_spatial=SIGMA_S, mode="edge", channel_axis=-1)
    )


def _scikit_image_rescaled(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo that scikit-image divides the distance of colours by their number of channels."""
    return _scikit_image(picture, SIGMA_R / 3)


class SampledFilter:
    """The published approximation: a few dozen Poisson-disc samples of the window, in one of 64 patterns for each pixel.

    Banterle, Corsini, Cignoni, Scopigno: A Low-Memory, Straightforward and Fast Bilateral Filter Through Subsampling in
    Spatial Domain (Computer Graphics Forum 31, 2012); the number of samples as in the authors' library (reference: models.md
    8.1).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        share = 0.4055 / (0.6437 * SIGMA_S - 1.1083) + 0.7347
        self.count = int((2 * RADIUS + 1) * share)
        self.offsets = np.stack([self._pattern(rng) for _ in range(_PATTERNS)])  # (64, samples, 2)
        self.rng = rng

    def _pattern(self, rng: np.random.Generator) -> NDArray[np.int64]:
        # A radius at which 69 points and more fit in, of which as many as wanted are kept.
        points = qmc.PoissonDisk(2, radius=0.75 / math.sqrt(self.count), rng=rng).fill_space()
        chosen = rng.permutation(points)[: self.count]
        return np.asarray(np.floor(chosen * (2 * RADIUS + 1)) - RADIUS, np.int64)

    def __call__(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter; the patterns are at hand, as they are in the authors' library."""
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="edge").reshape(-1, 3)
        rows, columns = np.mgrid[:height, :width] + RADIUS
        here = rows * (width + 2 * RADIUS) + columns
        patterns = self.rng.integers(_PATTERNS, size=here.shape)
        steps = self.offsets @ [width + 2 * RADIUS, 1]
        near = np.exp(-np.square(self.offsets).sum(2) / (2 * SIGMA_S**2)).astype(np.float32)
        total, weights = np.zeros_like(picture), np.zeros((height, width, 1), np.float32)
        for sample in range(self.count):
            neighbour = padded[here + steps[patterns, sample]]
            distance = np.square(neighbour - picture).sum(2)
            weight = (near[patterns, sample] * np.exp(distance * (-0.5 / SIGMA_R**2)))[..., None]
            total += weight * neighbour
            weights += weight
        return np.asarray(total / np.maximum(weights, 1e-12))


def measure_large() -> str:
    """Filter 13 megapixels."""
    _one_thread()
    picture = cv2.resize(skimage.data.astronaut(), LARGE[::-1], interpolation=cv2.INTER_CUBIC)
    tensor = _to_tensor(picture.astype(np.float32) / 255)
    before_mb = _peak_mb()
    sigma_s = 0.03 * max(LARGE)
    seconds, _ = _best_of(3, lambda: bilateral(tensor, sigma_s, SIGMA_R))
    return (
        f"\n{LARGE[0]} x {LARGE[1]}, sigma_s {sigma_s:.0f}: {seconds:.2f} CPU s, "
        f"peak {_peak_mb():.0f} MB, of which the picture and the libraries {before_mb:.0f} MB"
    )


def measure_gpu() -> str:
    """Filter a batch on a GPU, if there is one."""
    if not torch.cuda.is_available():
        return "no GPU here: not measured on one"
    batch = _to_tensor(skimage.data.astronaut().astype(np.float32) / 255).cuda().repeat(_BATCH, 1, 1, 1)
    bilateral(batch, SIGMA_S, SIGMA_R)
    milliseconds = []
    for _ in range(10):
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record()
        bilateral(batch, SIGMA_S, SIGMA_R)
        ended.record()
        torch.cuda.synchronize()
        milliseconds.append(began.elapsed_time(ended) / _BATCH)
    return f"{torch.cuda.get_device_name()}: {min(milliseconds):.2f} ms a picture, {_BATCH} at a time"


def synthetic() -> dict[str, NDArray[np.float32]]:
    """Return pictures that ask most of the method: colours that fill the cube, hard edges, lone dots."""
    rng = np.random.default_rng(0)
    noise = rng.random((SIDE, SIDE, 3), np.float32)
    patches = rng.random((SIDE // 8, SIDE // 8, 3), np.float32).repeat(8, 0).repeat(8, 1)
    dots = np.zeros_like(noise)
    dots[::37, ::37] = 1
    return {
        "noise of all colours": noise,
        "saturated colours, one per pixel": np.round(noise),
        "patches of all colours": patches,
        "patches of saturated colours": np.round(patches),
        "white dots on black": dots,
    }


def square_of(file: str) -> NDArray[np.float32]:
    """Return the middle square of a photograph, brought to size."""
    photograph = cv2.imread(file, cv2.IMREAD_COLOR_RGB)
    if photograph is None:
        raise SystemExit(f"{file} is not a picture that OpenCV reads")
    height, width = photograph.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = cv2.resize(photograph[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(square, np.float32) / 255


def _exact_middle(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    around = slice(_MIDDLE.start - RADIUS, _MIDDLE.stop + RADIUS)
    return _brute_force(picture[around, around])[RADIUS:-RADIUS, RADIUS:-RADIUS]


def _psnr(result: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Compare the middle of a result with the exact middle."""
    error = float(np.square(result[_MIDDLE, _MIDDLE] - exact).mean())
    return -10 * math.log10(error) if error else math.inf


def _to_tensor(picture: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


def _from_tensor(pictures: Tensor) -> NDArray[np.float32]:
    return np.asarray(pictures[0].permute(1, 2, 0).numpy())


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _best_of(times: int, call: Callable[[], Result]) -> tuple[float, Result]:
    """Return the least CPU seconds of some calls, and what the last returned."""
    best_s = float("inf")
    for _ in range(times):
        began_s = time.process_time()
        result = call()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s, result


if __name__ == "__main__":
    main()
