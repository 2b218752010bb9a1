"""How near bokeh comes to made pairs of people that nobody has learned from, at the photographs' own size.

    deepflash dataset bokeh-pairs PORTRAITS... -o PAIRS
    python benchmarks/bokeh.py PAIRS RUN...

Beside the runs stand the photograph as it is, the whole of it blurred by the middle kernel, and the same behind the sitter
alone, by the very matte that made the pairs: what equation 1 reaches where nothing is left to be guessed. Differences are
mean absolute ones in grey levels: on the sitter, within 12 px of the outline (of 512), and behind.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from deepflash.dataset.portrait_bokeh import Plane, subject_matte
from deepflash.faces import find_subject, subject_face
from deepflash.model.bokeh import KERNELS_PX, Bokeh, blurred
from deepflash.model.bokeh_files import with_bokeh
from deepflash.model.data import to_picture, to_tensor
from deepflash.model.metrics import psnr, ssim
from deepflash.model.runs import load_run
from deepflash.photos import Photo
from deepflash.pictures import Picture, read_rgb

OUTLINE_SHARE = 25 / 512
"""Width of the band about the outline, of the longer side."""

Method = Callable[[Picture, Plane], Picture]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="Folder with original/NAME.jpg and bokeh/NAME.jpg.")
    parser.add_argument("runs", type=Path, nargs="*")
    chosen = parser.parse_args()
    pairs = [(read_rgb(path), read_rgb(chosen.pairs / "bokeh" / path.name)) for path in _sharp(chosen.pairs)]
    mattes = [_matte(sharp) for sharp, _ in pairs]
    methods: dict[str, Method] = {"as it is": lambda sharp, _: sharp, "blurred all over": _all_over, "matte known": _behind}
    methods |= {str(run): _by_run(run) for run in chosen.runs}
    print(f"{len(pairs)} pairs{'':12} PSNR  SSIM   on the sitter, outline, behind")
    for name, method in methods.items():
        rows = [measure(method(sharp, matte), soft, matte) for (sharp, soft), matte in zip(pairs, mattes, strict=True)]
        print("{:20} {:6.2f} {:.3f}   {:6.2f} {:6.2f} {:6.2f}".format(name, *np.mean(rows, axis=0)))


def measure(found: Picture, wanted: Picture, matte: Plane) -> list[float]:
    """Return PSNR, SSIM, and the differences on the sitter, about the outline and behind."""
    one, other = (to_tensor(picture[None]) for picture in (found, wanted))
    reach = 2 * (round(OUTLINE_SHARE * max(matte.shape)) // 2) + 1
    sitter, behind = (cv2.erode(np.uint8(part), np.ones((reach, reach))) > 0 for part in (matte > 0.5, matte <= 0.5))
    off = np.abs(found.astype(float) - wanted).mean(axis=2)
    parts = (sitter, ~sitter & ~behind, behind)
    return [float(psnr(one, other)), float(ssim(one, other)), *(float(off[part].mean()) for part in parts)]


def _sharp(pairs: Path) -> list[Path]:
    return sorted((pairs / "original").glob("*.jpg"))


def _matte(sharp: Picture) -> Plane:
    face = subject_face(find_subject(sharp), sharp.shape[1], sharp.shape[0])
    if face is None:
        raise SystemExit("a picture shows no face; give pairs that deepflash dataset bokeh-pairs made")
    return subject_matte(sharp, face)


def _all_over(sharp: Picture, _: Plane) -> Picture:
    return to_picture(blurred(to_tensor(sharp[None]), KERNELS_PX[1])[0])


def _behind(sharp: Picture, matte: Plane) -> Picture:
    share = torch.from_numpy(matte)
    picture = to_tensor(sharp[None])
    return to_picture((share * picture + (1 - share) * blurred(picture, KERNELS_PX[1]))[0])


def _by_run(run: Path) -> Method:
    trained = load_run(run)
    network = trained.network
    if not isinstance(network, Bokeh):
        raise SystemExit(f"{run} is a run of network {trained.recipe.network}; give one that was trained with --recipe bokeh")
    return lambda sharp, _: with_bokeh(network, Photo(sharp), trained.recipe.size).pixels


if __name__ == "__main__":
    main()
