"""The portrait's pixels: photograph, difference, matte and background joined at full resolution, some rows at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from deepflash.model.enhancement.composite import CutOut, foreground_at, matte_at
from deepflash.model.enhancement.upsampling import Maps, luma_of, rows_at
from deepflash.photos import Pixels

_STRIP_ROWS = 64  # bounds the memory
_ROOM_UP, _ROOM_DOWN = 0.8, 0.95
"""A change takes at most this share of what is left to white or to black, so that no detail becomes flat colour. Of an exact
difference on real pairs, 9 % of the pixels would pass white or black; keeping their detail costs less than 0.6 of 39 dB
(measured at 0.75)."""

Difference = Callable[[int, Maps], Maps]
"""Given the first of some rows and their luma (n, W), what is to be added to them, (n, W, 3)."""


@dataclass(frozen=True)
class Subject:
    """Who is in front of the background.

    Attributes
    ----------
    cut
        Found in the photograph.
    mask
        (h, w) `uint8` that a person has made, to be used instead of the matte that was found; of any size.
    behind
        What takes the background's place, (red, green, blue) from 0 to 1 in the photograph's space; None leaves it.
    """

    cut: CutOut
    mask: NDArray[np.uint8] | None = None
    behind: NDArray[np.float32] | None = None

    def matte_at(self, rows: Maps, top: int, height: int) -> Maps:
        if self.mask is None:
            return matte_at(self.cut, rows, top, height)
        wide = cv2.resize(rows_at(self.mask, top, len(rows), height), rows.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide / np.float32(255), dtype=np.float32)


def render(pixels: Pixels, difference: Difference, strength: float, subject: Subject | None) -> Pixels:
    """Add a difference to a photograph.

    Parameters
    ----------
    pixels
        (H, W, 3) `uint8` or `uint16`.
    difference
        What is to be added.
    strength
        Which share of it, 0 to 1.
    subject
        To whom; if None, everywhere.

    Returns
    -------
    Pixels
        The same shape and type.
    """
    result = np.empty_like(pixels)
    white = np.float32(np.iinfo(pixels.dtype).max)

    def change(top: int) -> None:
        rows = np.asarray(pixels[top : top + _STRIP_ROWS] / white, dtype=np.float32)
        result[top : top + len(rows)] = np.rint(_changed(rows, top, len(pixels), difference, strength, subject) * white)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(change, range(0, len(pixels), _STRIP_ROWS)))
    return result


def _changed(rows: Maps, top: int, height: int, difference: Difference, strength: float, subject: Subject | None) -> Maps:
    if subject is None:
        return _added(rows, difference(top, luma_of(rows)), np.float32(strength))
    matte = subject.matte_at(rows, top, height)
    share = matte[..., None]
    if subject.behind is None:
        return _added(rows, difference(top, luma_of(rows)), np.float32(strength) * share)
    people = foreground_at(subject.cut, rows, matte, top, height)
    changed = _added(people, difference(top, luma_of(people)), np.float32(strength))
    return np.asarray(share * changed + (1 - share) * subject.behind, dtype=np.float32)


def _added(rows: Maps, added: Maps, share: Maps | np.float32) -> Maps:
    """Add a share of what fits; so the result changes linearly with the share, on which the page relies."""
    return np.asarray(rows + share * np.clip(added, -_ROOM_DOWN * rows, _ROOM_UP * (1 - rows)), dtype=np.float32)
