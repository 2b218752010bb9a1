"""pix2pix as its authors use it, with dropout and the statistics of the batch, beside the learned statistics that we use.

    python benchmarks/pix2pix.py work/shards work/pix2pix work/pix2pix-c

Prints PSNR and SSIM against the reconstructed truth of the un-augmented test pairs, one picture at a time; means over pairs.
"""

import argparse
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from deepflash.model.data import portraits
from deepflash.model.encodings import encoding_named
from deepflash.model.measures import measure
from deepflash.model.runs import load_run
from deepflash.model.systems import run_system
from deepflash.shards import open_shards

HABITS: dict[str, tuple[type[nn.Module], ...]] = {
    "ours": (),
    "the batch's statistics": (nn.BatchNorm2d,),
    "and dropout": (nn.BatchNorm2d, nn.Dropout),
}


def main() -> None:
    """Print a line for every run and habit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    truth = encoding_named("C")
    for folder in options.runs:
        for habit, left_on in HABITS.items():
            run = load_run(folder, torch.device("cpu"))
            for layer in run.network.modules():
                layer.training = isinstance(layer, left_on)
            torch.manual_seed(0)
            system = run_system(folder.name, run)
            scores = []
            for pair in portraits(open_shards(options.shards), "test", run.recipe.size):
                reconstructed = truth.decode(pair.flash, truth.target(truth.prepare(pair.flash), truth.prepare(pair.studio)))
                scores.append(measure(system.portrait(pair.flash), reconstructed, None))
            print(f"{folder.name:12} {habit:24} {fmean(s.psnr for s in scores):.2f} dB {fmean(s.ssim for s in scores):.3f}")


if __name__ == "__main__":
    main()
