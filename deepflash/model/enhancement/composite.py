"""People cut out at full resolution, ready to be put before another background.

A matte is known at a reduced resolution. As lines of the photograph's colours (matte.guided_lines) it is brought to any
rows of the photograph, where it follows the photograph's own edges. A pixel that is a person in part shows the background
in part; so the colours of both are estimated before the background is replaced, and no rim of the old one is left at hair.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.model.enhancement.matte import Maps, guided_lines
from deepflash.model.enhancement.upsampling import rows_at
from deepflash.pictures import Picture

_GUIDE_RADIUS_PX = 2  # of the reduced copy: half the window of the guided filter
_EVENNESS = 1e-3
_REACHES = (1 / 7, 1 / 110)  # of the longer side: colours are first looked for far, then near, as their source does


@dataclass(frozen=True)
class CutOut:
    """People and their matte, ready to be brought to any rows of the photograph.

    Attributes
    ----------
    matte
        (h, w) float32 in [0, 1].
    lines
        (h, w, 4) float32: `matte = slope . colour + offset`.
    foreground, background
        (h, w, 3) float32 in [0, 1]: the colours of the people and of what is behind them, everywhere.
    """

    matte: Maps
    lines: Maps
    foreground: Maps
    background: Maps


def cut_out(reduced: Picture, matte: Maps) -> CutOut:
    """Prepare a matte for full resolution.

    Parameters
    ----------
    reduced
        (h, w, 3) RGB `uint8`, a copy of the whole photograph, in its own colour space.
    matte
        (h, w) of this copy, in [0, 1].

    Notes
    -----
    The colours are those of Forte, Approximate fast foreground colour estimation, ICIP 2021: weighted means of what is
    near, corrected by what the picture shows, twice.
    """
    guide = np.asarray(reduced / np.float32(255), np.float32)
    lines = guided_lines(guide, matte, _GUIDE_RADIUS_PX, _EVENNESS)
    lines[..., 3] = matte - (lines[..., :3] * guide).sum(axis=2)  # what no line explains is interpolated
    foreground = background = fore = back = guide
    for reach in _REACHES:
        side = max(1, round(reach * max(matte.shape))) * 2 + 1
        fore, back = _mean(foreground, matte, side), _mean(background, 1 - matte, side)
        foreground, background = _unmixed(guide, matte, fore, back), _unmixed(guide, 1 - matte, back, fore)
    return CutOut(matte, lines, fore, back)


def matte_at(cut: CutOut, rows: Maps, top: int, height: int) -> Maps:
    """Bring the matte to some rows of a photograph.

    Parameters
    ----------
    rows
        (n, W, 3) of the photograph, in [0, 1].
    top
        The first of them.
    height
        Of the photograph.

    Returns
    -------
    (n, W) float32 in [0, 1]
        1 and 0 stay what they are: edges within people and within the background are none of the matte.
    """
    lines = _wide(rows_at(cut.lines, top, len(rows), height), rows.shape[1])
    known = _wide(rows_at(cut.matte, top, len(rows), height), rows.shape[1])
    along = (lines[..., :3] * rows).sum(axis=2) + lines[..., 3]
    loose = np.clip(20 * np.minimum(known, 1 - known), 0, 1)
    return np.asarray(np.clip(known + loose * (along - known), 0, 1), np.float32)


def foreground_at(cut: CutOut, rows: Maps, matte: Maps, top: int, height: int) -> Maps:
    """Return the colours of the people in some rows of a photograph, freed of the background.

    Parameters
    ----------
    rows, top, height
        As for `matte_at`.
    matte
        (n, W) of these rows.

    Returns
    -------
    (n, W, 3) float32 in [0, 1]
        The rows themselves where the matte is 1.
    """
    colours = (_wide(rows_at(maps, top, len(rows), height), rows.shape[1]) for maps in (cut.foreground, cut.background))
    return _unmixed(rows, matte, *colours)


def _mean(colours: Maps, weights: Maps, side: int) -> Maps:
    """Return the weighted mean of colours around each pixel; a little of all, so that it is known everywhere."""
    weights = (weights + np.float32(1e-5))[..., None]
    total = cv2.blur(colours * weights, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(total / cv2.blur(weights, (side, side), borderType=cv2.BORDER_REFLECT)[..., None], np.float32)


def _unmixed(picture: Maps, share: Maps, colours: Maps, others: Maps) -> Maps:
    """Correct the estimated colours of one layer by what the mixture of both leaves unexplained."""
    share = share[..., None]
    unexplained = picture - share * colours - (1 - share) * others
    return np.asarray(np.clip(colours + share * unexplained, 0, 1), np.float32)


def _wide(rows: NDArray[np.float32], width: int) -> Maps:
    return np.asarray(cv2.resize(rows, (width, len(rows)), interpolation=cv2.INTER_LINEAR), np.float32)
