"""A data set to look at: one HTML page with contact sheets, sliders between flash and studio, and distributions.

It is written pair by pair, so that neither the pictures nor the page are ever in memory as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2

from deepflash.dataset.summary import NUMBERS, MeasuredPair, Summary, summarize
from deepflash.errors import DatasetError
from deepflash.files import durable_file
from deepflash.pages import inert_json, inert_text, page_parts
from deepflash.pictures import Picture, jpeg_base64
from deepflash.progress import Report, silent
from deepflash.shards import DATASET_FILE

PAIRS_SHOWN = 200
"""By default; at the default width that is a page of about 11 MB."""

PICTURE_WIDTH_PX = 320

_TEMPLATE = files("deepflash.dataset") / "show.html"
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Shown:
    """A page: where it is, how large, and how many of the data set's pairs are on it with their pictures."""

    page: Path
    size_bytes: int
    shown: int
    pairs: int

    def sentence(self) -> str:
        """Say it in one line."""
        rest = self.pairs - self.shown
        return f"{self.pairs} pairs in = {self.shown} shown + {rest} not shown; {self.page}, {self.size_bytes / 1e6:.1f} MB"

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {"page": str(self.page), "size_bytes": self.size_bytes, "pairs": self.pairs, "shown": self.shown}


def show_dataset(
    shards: str | Path,
    page: Path,
    *,
    limit: int | None = PAIRS_SHOWN,
    picture_width_px: int = PICTURE_WIDTH_PX,
    eyes: bool = False,
    workers: int = 1,
    report: Report = silent,
) -> Shown:
    """Write a page on a data set.

    Parameters
    ----------
    shards
        The data set.
    page
        The HTML file to write, durably; it needs nothing beside it.
    limit
        How many pairs to show with their pictures at most: of each split its share, the worst of them. None shows all. Tables
        and distributions are of all pairs.
    picture_width_px
        Of each picture.
    eyes
        Whether to look for shut eyes, see `measure`.
    workers
        Threads that measure; the page does not depend on it.
    report
        Called as pairs are measured and drawn.

    Raises
    ------
    DatasetError
        if the page would stand in the data set, where it would be a stranger.
    ShardError
        if it is none, or a sample is damaged.
    """
    if (page.parent / DATASET_FILE).exists():
        raise DatasetError(f"{page} would stand in the data set itself; give a place beside it")
    summary = summarize(shards, eyes=eyes, workers=workers, report=report)
    chosen = share_out(summary, limit)
    before, after = page_parts(_TEMPLATE)
    with durable_file(page) as file:
        file.write((before + inert_json(_about(summary, chosen), 'id="about"')).encode())
        for number, pair in enumerate(chosen, start=1):
            file.write(_pair_as_html(summary, pair, picture_width_px).encode())
            report(number, len(chosen), "drawing")
        file.write(after.encode())
        size_bytes = file.tell()
    return Shown(page, size_bytes, len(chosen), len(summary.pairs))


def share_out(summary: Summary, limit: int | None) -> list[MeasuredPair]:
    """Return the pairs that are shown, the worst first: of each split its share, but at least one."""
    if limit is None or limit >= len(summary.pairs):
        return list(summary.pairs)
    total = len(summary.pairs)
    room = {split: max(1, facts["pairs"] * limit // total) for split, facts in summary.splits.items()}
    chosen = []
    for pair in summary.pairs:
        if room[pair.entry.split] > 0:
            room[pair.entry.split] -= 1
            chosen.append(pair)
    return chosen[: max(limit, len(room))]


def _about(summary: Summary, chosen: Sequence[MeasuredPair]) -> dict[str, Any]:
    manifest = summary.shards.manifest
    columns = {name: [getattr(pair.measures, name) for pair in summary.pairs] for name in NUMBERS}
    return {
        "title": str(summary.shards.place).rstrip("/").rpartition("/")[2],
        "size": summary.shards.size,
        "pictures": manifest.get("pictures", "png"),
        "splits": summary.splits,
        "poses": summary.poses,
        "skin": {split: summary.skin(split) for split in summary.splits},
        "eyes": {split: summary.eyes(split) for split in summary.splits},
        "names": NUMBERS,
        "of": [pair.entry.split for pair in summary.pairs],
        "values": {name: [None if value is None else round(value, 4) for value in row] for name, row in columns.items()},
        "notes": [str(note) for note in manifest.get("notes", ())],
        "notShown": len(summary.pairs) - len(chosen),
    }


def _pair_as_html(summary: Summary, pair: MeasuredPair, width: int) -> str:
    sample = summary.shards.read(pair.entry)
    pictures = " ".join(
        jpeg_base64(_reduced(picture, width), quality=_JPEG_QUALITY) for picture in (sample.flash, sample.studio)
    )
    return inert_json(pair.as_dict(), "data-pair") + inert_text(pictures)


def _reduced(picture: Picture, width: int) -> Picture:
    if picture.shape[1] <= width:
        return picture
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
