"""Speed and memory of portrait style transfer, at 1, 4 and 13 megapixels, each in a process of its own.

    python benchmarks/style_transfer.py [--masks] [--landmarks large]
    python benchmarks/style_transfer.py --pairs FOLDER | --shards SHARDS [--size 512]

Of the first form, the picture is the astronaut, darker and turned a little; the example is the astronaut. CPU seconds are user
and system time, reading and writing files not among them; memory is the process's peak, and what it had once everything was
loaded. The second form says how near the portraits come to the truth, on a folder of NN_flash.jpg and NN_studio.jpg (each pair
beside the others) or on the test split of a data set (beside its training split).
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from deepflash.faces import require_faces
from deepflash.model.correspondence import find_correspondence
from deepflash.model.data import Portrait, portraits, to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.measures import measure as measure_against
from deepflash.model.style_systems import style_of_another, style_of_the_answer
from deepflash.model.style_transfer import transfer_style
from deepflash.model.systems import FLASH, System, fitted_baselines
from deepflash.pairs import Pair, find_pairs
from deepflash.pictures import read_rgb
from deepflash.shards import open_shards

SIDES_PX = {1: (866, 1155), 4: (1732, 2309), 13: (3120, 4160)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", action="store_true", help="Restyle subject and background apart.")
    parser.add_argument("--landmarks", choices=["small", "large"], default="small")
    parser.add_argument("--megapixels", type=int, choices=list(SIDES_PX), help="Measure this size alone, in this process.")
    parser.add_argument("--pairs", type=Path, help="Compare with the truth on these pairs.")
    parser.add_argument("--shards", type=Path, help="Compare with the truth on this data set.")
    parser.add_argument("--size", type=int, default=512, help="Of the pictures that are compared, px.")
    chosen = parser.parse_args()
    if chosen.pairs:
        listed = [_portrait(pair, chosen.size) for pair in find_pairs(chosen.pairs)[0]]
        compare(listed, {pair.key: [other for other in listed if other.subject != pair.subject] for pair in listed})
        return
    if chosen.shards:
        dataset = open_shards(chosen.shards)
        training, tested = (list(portraits(dataset, split, chosen.size)) for split in ("train", "test"))
        compare(tested, {pair.key: training for pair in tested})
        return
    if chosen.megapixels is not None:
        measure(chosen.megapixels, masks=chosen.masks, landmarks=chosen.landmarks)
        return
    for megapixels in SIDES_PX:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--megapixels", str(megapixels)], check=True)


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


def measure(megapixels: int, *, masks: bool, landmarks: str) -> None:
    """Restyle one picture, after a small one that loads everything."""
    require_faces()
    small = skimage.data.astronaut()
    transfer_style(small, small, landmarks=landmarks)  # type: ignore[arg-type]
    loaded_mb = _peak_mb()
    example = cv2.resize(small, SIDES_PX[megapixels], interpolation=cv2.INTER_CUBIC)
    height, width = example.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 4, 1.05)
    picture = cv2.warpAffine(np.asarray(example * 0.7, np.uint8), turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    mask = np.full((height, width), 255, np.uint8)
    mask[:, : width // 5] = 0
    began_s = time.process_time()
    find_correspondence(picture, example, landmarks=landmarks)  # type: ignore[arg-type]
    found_s = time.process_time() - began_s
    began_s, began_wall_s = time.process_time(), time.perf_counter()
    transfer_style(picture, example, masks=(mask, mask) if masks else None, landmarks=landmarks)  # type: ignore[arg-type]
    cpu_s, wall_s = time.process_time() - began_s, time.perf_counter() - began_wall_s
    print(
        f"{megapixels:3d} MP: {cpu_s:6.2f} CPU s, of which correspondence {found_s:.2f}; {wall_s:.2f} s wall;"
        f" peak {_peak_mb():.0f} MB, {loaded_mb:.0f} MB of it before"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
