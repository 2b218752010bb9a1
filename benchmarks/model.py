"""Speed of the model room: a training step, enhancing 13 megapixels. The bilateral filter has `bilateral.py`.

    python benchmarks/model.py [--only step|enhance]

CPU seconds are user and system time of this process.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import cv2
import skimage.data
import torch

from deepflash.model.enhance import Enhancer
from deepflash.model.network import DeepFlash
from deepflash.model.recipe import load_recipe
from deepflash.model.runs import TrainedRun, build_network


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["step", "enhance"])
    only = parser.parse_args().only
    for name, measure in {"step": measure_step, "enhance": measure_enhance}.items():
        if only in {None, name}:
            measure()


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


def measure_enhance() -> None:
    """Enhance a 13 megapixel photograph with an untrained network of the quick recipe: the cost is that of a trained one."""
    recipe = load_recipe("quick")
    photograph = cv2.resize(skimage.data.astronaut(), (3120, 4160), interpolation=cv2.INTER_CUBIC)
    enhancer = Enhancer(TrainedRun(recipe, build_network(recipe).eval().to(memory_format=torch.channels_last), 0))
    began_s = time.perf_counter()
    seconds, _ = _best_of(3, lambda: enhancer.enhance(photograph))
    wall_s = (time.perf_counter() - began_s) / 3
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    threads = torch.get_num_threads()
    print(f"enhance, 3120 x 4160: {seconds:.2f} CPU s, {wall_s:.2f} s wall on {threads} threads, peak {memory_mb:.0f} MB")


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
