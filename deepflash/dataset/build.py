"""From registered pairs to shards: render the twenty variants of every pair, split by subject, write tars.

The work is done in two steps. Worker processes render pairs, each into a *piece*: a tar of its samples in
`SHARDS/.pieces`, which appears whole or not at all. Then the pieces are joined, in the order of their keys, into shards, and
`dataset.json` makes the folder a data set. So memory does not grow with the number of pairs, the bytes do not depend on the
number of workers, and a build that was killed goes on with the pieces that it has.
"""

import functools
import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deepflash import __version__
from deepflash.accounts import Account, SetAside
from deepflash.batch import run_all
from deepflash.dataset.split import notes_on, split_by_subject
from deepflash.dataset.variants import FACE_ENLARGEMENT, VARIANTS, Variant, face_of, render_variants
from deepflash.errors import DatasetError
from deepflash.files import durable_file, sha256_of, sweep_temporaries
from deepflash.pairs import Alignment, load_alignments
from deepflash.progress import Report, silent
from deepflash.shards import (
    DATASET_FILE,
    INDEX_FILE,
    SPLITS,
    ShardWriter,
    encode_sample,
    end_tar,
    iter_samples,
    open_shards,
    write_sample,
)

PIECES = ".pieces"
MIN_SIZE_PX = 16
MAX_SIZE_PX = 4096


@dataclass(frozen=True)
class Parameters:
    """All that decides, with the alignments, which bytes a data set has.

    Attributes
    ----------
    size
        Side of the samples in pixels.
    proportions
        Shares of train, val and test in the pairs.
    seed
        Of the split.
    face_enlargement
        See `deepflash.dataset.variants`.
    variants
        The geometric variants of every pair.
    """

    size: int = 512
    proportions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    face_enlargement: float = FACE_ENLARGEMENT
    variants: tuple[Variant, ...] = VARIANTS


def build_dataset(
    aligned: Path,
    shards: Path,
    *,
    size: int = 512,
    proportions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    workers: int = 1,
    report: Report = silent,
) -> Account:
    """Make a data set of all usable alignments in a folder.

    Run it again after an interruption and it goes on; run it again on a finished data set and it does nothing.

    Parameters
    ----------
    aligned
        From `align batch`.
    shards
        A new or empty folder, or one that this function filled.
    size
        Side of the samples in pixels, 16 to 4096.
    proportions
        Of train, val and test, by subject (see `split_by_subject`).
    seed
        Of the split.
    workers
        How many processes render.
    report
        Called as pairs are finished.

    Returns
    -------
    Account
        Of pairs. Set aside are those whose alignment is bad or damaged, whose photographs are missing, damaged or not those
        that were registered, and those without a face. If nothing is left, no data set is written.

    Raises
    ------
    DatasetError
        if a parameter is out of range, or `shards` holds something else than this data set.
    PairError
        if `aligned` holds no alignments.
    ShardError
        if the finished data set in `shards` is damaged.
    """
    parameters = Parameters(size, proportions, seed)
    _check(parameters)
    alignments, damaged = load_alignments(aligned)
    account = Account(set_aside=damaged)
    inputs = _fingerprint(parameters, alignments)
    if (shards / DATASET_FILE).exists():
        _recount(account, shards, inputs, parameters)
        return account
    _refuse_strangers(shards)
    sweep_temporaries(shards)
    try:
        pieces = _render(_usable(alignments, account), parameters, shards / PIECES, workers, account, report)
        if pieces:
            report(len(pieces), len(pieces), "writing shards")
            _join(pieces, parameters, shards, inputs, account)
            account.done = len(pieces)
    except OSError as error:
        raise DatasetError(
            f"{shards} cannot be written ({error}); make room or give another folder, and run it again"
        ) from error
    shutil.rmtree(shards / PIECES, ignore_errors=True)
    return account


def _check(parameters: Parameters) -> None:
    if not MIN_SIZE_PX <= parameters.size <= MAX_SIZE_PX:
        raise DatasetError(f"samples of {parameters.size} pixels are refused; give a size from {MIN_SIZE_PX} to {MAX_SIZE_PX}")
    split_by_subject({}, parameters.proportions)


