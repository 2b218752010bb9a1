"""What a portrait shall look like."""

import math
from dataclasses import dataclass
from typing import Literal

from PIL import ImageColor

from deepflash.errors import ModelError

Background = Literal["keep", "enhance"] | tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a photograph is enhanced.

    Attributes
    ----------
    strength
        How much of the change is made, 0 (the photograph itself, its red pupils corrected) to 1.
    background
        `keep`: what is behind the person stays as it is, `enhance`: it is treated like the person, or an sRGB colour
        (0 to 255 each) that takes its place.
    red_eye
        Whether red pupils of the faces that are found are corrected, before everything else.
    whole
        Treat the entire picture as one, without looking for faces; and what is behind the person, too, unless a mask says where
        that is.

    Raises
    ------
    ModelError
        if a value is out of its range.
    """

    strength: float = 1.0
    background: Background = "keep"
    red_eye: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise ModelError(f"strength {self.strength} is not from 0 to 1")
        if isinstance(self.background, str):
            usable = self.background in {"keep", "enhance"}
        else:
            usable = len(self.background) == 3 and all(0 <= value <= 255 for value in self.background)
        if not usable:
            raise ModelError(f"background {self.background!r} is none; give keep, enhance or a colour (red, green, blue)")


def parse_background(text: str) -> Background:
    """Read `keep`, `enhance`, or a colour as CSS writes it.

    Raises
    ------
    ModelError
        if it is none of them.

    Examples
    --------
    >>> parse_background("keep"), parse_background("white"), parse_background("#406080")
    ('keep', (255, 255, 255), (64, 96, 128))
    """
    words: dict[str, Background] = {"keep": "keep", "enhance": "enhance"}
    if text in words:
        return words[text]
    try:
        red, green, blue, *_alpha = ImageColor.getrgb(text)
    except ValueError:
        raise ModelError(f"background {text!r} is none; give keep, enhance, or a colour such as white or #406080") from None
    return red, green, blue
