"""The numbers behind a verdict, in words and in units that a person can picture."""

import math
from collections.abc import Callable

from deepflash.pairs import Alignment


def numbers_in_words(alignment: Alignment) -> list[tuple[str, str]]:
    """Return what was measured of a registration as (what, how much), the most telling first.

    Lengths on the face are said as a fraction of it and in pixels of the flash photograph at full resolution. Numbers
    that are not known here come last, under their own name.
    """
    known = [
        (label, say(alignment.quality[name], alignment)) for name, (label, say) in _SAID.items() if name in alignment.quality
    ]
    others = [(name.replace("_", " "), f"{value:.4g}") for name, value in alignment.quality.items() if name not in _SAID]
    return known + others


def _plain(value: float, _alignment: Alignment) -> str:
    return f"{value:.2f}"


def _percent(value: float, _alignment: Alignment) -> str:
    return f"{value:.1%}"


def _degrees(value: float, _alignment: Alignment) -> str:
    return f"{value:.1f} degrees"


def _of_one(value: float, _alignment: Alignment) -> str:
    return f"{value:.2f} of 1"


def _of_face(value: float, alignment: Alignment) -> str:
    face = alignment.flash_face
    return f"{value:.2%} of the face's width" + (_pixels(value * (face.box[2] - face.box[0])) if face else "")


def _of_width(value: float, alignment: Alignment) -> str:
    return f"{value:.1%} of the picture's width" + _pixels(value * alignment.size[0])


def _of_eyes(value: float, _alignment: Alignment) -> str:
    return f"{value:.1%} of the distance between the eyes"


def _pixels(value: float) -> str:
    return f", {value:.1f} px" if math.isfinite(value) else ""


_SAID: dict[str, tuple[str, Callable[[float, Alignment], str]]] = {
    "confidence": ("probability that the face is within 6 px of 3120", _percent),
    "backward_residual": ("forward and backward registration differ by", _of_face),
    "tile_residual": ("small parts of the face are off by", _of_face),
    "tile_halves": ("maps fitted to two halves of them differ by", _of_face),
    "bend": ("the face is bent by", _of_face),
    "thinnest_band": ("share of the tiles in the band of the face that has fewest", _percent),
    "part_shift": ("a part of it moved beside the rest by", _of_face),
    "part_agreement": ("the part that agrees least agrees by", _of_one),
    "landmark_residual": ("the eyes are apart by", _of_eyes),
    "eye_likeness": ("the eyes are alike by", _of_one),
    "eye_uprightness": ("openness of the eyes (open -0.8, shut -1.5)", _plain),
    "agreement_before": ("edges agree before registration by", _of_one),
    "agreement": ("edges agree after registration by", _of_one),
    "overlap": ("share of the face in the studio photograph", _percent),
    "shift": ("the face moved by", _of_width),
    "rotation_deg": ("it turned by", _degrees),
    "scale_change": ("it changed in size by", _percent),
    "shear": ("it was sheared by", _percent),
}
