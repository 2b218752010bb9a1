"""How near portrait style transfer comes to the truth, beside the flash picture and one colour matrix for everybody.

    python benchmarks/style_truth.py --pairs FOLDER | --shards SHARDS [--size 512]

On a folder of NN_flash.jpg and NN_studio.jpg (each pair beside the others) or on the test split of a data set (beside its
training split). Speed and memory are measured by style_transfer.py.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from deepflash.model.data import Portrait, portraits, to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.measures import measure as measure_against
from deepflash.model.style_systems import style_of_another, style_of_the_answer
from deepflash.model.systems import FLASH, System, fitted_baselines
from deepflash.pairs import Pair, find_pairs
from deepflash.pictures import read_rgb
from deepflash.shards import open_shards


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path, help="Folder of pairs.")
    source.add_argument("--shards", type=Path, help="Data set.")
    parser.add_argument("--size", type=int, default=512, help="Of the pictures that are compared, px.")
    chosen = parser.parse_args()
    if chosen.pairs:
        listed = [_portrait(pair, chosen.size) for pair in find_pairs(chosen.pairs)[0]]
        compare(listed, {pair.key: [other for other in listed if other.subject != pair.subject] for pair in listed})
    else:
        dataset = open_shards(chosen.shards)
        training, tested = (list(portraits(dataset, split, chosen.size)) for split in ("train", "test"))
        compare(tested, {pair.key: training for pair in tested})


def compare(tested: list[Portrait], training: dict[str, list[Portrait]]) -> None:
    """Print mean PSNR, SSIM and colour difference, against the reconstructed truth and the studio picture.

    Parameters
    ----------
    tested
        Pairs.
    training
        By the keys of those, the pairs that may be looked at.
    """
    answer = style_of_the_answer(tested)
    measured: dict[str, list[list[float]]] = {}
    encoding = encoding_named("C")
    fitted: dict[int, list[System]] = {}
    for pair in tested:
        seen = training[pair.key]
        if id(seen) not in fitted:
            fitted[id(seen)] = [fitted_baselines(seen)[0], style_of_another(seen)]
        prepared = (encoding.prepare(side) for side in (pair.flash, pair.studio))
        truths = (encoding.decode(pair.flash, encoding.target(*prepared)), pair.studio)
        for system in (FLASH, *fitted[id(seen)], answer):
            values = [measure_against(system.portrait(pair.flash), truth) for truth in truths]
            measured.setdefault(system.name, []).append([x for m in values for x in (m.psnr, m.ssim, m.delta_e)])
    print(f"{'':24} truth of equation 8: PSNR, SSIM, delta E   studio picture: the same; {len(tested)} pairs")
    for name, rows in measured.items():
        psnr, ssim, delta_e, *studio = np.mean(rows, axis=0)
        print(f"{name:24} {psnr:6.2f} {ssim:.3f} {delta_e:5.1f}   {studio[0]:6.2f} {studio[1]:.3f} {studio[2]:5.1f}")


def _portrait(pair: Pair, size: int) -> Portrait:
    sides = (cv2.resize(read_rgb(path), (size, size), interpolation=cv2.INTER_AREA) for path in (pair.flash, pair.studio))
    flash, studio = (to_tensor(np.asarray(side, np.uint8)[None]) for side in sides)
    return Portrait(pair.id, pair.subject, flash, studio)


if __name__ == "__main__":
    main()
