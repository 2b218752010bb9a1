"""How portraits of other cameras' photographs come out: runs side by side, flash pictures changed as other cameras take them.

    deepflash train work/shards work/light-cameras --recipe work/light/recipe.toml --set other_cameras=true
    python benchmarks/cameras.py work/light work/light-cameras --shards work/shards
    python benchmarks/cameras.py work/light work/light-cameras --shards work/real-*/shards

Takes the un-augmented test pairs of the data sets (benchmarks/networks.py makes them, and `work/light`), changes the flash
pictures by a fixed set of cameras, and compares with the studio picture: the whole, and an oval with head and neck, for which
alone `enhance` answers where the background is kept. Given are PSNR, the colour difference CIEDE2000, and the cast: by how much
the mean is too red (a*) and too yellow (b*).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor

from deepflash.model.augment import by_camera
from deepflash.model.data import Portrait, portraits
from deepflash.model.encodings import encoding_named
from deepflash.model.metrics import delta_e2000, psnr
from deepflash.model.runs import TrainedRun, answer, load_run
from deepflash.shards import open_shards

CAMERAS = {
    "neutral": (0.6, -0.1, -0.6, 0.0),
    "balanced": (0.95, -0.1, -1.2, 0.1),
    "warm": (0.9, -0.5, -0.3, 0.0),
    "cold": (-0.3, 0.3, 0.0, 0.0),
    "dark": (0.0, 0.0, -1.0, 0.0),
    "bright": (0.0, 0.0, 0.5, 0.0),
    "contrast": (0.3, 0.0, -0.3, 0.25),
    "flat": (0.3, 0.0, -0.3, -0.25),
    "green": (-0.3, -0.3, 0.0, 0.0),
    "magenta": (0.3, 0.3, 0.0, 0.0),
}
"""Red, blue, exposure and contrast, as powers of 2; `balanced` brings the skin of the emulated sitters to where that of
official portraits is."""
OVAL = (0.48, 0.5, 0.33, 0.23)
"""The middle and the half axes, down and across, in sides of the picture."""


def main() -> None:
    """Print a line for every run, and one for every camera."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="folders of data sets; their tests are joined")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'run':16} {'camera':9} {'whole dB':>8} {'dE':>5} {'oval dB':>8} {'dE':>5} {'a*':>5} {'b*':>5}")
    for folder in options.runs:
        run = load_run(folder, torch.device("cpu"))
        size = run.recipe.size
        pairs = [pair for place in options.shards for pair in portraits(open_shards(place), "test", size)]
        own = scores(run, pairs, lambda flash: flash)
        others = {name: scores(run, pairs, seen_by(camera)) for name, camera in CAMERAS.items()}
        for name, values in {"as it is": own, "others": np.mean(list(others.values()), axis=0), **others}.items():
            whole, whole_e, oval, oval_e, red, yellow = values
            print(f"{folder.name:16} {name:9} {whole:8.2f} {whole_e:5.2f} {oval:8.2f} {oval_e:5.2f} {red:+5.1f} {yellow:+5.1f}")


def seen_by(camera: tuple[float, float, float, float]) -> Callable[[Tensor], Tensor]:
    """Return what a camera makes of a flash picture, in 8 bits."""
    return lambda flash: by_camera(flash, torch.tensor([camera])).mul(255).round().div(255)


@torch.no_grad()
def scores(run: TrainedRun, pairs: list[Portrait], camera: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Return the means over all pairs."""
    encoding = encoding_named(run.recipe.encoding)
    found = []
    for pair in pairs:
        flash = camera(pair.flash)
        result = encoding.decode(flash, answer(run.network, encoding.prepare(flash), run.recipe.precision)).clamp(0, 1)
        within, truth = in_oval(result), in_oval(pair.studio)
        _light, *cast = (lab(within) - lab(truth)).mean(axis=0)
        of_whole, of_oval = ([float(measure(one, other)) for measure in (psnr, delta_e2000)]
                             for one, other in ((result, pair.studio), (within, truth)))  # fmt: skip
        found.append([*of_whole, *of_oval, *cast])
    return np.mean(found, axis=0)


def in_oval(picture: Tensor) -> Tensor:
    """Return the pixels of the oval, (1, 3, n, 1)."""
    down, across, tall, wide = OVAL
    rows, columns = ((torch.arange(length) + 0.5) / length for length in picture.shape[-2:])
    within = ((rows[:, None] - down) / tall) ** 2 + ((columns - across) / wide) ** 2 < 1
    return picture[..., within][..., None]


def lab(pixels: Tensor) -> np.ndarray:
    """Return (n, 3) CIE 1976 L*a*b* of (1, 3, n, 1) pixels."""
    return rgb2lab(pixels[0, :, :, 0].T.double().numpy())


if __name__ == "__main__":
    main()
