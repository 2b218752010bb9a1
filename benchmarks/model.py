"""Speed of the model room: a training step of the recipe quick.

    python benchmarks/model.py

CPU seconds are user and system time of this process, the least of eight. The bilateral filter has a benchmark of its own,
`bilateral.py`, and so has enhancing, `enhance.py`.
"""

import time

import torch

from deepflash.model.network import DeepFlash
from deepflash.model.recipe import load_recipe

_TIMES = 8


def main() -> None:
    """Measure and print."""
    recipe = load_recipe("quick")
    network = DeepFlash(width=recipe.width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    pictures = torch.rand(recipe.batch, 3, recipe.size, recipe.size).contiguous(memory_format=torch.channels_last)
    seconds = min(step_seconds(network, optimizer, pictures) for _ in range(_TIMES))
    print(
        f"training step, recipe quick: {recipe.batch} pictures of {recipe.size} px, width {recipe.width}: {seconds:.3f} CPU s"
    )


def step_seconds(network: torch.nn.Module, optimizer: torch.optim.Optimizer, pictures: torch.Tensor) -> float:
    """Take a training step; return its CPU seconds."""
    began_s = time.process_time()
    optimizer.zero_grad()
    network(pictures).square().mean().backward()
    optimizer.step()
    return time.process_time() - began_s


if __name__ == "__main__":
    main()
