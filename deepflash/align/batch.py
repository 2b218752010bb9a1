"""Aligning one pair, or all pairs of a folder: decode, find the faces, register, judge, store.

Registration works on copies of at least 1560 pixels in width, decoded at that size (a scaled JPEG decode agrees
with the full one to 0.003 px in position); the map it returns is for the photographs at full resolution.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from deepflash.accounts import Account, SetAside
from deepflash.affine import Affine, scaling
from deepflash.align import frame
from deepflash.align.quality import judge
from deepflash.align.registration import TILES_WIDTH_PX, Method, register
from deepflash.align.subjects import find_pair_faces, locate
from deepflash.batch import Crew, in_part, run_all, usable_cores
from deepflash.cluster import dask_workers
from deepflash.errors import AlignError, PairError
from deepflash.faces import map_face
from deepflash.files import sha256_of, sweep_temporaries, temporary_folder, write_durably
from deepflash.pairs import Alignment, Face, Pair, alignment_path, find_pairs, load_alignment, save_alignment
from deepflash.photos import srgb_of
from deepflash.pictures import Header, Picture, encode, read_header, read_rgb
from deepflash.progress import Report, silent

ALIGN_VERSION = "2"
"""Changes whenever the same photographs would be aligned or judged differently; older results are then redone."""


def align_batch(
    raw: Path,
    aligned: Path,
    *,
    workers: int | None = None,
    method: Method = "refined",
    cluster: str | None = None,
    part: tuple[int, int] | None = None,
    write_images: bool = False,
    report: Report = silent,
) -> Account:
    """Register every pair found in `raw` and write `aligned/<pair-id>.json`, one by one, durably.

    What an earlier run finished is recognised by the content of the photographs and skipped, so the same call goes
    on where a killed one stopped. The result does not depend on who works. Several calls may share one `aligned`.

    Parameters
    ----------
    raw
        A tree written by `capture`, or a folder of `NN_flash.EXT` and `NN_studio.EXT`.
    aligned
        Where the results go; made if need be.
    workers
        Number of processes on this machine, one thread each; by default one per core.
    method
        See `deepflash.align.registration.register`. What another method finished is done again.
    cluster
        Address of a Dask scheduler, or its scheduler file, whose workers do the work instead of this machine's; see
        `deepflash.cluster`.
    part
        (k, n) takes the k-th of n parts of the pairs, 1 <= k <= n. A pair is always in the same part, whichever other
        pairs there are; the parts are of about equal size.
    write_images
        Also store each registered studio photograph as `aligned/<pair-id>.studio.jpg` (one cubic interpolation).
    report
        Called as pairs are finished.

    Returns
    -------
    Account
        Of the part, if one is given. Pairs that cannot be read or registered are set aside with the reason. A pair with
        the verdict `bad` is done: its verdict says why later stages leave it out.

    Raises
    ------
    PairError
        if `raw` holds no pairs, or `aligned` is not a folder of its own.
    ClusterError
        if the cluster cannot be reached, is lost, or lacks what the work needs.
    ValueError
        if `part` or `workers` is out of range.
    """
    pairs, set_aside = find_pairs(raw.absolute() if cluster else raw)
    if part is not None:
        pairs = [pair for pair in pairs if in_part(pair.id, part)]
        set_aside = [entry for entry in set_aside if in_part(entry.item, part)]
    _make_ready(aligned, raw)
    account = Account(part="/".join(map(str, part or ())), set_aside=set_aside)
    unit = functools.partial(_align_into, aligned.absolute(), method, write_images)
    with _crew(aligned, raw, workers, cluster) as crew:
        for outcome in run_all(unit, pairs, workers=crew, report=report):
            if outcome.error is not None:
                account.set_aside.append(SetAside(outcome.unit.id, outcome.error))
            elif outcome.value == "done":
                account.done += 1
            else:
                account.skipped += 1
    sweep_temporaries(aligned)  # of workers that died
    return account


def align_pair(pair: Pair, method: Method = "refined") -> Alignment:
    """Register the two photographs of a pair and judge the result; see `register` for the methods.

    Raises
    ------
    PictureError
        if a photograph is missing, truncated or not a picture.
    PairError
        if a photograph is not the one that `pair.json` describes, or is there twice.
    AlignError
        if the photographs differ in size or are too small.
    """
    return _align(pair, method, _checksums(pair))


def registered_studio(alignment: Alignment) -> Picture:
    """Return the studio photograph laid on the flash photograph, (H, W, 3) sRGB, by one cubic interpolation."""
    affine = np.array(alignment.moving_from_fixed)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    studio = srgb_of(read_rgb(alignment.studio), read_header(alignment.studio).profile)
    return np.asarray(cv2.warpAffine(studio, affine, alignment.size, flags=flags), dtype=np.uint8)


@dataclass(frozen=True)
class _Checksums:
    flash: str
    studio: str


@contextmanager
def _crew(aligned: Path, raw: Path, workers: int | None, cluster: str | None) -> Iterator[int | Crew]:
    if cluster is None:
        yield workers or usable_cores()
        return
    with temporary_folder(aligned) as sign:  # who sees it sees this very folder, not another disk's of the same name
        yield dask_workers(cluster, (raw.absolute(), sign.absolute()))


def _make_ready(aligned: Path, raw: Path) -> None:
    if aligned.exists() and not aligned.is_dir():
        raise PairError(f"{aligned} is a file; give a folder for the results")
    if aligned.resolve() == raw.resolve():
        raise PairError(f"{aligned} holds the photographs; give another folder for the results")
    aligned.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(aligned)


def _align_into(aligned: Path, method: Method, write_images: bool, pair: Pair) -> Literal["done", "skipped"]:
    checksums = _checksums(pair)
    picture = aligned / f"{pair.id}.studio.jpg"
    if _is_finished(alignment_path(aligned, pair.id), pair, method, checksums) and (picture.exists() or not write_images):
        return "skipped"
    alignment = _align(pair, method, checksums)
    if write_images:
        write_durably(picture, encode(registered_studio(alignment), ".jpg"))
    else:
        picture.unlink(missing_ok=True)  # of an earlier map, if there is one
    save_alignment(aligned, alignment)  # last: its presence says that all is there
    return "done"


def _checksums(pair: Pair) -> _Checksums:
    for path in (pair.flash, pair.studio):
        read_header(path)  # says in words what is wrong with a file before it is read whole
    checksums = _Checksums(sha256_of(pair.flash), sha256_of(pair.studio))
    if checksums.flash == checksums.studio:
        raise PairError(f"{pair.flash} and {pair.studio.name} are copies of one photograph; a pair needs two")
    for name, facts in pair.record.get("files", {}).items():
        if facts.get("sha256") != getattr(checksums, name):
            raise PairError(f"{getattr(pair, name)} is not what its pair.json describes (checksum); restore it from a copy")
    return checksums


def _is_finished(path: Path, pair: Pair, method: Method, checksums: _Checksums) -> bool:
    if not path.exists():
        return False
    try:
        stored = load_alignment(path)
    except PairError:  # damaged, or of an older version: done again
        return False
    return (
        _Checksums(stored.flash_sha256, stored.studio_sha256) == checksums
        and (stored.flash, stored.studio) == (_normal(pair.flash), _normal(pair.studio))
        and (stored.method_asked, stored.versions.get("align")) == (method, ALIGN_VERSION)
    )


def _normal(path: Path) -> Path:
    """Return a path as `load_alignment` does: absolute, without `..`, links unresolved."""
    return Path(os.path.normpath(path.absolute()))


def _align(pair: Pair, method: Method, checksums: _Checksums) -> Alignment:
    header = _common_header(pair)
    reduce = _reduction(header)
    flash, studio = (read_rgb(path, reduce=reduce) for path in (pair.flash, pair.studio))
    faces = find_pair_faces(flash, studio)
    registration = register(flash, studio, fixed_face=faces.flash, moving_face=faces.studio, method=method)
    small = registration.moving_from_fixed
    judgement = judge(registration, faces.flash, faces.studio, (flash.shape[1], flash.shape[0]), pictures=(flash, studio))
    located = locate(faces, small)
    moving_from_fixed = frame.in_pixels(frame.in_frame(small, 1), reduce)
    return Alignment(
        pair_id=pair.id,
        subject=pair.subject,
        flash=_normal(pair.flash),
        studio=_normal(pair.studio),
        flash_sha256=checksums.flash,
        studio_sha256=checksums.studio,
        size=(header.width, header.height),
        studio_size=(header.width, header.height),
        moving_from_fixed=(_row(moving_from_fixed[0]), _row(moving_from_fixed[1])),
        method=registration.method,
        method_asked=method,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        quality=judgement.numbers,
        flash_face=_enlarged(located.flash, reduce),
        studio_face=_enlarged(located.studio, reduce),
        registered_face=_enlarged(located.registered, reduce),
        session=pair.session,
        take=pair.take,
        pose=pair.pose,
        versions=_versions(),
    )


def _common_header(pair: Pair) -> Header:
    flash, studio = read_header(pair.flash), read_header(pair.studio)
    if (flash.width, flash.height) != (studio.width, studio.height):
        raise AlignError(
            f"{pair.flash} has {flash.width} x {flash.height} pixels and {pair.studio.name} {studio.width} x"
            f" {studio.height}; a pair needs two photographs of one size"
        )
    return flash if flash.format == studio.format else Header(flash.width, flash.height, "mixed")


def _reduction(header: Header) -> int:
    """Return the strongest scaled decode that leaves enough for the finest step; only JPEG has a true one."""
    if header.format != "JPEG":
        return 1
    return max(reduce for reduce in (1, 2, 4, 8) if reduce == 1 or header.width >= reduce * TILES_WIDTH_PX)


def _enlarged(face: Face | None, factor: int) -> Face | None:
    """Return a face of a reduced copy in pixels of the photograph, to a thousandth of them."""
    if face is None:
        return None
    full = map_face(face, scaling(factor))
    left, top, right, bottom = (round(edge, 3) for edge in full.box)
    return Face(
        (left, top, right, bottom),
        {name: [(round(x, 3), round(y, 3)) for x, y in points] for name, points in full.landmarks.items()},
    )


def _row(values: Affine) -> tuple[float, float, float]:
    a, b, shift = (float(value) for value in values)
    return a, b, shift


@functools.cache
def _version_of(package: str) -> str:
    return version(package)


def _versions() -> dict[str, str]:
    return {
        "align": ALIGN_VERSION,
        **{name: _version_of(name) for name in ("deepflash", "SimpleITK", "numpy")},
        "cv2": cv2.__version__,
    }
