"""Speed and memory of portrait style transfer, at 1, 4 and 13 megapixels, each in a process of its own.

    python benchmarks/style_transfer.py [--masks] [--landmarks large]

The picture is the astronaut, darker and turned a little; the example is the astronaut. CPU seconds are user and system time,
reading and writing files not among them; memory is the process's peak, and what it had once everything was loaded: what the
command needs, and no PyTorch. How good the portraits are is measured by style_truth.py.
"""

import argparse
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
import skimage.data

from deepflash.faces import require_faces
from deepflash.model.correspondence import find_correspondence
from deepflash.model.style_transfer import transfer_style

SIDES_PX = {1: (866, 1155), 4: (1732, 2309), 13: (3120, 4160)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", action="store_true", help="Restyle subject and background apart.")
    parser.add_argument("--landmarks", choices=["small", "large"], default="small")
    parser.add_argument("--megapixels", type=int, choices=list(SIDES_PX), help="Measure this size alone, in this process.")
    chosen = parser.parse_args()
    if chosen.megapixels is not None:
        measure(chosen.megapixels, masks=chosen.masks, landmarks=chosen.landmarks)
        return
    for megapixels in SIDES_PX:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--megapixels", str(megapixels)], check=True)


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
