"""The registration report: one HTML page that holds its pictures, to look through hundreds of pairs by the keyboard.

Of each pair three pictures are stored, the flash photograph and the studio photograph as photographed and registered.
Flicker, checkerboard, difference and edges are made of them in the browser, for the pair that is looked at alone, so
that the page stays small and opens at once. It is written as the pairs are drawn: neither the pictures nor the page are
ever in memory as a whole.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from deepflash.accounts import Account, SetAside
from deepflash.affine import Affine, Points, apply, inverse
from deepflash.align.views import face_views
from deepflash.align.words import numbers_in_words
from deepflash.batch import run_all
from deepflash.errors import PictureError
from deepflash.files import durable_file, sha256_of
from deepflash.pages import inert_json, inert_text, page_parts
from deepflash.pairs import VERDICTS, Alignment, Face, load_alignments
from deepflash.pictures import jpeg_base64, read_header
from deepflash.progress import Report, silent

PAIRS_SHOWN = 200
"""By default; at the default width that is a page of about 30 MB."""

PICTURE_WIDTH_PX = 480

_TEMPLATE = files("deepflash.align") / "report.html"
_JPEG_QUALITY = 80
_WORST_FIRST = {verdict: rank for rank, verdict in enumerate(reversed(VERDICTS))}


@dataclass(frozen=True)
class Written:
    """What stands on a report's page.

    Attributes
    ----------
    account
        Done are the pairs shown with their pictures. Set aside are damaged records, and pairs whose photographs are
        missing or are not those that were registered; the page names them, too.
    not_shown
        How many pairs were left out, being better than all that are shown.
    """

    page: Path
    size_bytes: int
    account: Account
    not_shown: int

    def sentence(self) -> str:
        """Say it in one line: in = shown + not shown + set aside."""
        total = self.account.total + self.not_shown
        parts = f"{self.account.done} shown + {self.not_shown} not shown + {len(self.account.set_aside)} set aside"
        return f"{total} pair{'' if total == 1 else 's'} in = {parts}; {self.page}, {self.size_bytes / 1e6:.1f} MB"

    def as_dict(self) -> dict[str, object]:
        """Return it for `--json`."""
        account = self.account.as_dict()
        return {
            "page": str(self.page),
            "size_bytes": self.size_bytes,
            "in": self.account.total + self.not_shown,
            "shown": account["done"],
            "not_shown": self.not_shown,
            "set_aside": account["set_aside"],
        }


def write_report(
    aligned: Path,
    page: Path,
    *,
    limit: int | None = PAIRS_SHOWN,
    picture_width_px: int = PICTURE_WIDTH_PX,
    workers: int = 1,
    report: Report = silent,
) -> Written:
    """Write a page on all registrations in `aligned`, the worst first.

    Parameters
    ----------
    aligned
        A folder that `align_batch` wrote. The photographs are looked for where its files say.
    page
        The HTML file to write, durably; it needs nothing beside it.
    limit
        How many pairs to show at most, the worst of them; None shows all.
    picture_width_px
        Of each picture; its height is 1.25 times that. Three pictures of 480 px take about 0.15 MB.
    workers
        Number of processes that draw; the page does not depend on it.
    report
        Called as pairs are drawn.

    Raises
    ------
    PairError
        if `aligned` is missing or holds no alignment.
    """
    alignments, damaged = load_alignments(aligned)
    return write_page(
        alignments,
        page,
        title=aligned.resolve().name,
        damaged=damaged,
        limit=limit,
        picture_width_px=picture_width_px,
        workers=workers,
        report=report,
    )


def write_page(
    alignments: Sequence[Alignment],
    page: Path,
    *,
    title: str,
    damaged: Sequence[SetAside] = (),
    limit: int | None = PAIRS_SHOWN,
    picture_width_px: int = PICTURE_WIDTH_PX,
    workers: int = 1,
    report: Report = silent,
) -> Written:
    """Write a page on these registrations; `title` and `damaged` records are named on it. Parameters as `write_report`."""
    ordered = worst_first(alignments)
    shown = ordered[:limit]
    about = {
        "title": title,
        "verdicts": {verdict: sum(entry.verdict == verdict for entry in ordered) for verdict in VERDICTS},
        "notShown": _not_shown(ordered[len(shown) :]),
        "damaged": [{"item": entry.item, "reason": entry.reason} for entry in damaged],
    }
    account = Account(set_aside=list(damaged))
    before_pairs, after_pairs = page_parts(_TEMPLATE)
    with durable_file(page) as file:
        file.write((before_pairs + inert_json(about, 'id="about"')).encode())
        for outcome in run_all(functools.partial(_drawn, picture_width_px), shown, workers=workers, report=report):
            drawn = outcome.value or _Drawn(error=outcome.error or "")
            if drawn.error:
                account.set_aside.append(SetAside(outcome.unit.pair_id, drawn.error))
            else:
                account.done += 1
            file.write(_pair_as_html(outcome.unit, drawn).encode())
        file.write(after_pairs.encode())
        size_bytes = file.tell()
    return Written(page, size_bytes, account, len(ordered) - len(shown))


def worst_first(alignments: Iterable[Alignment]) -> list[Alignment]:
    """Sort by verdict, then by confidence (by the agreement of the edges where there is none), then by id."""

    def goodness(alignment: Alignment) -> float:
        value = alignment.quality.get("confidence", alignment.quality.get("agreement", 0.0))
        return value if math.isfinite(value) else 0.0

    return sorted(alignments, key=lambda entry: (_WORST_FIRST[entry.verdict], goodness(entry), entry.pair_id))


def _not_shown(rest: Sequence[Alignment]) -> str:
    if not rest:
        return ""
    counts = Counter(alignment.verdict for alignment in rest)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{len(rest)} pairs are not on this page ({verdicts}), being better than these; --limit 0 shows all."


@dataclass(frozen=True)
class _Drawn:
    """What a worker made of a pair: base64 JPEG files and what is drawn over them, or why there is none."""

    error: str = ""
    pictures: tuple[str, ...] = ()  # flash, studio as photographed, studio registered
    shapes: dict[str, Any] | None = None


def _drawn(width: int, alignment: Alignment) -> _Drawn:
    """Draw a pair; run in a worker."""
    _check_photograph(alignment.flash, alignment.size, alignment.flash_sha256)
    _check_photograph(alignment.studio, alignment.studio_size, alignment.studio_sha256)
    views = face_views(alignment, width)
    pictures = tuple(jpeg_base64(picture, quality=_JPEG_QUALITY) for picture in (views.flash, views.studio, views.registered))
    height, width = views.flash.shape[:2]
    return _Drawn("", pictures, {"width": width, "height": height, **_shapes(alignment, views.view)})


def _check_photograph(path: Path, size: tuple[int, int], sha256: str) -> None:
    header = read_header(path)  # says in words what is wrong with a file before it is read whole
    if (header.width, header.height) != size or sha256_of(path) != sha256:
        raise PictureError(f"{path} is not the photograph that was registered (checksum); run align batch again")


def _shapes(alignment: Alignment, view: Affine) -> dict[str, Any]:
    """Return boxes (R, and M before or M' after registration) and residual arrows, in pixels of the drawn pictures."""
    drawn = inverse(view)
    flash = alignment.flash_face
    shapes: dict[str, Any] = {"flashBox": _box(flash, drawn)}
    measured = "landmark_residual" in alignment.quality  # else one face was made from the other: no residual to show
    for name, studio in (("before", alignment.studio_face), ("after", alignment.registered_face)):
        shapes[name] = {"box": _box(studio, drawn), "arrows": _arrows(flash, studio, drawn) if measured else []}
    return shapes


def _box(face: Face | None, drawn_from_photograph: Affine) -> list[list[float]]:
    if face is None:
        return []
    left, top, right, bottom = face.box
    return _finite(apply(drawn_from_photograph, [(left, top), (right, top), (right, bottom), (left, bottom)]))


def _arrows(flash: Face | None, studio: Face | None, drawn_from_photograph: Affine) -> list[list[float]]:
    """Return (x, y of the flash landmark, x, y of the studio one) for landmarks that both faces have."""
    if flash is None or studio is None:
        return []
    arrows: list[list[float]] = []
    for name, points in sorted(flash.landmarks.items()):
        others = studio.landmarks.get(name, [])
        if points and len(points) == len(others):
            arrows += _finite(np.hstack([apply(drawn_from_photograph, landmarks) for landmarks in (points, others)]))
    return arrows


def _finite(rows: Points) -> list[list[float]]:
    """Return rows of numbers for JSON, none if a damaged record made one of them no number."""
    return [[round(float(value), 2) for value in row] for row in rows] if np.isfinite(rows).all() else []


def _pair_as_html(alignment: Alignment, drawn: _Drawn) -> str:
    facts = {
        "id": alignment.pair_id,
        "subject": alignment.subject,
        "pose": alignment.pose,
        "verdict": alignment.verdict,
        "reasons": alignment.reasons,
        "method": alignment.method,
        "size": alignment.size,
        "map": [[f"{value:.6g}" for value in row] for row in alignment.moving_from_fixed],
        "numbers": numbers_in_words(alignment),
        "missing": drawn.error,
        "shapes": drawn.shapes,
    }
    return inert_json(facts, "data-pair") + inert_text(" ".join(drawn.pictures))
