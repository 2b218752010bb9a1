"""A camera whose scene is a plain colour that tells the lamps and the flash apart. Run as a process by the tests."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepflash.hardware.emulator.camera_body import serve_camera


def load_fake_scene(size: tuple[int, int], render_s: float) -> Any:
    """Return a render function: red is the lamps' light, blue the flash, green the shot."""

    def render(shot: int, lamp_light: float, flash: bool) -> tuple[np.ndarray, dict[str, Any]]:
        time.sleep(render_s)
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        picture[...] = (min(255, round(200 * lamp_light)), shot % 256, 200 * flash)
        return picture, {"picture_from_head": [[1, 0, 0], [0, 1, 0]], "blink": False}

    return render


if __name__ == "__main__":
    folder, width, height, render_s, card_bytes, *raw = sys.argv[1:]
    size = (int(width), int(height))
    load = partial(load_fake_scene, size, float(render_s))
    sys.exit(serve_camera(Path(folder), load, size=size, seed=7, card_bytes=int(card_bytes), raw=raw == ["raw"]))
