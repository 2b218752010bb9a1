"""Runs without training, for tests that only need weights: a network whose answers move by a few hundredths."""

from pathlib import Path

import torch
from torch import nn

from deepflash.files import write_durably, write_json
from deepflash.model.recipe import Recipe
from deepflash.model.runs import RECIPE_FILE, RUN_FILE, RUN_FORMAT, WEIGHTS_FILE, build_network, save_weights


def write_run(folder: Path, recipe: Recipe) -> Path:
    """Write a run's folder with random weights; the head's are small, as after a training that began at "no difference"."""
    network = build_network(recipe)
    random = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        for weights in network.parameters():
            if not weights.any() and weights.numel() > 1:
                nn.init.normal_(weights, std=0.05, generator=random)
    write_json(folder / RUN_FILE, {"format": RUN_FORMAT, "dataset": "none", "subjects": ["S001"]})
    write_durably(folder / RECIPE_FILE, recipe.as_toml())
    save_weights(folder / WEIGHTS_FILE, network.state_dict(), recipe, step=7)
    return folder