def _recount(account: Account, shards: Path, inputs: str, parameters: Parameters) -> None:
    """Account for a finished data set, if it is the one that is asked for."""
    manifest = open_shards(shards).manifest
    try:
        made_from, made_with = manifest["inputs_sha256"], dict(manifest["parameters"])
        pairs = sum(int(counts["pairs"]) for counts in manifest["counts"].values())
        set_aside = [SetAside(**item) for item in manifest["set_aside"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{shards / DATASET_FILE} is damaged ({error!r}); remove {shards} and build it again") from error
    if made_from != inputs:
        asked = json.loads(json.dumps(asdict(parameters)))
        differing = [name for name, value in asked.items() if made_with.get(name) != value]
        what = f"differs in {' and '.join(differing)}" if differing else "was made from other alignments"
        raise DatasetError(f"{shards} holds a data set that {what}; give another folder, or remove it first")
    shutil.rmtree(shards / PIECES, ignore_errors=True)  # a build may have been killed just before this
    account.skipped = pairs
    account.set_aside = set_aside


def _refuse_strangers(shards: Path) -> None:
    """Keep a mistyped folder, such as the photographs', free of shards."""
    ours = (INDEX_FILE, PIECES)
    strangers = [path.name for path in shards.iterdir() if not _is_ours(path.name, ours)] if shards.is_dir() else []
    if strangers or shards.is_file():
        found = f" ({sorted(strangers)[0]} is in it)" if strangers else ""
        raise DatasetError(f"{shards} is neither empty nor a data set{found}; give another folder for the shards")


def _is_ours(name: str, ours: Sequence[str]) -> bool:
    return name in ours or name.startswith(".") or (name.endswith(".tar") and name.startswith(SPLITS))


def _usable(alignments: Sequence[Alignment], account: Account) -> list[Alignment]:
    usable = []
    for alignment in alignments:
        reason = _reason_against(alignment)
        if reason:
            account.set_aside.append(SetAside(alignment.pair_id, reason))
        else:
            usable.append(alignment)
    return usable


def _reason_against(alignment: Alignment) -> str:
    if alignment.verdict == "bad":
        return f"its registration is bad: {'; '.join(alignment.reasons) or 'no reason was given'}"
    try:
        face_of(alignment)
    except DatasetError as error:
        return str(error)
    return ""


def _render(
    alignments: list[Alignment], parameters: Parameters, folder: Path, workers: int, account: Account, report: Report
) -> list[tuple[Alignment, Path]]:
    """Make the pieces; return those that there are, sorted by pair id, and set the other pairs aside."""
    render = functools.partial(render_piece, parameters=parameters, folder=folder)
    pieces = []
    for outcome in run_all(render, alignments, workers=workers, report=report):
        if outcome.value is None:
            account.set_aside.append(SetAside(outcome.unit.pair_id, str(outcome.error)))
        else:
            pieces.append((outcome.unit, outcome.value))
    account.set_aside.sort(key=lambda item: item.item)
    return sorted(pieces, key=lambda piece: piece[0].pair_id)


def render_piece(alignment: Alignment, parameters: Parameters, folder: Path) -> Path:
    """Render a pair's variants into a tar of samples, unless that was done before; return its path.

    Raises
    ------
    DatasetError, PictureError, ShardError
        if the pair cannot be used.
    """
    made_by = (parameters.size, asdict(parameters)["variants"], parameters.face_enlargement, _versions())
    digest = hashlib.sha256(_canonical([made_by, _essence(alignment)])).hexdigest()
    path = folder / f"{digest}.tar"
    if path.exists():
        return path
    _check_photographs(alignment)
    rendered = render_variants(
        alignment, parameters.size, variants=parameters.variants, face_enlargement=parameters.face_enlargement
    )
    with durable_file(path) as file:
        for number, variant in enumerate(rendered):
            write_sample(file, f"{alignment.pair_id}+{number:02d}", encode_sample(variant.flash, variant.studio, variant.info))
        end_tar(file)
    return path


def _check_photographs(alignment: Alignment) -> None:
    for path, registered in ((alignment.flash, alignment.flash_sha256), (alignment.studio, alignment.studio_sha256)):
        try:
            found = sha256_of(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}); restore it from a copy") from error
        if found != registered:
            raise DatasetError(f"{path} is not the file that was registered; restore it, or run align batch again")


def _join(pieces: list[tuple[Alignment, Path]], parameters: Parameters, shards: Path, inputs: str, account: Account) -> None:
    split = split_by_subject(
        Counter(alignment.subject for alignment, _ in pieces), parameters.proportions, seed=parameters.seed
    )
    split_of = {subject: name for name, subjects in split.items() for subject in subjects}
    with ShardWriter(shards) as writer:
        for alignment, piece in pieces:
            for key, members in iter_samples(piece):
                writer.add(split_of[alignment.subject], key, members)
        writer.commit(
            {
                "size": parameters.size,
                "split": split,
                "notes": notes_on(split, parameters.proportions),
                "parameters": asdict(parameters),
                "inputs_sha256": inputs,
                "set_aside": [asdict(item) for item in account.set_aside],
                "versions": _versions(),
            }
        )


def _fingerprint(parameters: Parameters, alignments: Sequence[Alignment]) -> str:
    """Identify a data set before it is made: the same parameters and alignments, the same digest."""
    return hashlib.sha256(_canonical([asdict(parameters), [_essence(alignment) for alignment in alignments]])).hexdigest()


def _essence(alignment: Alignment) -> dict[str, Any]:
    """Return what of an alignment decides the samples; where the photographs stand does not."""
    content = asdict(alignment)
    for name in ("flash", "studio", "quality", "versions", "method"):
        del content[name]
    return content


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _versions() -> dict[str, str]:
    return {"deepflash": __version__, "python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__}
