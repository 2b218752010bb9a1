"""Pictures beside each other with labels above them: figures that can be looked at without a browser."""

from collections.abc import Sequence

import cv2
import numpy as np

from deepflash.pictures import Picture

_LEAST_TILE_PX = 256
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GAP_PX = 12


def tile(picture: Picture, lines: Sequence[str]) -> Picture:
    """Put lines of text above a square picture; small pictures are enlarged to 256 px, and letters grow with large ones.

    Parameters
    ----------
    picture
        (size, size, 3) RGB `uint8`.
    lines
        A line that is too long loses its middle.
    """
    side = max(_LEAST_TILE_PX, len(picture))
    enlarged = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC) if side > len(picture) else picture
    return np.concatenate([_lettered(side, lines), np.asarray(enlarged, np.uint8)])


def beside(tiles: Sequence[Picture], *, columns: int, gap_px: int = 0) -> Picture:
    """Put tiles of one size beside each other, in as many rows as they need."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = _white(rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px)
    for number, one in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (height + gap_px), column * (width + gap_px)
        sheet[top : top + height, left : left + width] = one
    return sheet


def sheet_of(groups: Sequence[Sequence[Picture]], titles: Sequence[str], *, most_columns: int = 5) -> Picture:
    """Put groups of tiles below each other, each with its title; one wider than `most_columns` is wrapped evenly."""
    rows = -(-len(groups[0]) // most_columns)
    columns = -(-len(groups[0]) // rows)
    parts = []
    for group, title in zip(groups, titles, strict=True):
        block = beside(group, columns=columns, gap_px=_GAP_PX)
        block = np.pad(block, ((0, 2 * _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0)), constant_values=255)
        parts += [_lettered(block.shape[1], [title], letters_for=group[0].shape[1], shade=232), block]
    return np.concatenate(parts)


def _lettered(width: int, lines: Sequence[str], *, letters_for: int | None = None, shade: int = 255) -> Picture:
    """Return a band with centred lines of text, whose letters fit a tile of that width."""
    scale = 0.5 * ((letters_for or width) / _LEAST_TILE_PX) ** 0.7
    thickness = 1 if scale < 0.7 else 2
    line_px, margin_px = round(56 * scale), 12
    band = _white(margin_px + line_px * len(lines), width)
    band[:] = shade
    for number, line in enumerate(lines):
        shown = _shortened(line, width - 12, scale, thickness)
        letters_px, height = _size_of(shown, scale, thickness)
        middle = margin_px // 2 + line_px * number + line_px // 2
        place = ((width - letters_px) // 2, middle + height // 2)  # where the letters' base line begins
        cv2.putText(band, shown, place, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    return band


def _shortened(line: str, width: int, scale: float, thickness: int) -> str:
    """Cut a line's middle out until it fits."""
    shown, kept = line, len(line)
    while _size_of(shown, scale, thickness)[0] > width and kept > 8:
        kept -= 1
        shown = f"{line[: kept // 2]}...{line[-(kept - kept // 2) :]}"
    return shown


def _size_of(line: str, scale: float, thickness: int) -> tuple[int, int]:
    """Return a line's width and height in pixels."""
    (width, height), _ = cv2.getTextSize(line, _FONT, scale, thickness)
    return width, height


def _white(height: int, width: int) -> Picture:
    return np.full((height, width, 3), 255, dtype=np.uint8)
