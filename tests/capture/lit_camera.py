"""An emulated camera whose pictures are bright patterns that tell which light they had. Run as a process by the tests."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepflash.hardware.emulator.camera_body import serve_camera


def load_pattern(size: tuple[int, int], render_s: float) -> Any:
    """Return a render function: stripes, red under the lamps and white under the flash, black without light."""

    def render(shot: int, lamp_light: float, flash: bool) -> tuple[np.ndarray, dict[str, Any]]:
        time.sleep(render_s)
        stripes = 120 + 100 * (np.arange(size[0]) // 8 % 2)
        light = np.array([1.0, 0.6, 0.4]) * min(1.0, lamp_light) + flash
        picture = np.clip(stripes[None, :, None] * light, 0, 255).astype(np.uint8)
        return np.repeat(picture, size[1], axis=0), {"picture_from_head": [[1, 0, 0], [0, 1, 0]], "blink": False}

    return render


if __name__ == "__main__":
    folder, width, height, render_s, card_bytes, *raw = sys.argv[1:]
    size = (int(width), int(height))
    load = partial(load_pattern, size, float(render_s))
    sys.exit(serve_camera(Path(folder), load, size=size, seed=7, card_bytes=int(card_bytes), raw=raw == ["raw"]))
