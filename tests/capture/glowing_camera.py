"""An emulated camera before a grey wedge, in front of lamps as slow as a test wants. Run as a process by the tests."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import xyz2rgb

from deepflash.hardware.emulator.camera_body import Inertia, serve_camera

SIZE = (240, 320)


def load_wedge(ambient: float) -> Any:
    """Return a render function: a wedge from dark to bright, by skimage's sRGB; the flash adds nothing."""
    wedge = np.linspace(0.05, 0.8, SIZE[0])
    white = np.array([0.95047, 1.0, 1.08883])

    def render(shot: int, lamp_light: float, flash: bool) -> tuple[np.ndarray, dict[str, Any]]:
        noise = np.random.default_rng(shot).normal(0, 0.004, (SIZE[1], SIZE[0], 1))
        linear = np.clip(wedge[None, :, None] * (lamp_light + ambient) + noise, 0, 1)
        return (xyz2rgb(linear * white) * 255).round().astype(np.uint8), {}

    return render


if __name__ == "__main__":
    folder, decay_s, lag_s, ambient = sys.argv[1:]
    inertia = Inertia(lamp_decay_s=float(decay_s), shutter_lag_s=float(lag_s))
    sys.exit(serve_camera(Path(folder), partial(load_wedge, float(ambient)), size=SIZE, seed=3, inertia=inertia))
