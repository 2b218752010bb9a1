"""Per-channel mean and standard deviation of many pictures, from sums of integers: exact, whatever the order of summing."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from deepflash.pictures import Picture


@dataclass(frozen=True, slots=True)
class PixelSums:
    """How many pixels there are, and for R, G and B the sums of their values (0 to 255) and of the squares."""

    pixels: int = 0
    values: tuple[int, int, int] = (0, 0, 0)
    squares: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, picture: Picture) -> Self:
        """Sum an (H, W, 3) RGB `uint8` picture."""
        counts = [np.bincount(picture[..., channel].ravel(), minlength=256) for channel in range(3)]
        levels = np.arange(256)
        red, green, blue = (int(count @ levels) for count in counts)
        red2, green2, blue2 = (int(count @ levels**2) for count in counts)
        return cls(picture.shape[0] * picture.shape[1], (red, green, blue), (red2, green2, blue2))

    def __add__(self, other: "PixelSums") -> "PixelSums":
        red, green, blue = (a + b for a, b in zip(self.values, other.values, strict=True))
        red2, green2, blue2 = (a + b for a, b in zip(self.squares, other.squares, strict=True))
        return PixelSums(self.pixels + other.pixels, (red, green, blue), (red2, green2, blue2))

    def as_dict(self) -> dict[str, list[float]]:
        """Return `mean` and `std` of R, G and B, for values from 0 to 1; zeros if there are no pixels.

        >>> PixelSums.of(np.full((2, 2, 3), 51, np.uint8)).as_dict()
        {'mean': [0.2, 0.2, 0.2], 'std': [0.0, 0.0, 0.0]}
        """
        count = max(self.pixels, 1)
        mean = [value / count / 255 for value in self.values]
        variances = [(count * square - value**2) / count**2 for value, square in zip(self.values, self.squares, strict=True)]
        return {"mean": mean, "std": [math.sqrt(variance) / 255 for variance in variances]}
