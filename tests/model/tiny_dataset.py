"""A tiny data set of portraits whose truth is known: studio pictures, and the same under a flash that falls off."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from deepflash.pictures import Picture
from deepflash.shards import ShardWriter, encode_sample

SIZE = 40
TINY_RECIPE = """
width = 0.0625
size = 32
batch = 3
epochs = 4
learning_rate = 0.003
warmup_steps = 2
schedule = "cosine"
ema = 0.9
"""


def flash_and_studio(subject: int, size: int = SIZE) -> tuple[Picture, Picture]:
    """Return a portrait under flash and under lamps; subjects differ in crop, brightness and colouring."""
    random = np.random.default_rng(subject)
    left, top = random.integers(140, 220), random.integers(0, 40)
    studio = cv2.resize(data.astronaut()[top : top + 220, left : left + 220], (size, size), interpolation=cv2.INTER_AREA)
    studio = np.clip(studio * random.uniform(0.7, 1.0, 3), 0, 255)
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size)))[..., None]
    flash = studio * (1.15 - 0.5 * radius) * np.array([0.8, 0.9, 1.1])
    return np.clip(flash, 0, 255).astype(np.uint8), studio.astype(np.uint8)


def write_shards(folder: Path, subjects: dict[str, range], size: int = SIZE) -> Path:
    """Write a data set with four variants of each subject, the first of them un-augmented."""
    with ShardWriter(folder) as writer:
        for split, numbers in subjects.items():
            for subject in numbers:
                flash, studio = flash_and_studio(subject, size)
                for turn, mirrored in ((0, False), (0, True), (10, False), (10, True)):
                    step = -1 if mirrored else 1
                    shift = np.float32([[1, 0, turn / 5], [0, 1, 0]])
                    pictures = (
                        cv2.warpAffine(
                            np.ascontiguousarray(picture[:, ::step]), shift, (size, size), borderMode=cv2.BORDER_REPLICATE
                        )
                        for picture in (flash, studio)
                    )
                    info = {
                        "subject": f"S{subject:03d}",
                        "pair_id": f"S{subject:03d}-a-01",
                        "pose": "frontal",
                        "variant": {"angle_deg": turn, "frame": "wide", "mirrored": mirrored},
                        "valid_fraction": 1.0,
                    }
                    writer.add(split, f"S{subject:03d}-{turn:02d}{'b' if mirrored else 'a'}", encode_sample(*pictures, info))
        writer.commit({"size": size})
    return folder
