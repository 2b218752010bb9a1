"""Speed and accuracy of the model room: the bilateral filter beside OpenCV's, a training step.

    python benchmarks/model.py [--only filter|step]

CPU seconds are user and system time of this process; accuracy is PSNR against the exact filter on the middle of the picture.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from deepflash.model.bilateral import bilateral, bilateral_exact
from deepflash.model.network import DeepFlash
from deepflash.model.recipe import load_recipe

SIGMA_S, SIGMA_R = 16.0, 0.4
_MARGIN_PX = 40  # the exact filter's window to every side
_MIDDLE = slice(192, 320)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["filter", "step"])
    only = parser.parse_args().only
    for name, measure in {"filter": measure_filter, "step": measure_step}.items():
        if only in {None, name}:
            measure()


def measure_filter() -> None:
    """Filter a 512 x 512 picture on one thread, with ours and with OpenCV's (which measures colours in L1)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    picture = skimage.data.astronaut().astype(np.float32) / 255
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()
    around = slice(_MIDDLE.start - _MARGIN_PX, _MIDDLE.stop + _MARGIN_PX)
    inner = slice(_MARGIN_PX, -_MARGIN_PX)
    exact = bilateral_exact(tensor[..., around, around], SIGMA_S, SIGMA_R)[..., inner, inner]

    def ours() -> torch.Tensor:
        return bilateral(tensor, SIGMA_S, SIGMA_R)

    def opencv() -> torch.Tensor:
        filtered = cv2.bilateralFilter(picture, 0, SIGMA_R, SIGMA_S)
        return torch.from_numpy(filtered).permute(2, 0, 1)[None]

    print("bilateral filter, 512 x 512 RGB, sigma_s 16, sigma_r 0.4, one thread")
    for name, method in {"ours": ours, "OpenCV": opencv}.items():
        seconds, result = _best_of(5, method)
        error = result[..., _MIDDLE, _MIDDLE] - exact
        print(f"  {name:<8} {seconds:6.3f} CPU s  {-10 * float(error.square().mean().log10()):5.1f} dB")
    torch.set_num_threads(threads)


def measure_step() -> None:
    """Take training steps of the quick recipe's network."""
    recipe = load_recipe("quick")
    network = DeepFlash(width=recipe.width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    pictures = torch.rand(recipe.batch, 3, recipe.size, recipe.size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        network(pictures).square().mean().backward()
        optimizer.step()

    seconds, _ = _best_of(8, step)
    print(
        f"training step, recipe quick: {recipe.batch} pictures of {recipe.size} px, width {recipe.width}: {seconds:.3f} CPU s"
    )


def _best_of(times: int, call: Callable[[], Any]) -> tuple[float, Any]:
    best_s = float("inf")
    result = None
    for _ in range(times):
        began_s = time.process_time()
        result = call()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s, result


if __name__ == "__main__":
    main()
