"""Pairs made of scikit-image's astronaut, with registrations known by construction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

from deepflash.files import sha256_of
from deepflash.pairs import Alignment, Face
from deepflash.pictures import Picture, encode

MakeAlignment = Callable[..., Alignment]

WIDTH, HEIGHT = 390, 520
FACE_BOX = (140.0, 90.0, 260.0, 210.0)
LANDMARKS = {
    "left_eye": [(170.0, 130.0), (185.0, 131.0)],
    "right_eye": [(215.0, 130.0), (230.0, 129.0)],
    "nose_tip": [(200.0, 165.0)],
}
STUDIO_FROM_FLASH = ((1.02, 0.03, -6.0), (-0.03, 1.02, 4.0))


@pytest.fixture
def astronaut() -> Picture:
    """The sitter, (520, 390, 3)."""
    return np.ascontiguousarray(
        cv2.resize(np.asarray(data.astronaut())[:, 30:414], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    )


@pytest.fixture
def make_alignment(tmp_path: Path, astronaut: Picture) -> MakeAlignment:
    """Write a pair's photographs and return its alignment: `make_alignment("S001-a-01", subject="S001", ...)`."""

    def make(pair_id: str = "S001-a-01", *, flash: Picture | None = None, suffix: str = ".jpg", **fields: Any) -> Alignment:
        folder = tmp_path / "raw" / pair_id
        folder.mkdir(parents=True)
        flash = astronaut if flash is None else flash
        matrix = np.array(fields.get("moving_from_fixed", STUDIO_FROM_FLASH))
        size = (flash.shape[1], flash.shape[0])
        studio = cv2.warpAffine(flash, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        paths = {"flash": folder / f"flash{suffix}", "studio": folder / f"studio{suffix}"}
        paths["flash"].write_bytes(encode(flash, suffix))
        paths["studio"].write_bytes(encode(np.asarray(studio, dtype=np.uint8), suffix))
        known: dict[str, Any] = {
            "pair_id": pair_id,
            "subject": pair_id.partition("-")[0],
            **paths,
            "flash_sha256": sha256_of(paths["flash"]),
            "studio_sha256": sha256_of(paths["studio"]),
            "size": size,
            "studio_size": size,
            "moving_from_fixed": STUDIO_FROM_FLASH,
            "method": "by hand",
            "verdict": "good",
            "flash_face": Face(FACE_BOX, LANDMARKS),
            "pose": "frontal",
        }
        return Alignment(**{**known, **fields})

    return make
