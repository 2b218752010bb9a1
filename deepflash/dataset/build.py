"""From registered pairs to shards: pass the gate, render the variants of every pair, split by subject, write tars.

The work is done in two steps. Worker processes render pairs, each into a *piece*: a tar of its samples in
`SHARDS/.pieces`, which appears whole or not at all. Then the pieces are joined, in the order of their keys, into shards,
several at a time, and `dataset.json` makes the folder a data set. So memory holds some two kilobytes of each pair, the bytes do
not depend on the number of workers, and a build that was killed goes on with the pieces and shards that it has.
"""

import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepflash.accounts import Account, SetAside
from deepflash.batch import run_all
from deepflash.dataset.card import card
from deepflash.dataset.joining import index_lines, plan_shards, write_shards
from deepflash.dataset.leakage import FACES_PER_SUBJECT, THRESHOLD, find_leaks
from deepflash.dataset.parameters import Parameters
from deepflash.dataset.pieces import Piece, canonical, check_photographs, essence, render_piece, versions
from deepflash.dataset.split import Split, balanced_split, notes_on, pose_table, split_by_subject
from deepflash.dataset.statistics import PixelSums
from deepflash.dataset.variants import check_face
from deepflash.errors import DatasetError, DeepflashError, PairError
from deepflash.faces import require_faces
from deepflash.files import locked_folder, sweep_temporaries
from deepflash.pairs import Alignment, alignment_path, load_alignment
from deepflash.progress import Report, silent
from deepflash.shards import CARD_FILE, DATASET_FILE, INDEX_FILE, SPLITS, commit_shards, open_shards

PIECES = ".pieces"

_SHOWN_LEAKS = 20  # a note each; dataset.json has all

UNKNOWN_POSE = "unknown"


def build_dataset(
    aligned: Path, shards: Path, parameters: Parameters | None = None, *, workers: int = 1, report: Report = silent
) -> Account:
    """Make a data set of all usable alignments in a folder.

    Run it again after an interruption and it goes on; run it again on a finished data set and it does nothing.

    Parameters
    ----------
    aligned
        From `align batch`.
    shards
        A new or empty folder, or one that this function filled.
    parameters
        How; if None, as the paper does.
    workers
        How many processes render and write.
    report
        Called as pairs are finished.

    Returns
    -------
    Account
        Of pairs. Set aside are those that the gate keeps out, those whose alignment is damaged, whose photographs are missing,
        damaged or not those that were registered, and those without a face. If nothing is left, no data set is written.

    Raises
    ------
    DatasetError
        if a limit names an unknown number, or `shards` holds something else than this data set, cannot be written, or is being
        written by another process.
    FaceError
        if faces shall be compared and cannot be on this machine.
    PairError
        if `aligned` holds no alignments.
    ShardError
        if the finished data set in `shards` is damaged.
    """
    build = _Build(aligned, shards, parameters or Parameters())
    candidates, account = _candidates(build)
    if (shards / DATASET_FILE).exists():
        _recount(account, build, _fingerprint(build.parameters, candidates))
        return account
    if build.parameters.leakage_check:
        require_faces()
    _refuse_strangers(shards)
    try:
        with _alone(shards):
            sweep_temporaries(shards)
            rendered = _render(build, candidates, account, workers, report)
            if rendered:
                _join(build, rendered, candidates, account, workers, report)
                account.done = len(rendered)
            shutil.rmtree(shards / PIECES, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{shards} cannot be written ({error}); make room or give another folder, and run it again"
        ) from error
    return account


@contextmanager
def _alone(shards: Path) -> Iterator[None]:
    """Keep other builds out of the folder: each would remove the pieces that the other one joins."""
    shards.mkdir(parents=True, exist_ok=True)
    with locked_folder(shards) as mine:
        if not mine or (shards / DATASET_FILE).exists():
            raise DatasetError(f"another process writes {shards}; wait until it has ended, then give the command again")
        yield


@dataclass(frozen=True)
class _Build:
    aligned: Path
    shards: Path
    parameters: Parameters

    @property
    def pieces(self) -> Path:
        return self.shards / PIECES


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What memory holds of an alignment: who and what it is, a digest of what decides its samples, and why it is left out."""

    pair_id: str
    subject: str
    pose: str
    essence_sha256: str
    reason: str


def _candidates(build: _Build) -> tuple[list[_Candidate], Account]:
    """Pass every alignment through the gate, one at a time; damaged ones are set aside."""
    paths = sorted(build.aligned.glob("*.json"), key=lambda path: path.stem) if build.aligned.is_dir() else []
    if not paths:
        raise PairError(f"{build.aligned} holds no alignments; run align batch RAW {build.aligned} first")
    candidates = []
    account = Account()
    measured: set[str] = set()
    for path in paths:
        try:
            alignment = load_alignment(path)
        except PairError as error:
            account.set_aside.append(SetAside(path.stem, _portable(str(error), build.aligned, path)))
        else:
            candidates.append(_candidate(alignment, build.parameters))
            measured |= alignment.quality.keys()
    build.parameters.gate.check_names(measured)
    return candidates, account


def _candidate(alignment: Alignment, parameters: Parameters) -> _Candidate:
    digest = hashlib.sha256(canonical(essence(alignment))).hexdigest()
    reason = parameters.gate.reason_against(alignment) or _reason_against_faces(alignment, parameters)
    return _Candidate(alignment.pair_id, alignment.subject, alignment.pose, digest, reason)


def _reason_against_faces(alignment: Alignment, parameters: Parameters) -> str:
    try:
        check_face(alignment, parameters.variants)
    except DatasetError as error:
        return str(error)
    return ""


def _portable(sentence: str, aligned: Path, *paths: Path) -> str:
    """Name files as seen from the alignments, so that a data set does not tell where on which machine it was made."""
    for path in paths:
        sentence = sentence.replace(str(path), os.path.relpath(path, aligned))
    return sentence


def _recount(account: Account, build: _Build, inputs: str) -> None:
    """Account for a finished data set, if it is the one that is asked for."""
    shards = build.shards
    manifest = open_shards(shards).manifest
    try:
        made_from, made_with = manifest["inputs_sha256"], dict(manifest["parameters"])
        pairs = sum(int(counts["pairs"]) for counts in manifest["counts"].values())
        set_aside = [SetAside(**item) for item in manifest["set_aside"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{shards / DATASET_FILE} is damaged ({error!r}); remove {shards} and build it again") from error
    if made_from != inputs:
        differing = [name for name, value in build.parameters.as_dict().items() if made_with.get(name) != value]
        what = f"differs in {' and '.join(differing)}" if differing else "was made from other alignments"
        raise DatasetError(f"{shards} holds a data set that {what}; give another folder, or remove it first")
    sweep_temporaries(shards)  # a build may have been killed just before it did this
    shutil.rmtree(build.pieces, ignore_errors=True)
    account.skipped = pairs
    account.set_aside = [_as_it_is_now(item, build) for item in set_aside]


def _as_it_is_now(item: SetAside, build: _Build) -> SetAside:
    """Say so if a pair was set aside for its photographs, which have been mended since."""
    try:
        alignment = load_alignment(alignment_path(build.aligned, item.item))
        check_photographs(alignment)
    except DeepflashError:
        return item
    if _candidate(alignment, build.parameters).reason:
        return item
    return SetAside(item.item, f"it was mended after this data set was made ({item.reason}); remove the folder and build again")


def _refuse_strangers(shards: Path) -> None:
    """Keep a mistyped folder, such as the photographs', free of shards."""
    ours = (INDEX_FILE, CARD_FILE, PIECES)
    strangers = [path.name for path in shards.iterdir() if not _is_ours(path.name, ours)] if shards.is_dir() else []
    if strangers or shards.is_file():
        found = f" ({sorted(strangers)[0]} is in it)" if strangers else ""
        raise DatasetError(f"{shards} is neither empty nor a data set{found}; give another folder for the shards")


def _is_ours(name: str, ours: Sequence[str]) -> bool:
    return name in ours or name.startswith(".") or (name.endswith(".tar") and name.startswith(SPLITS))


@dataclass(frozen=True, slots=True)
class _Order:
    """A pair to be rendered, and whether its face is wanted for the leakage check."""

    candidate: _Candidate
    embed: bool


_Rendered = list[tuple[_Candidate, Piece]]


def _render(build: _Build, candidates: Sequence[_Candidate], account: Account, workers: int, report: Report) -> _Rendered:
    """Make the pieces; return those that there are, sorted by pair id, and set the other pairs aside."""
    account.set_aside += [SetAside(candidate.pair_id, candidate.reason) for candidate in candidates if candidate.reason]
    orders = _orders([candidate for candidate in candidates if not candidate.reason], build.parameters)
    rendered = []
    for outcome in run_all(functools.partial(_fulfil, build=build), orders, workers=workers, report=report):
        if outcome.value is None:
            account.set_aside.append(SetAside(outcome.unit.candidate.pair_id, str(outcome.error)))
        else:
            rendered.append((outcome.unit.candidate, outcome.value))
    account.set_aside.sort(key=lambda item: item.item)
    return rendered


def _orders(candidates: Sequence[_Candidate], parameters: Parameters) -> list[_Order]:
    seen: Counter[str] = Counter()
    orders = []
    for candidate in candidates:
        seen[candidate.subject] += 1
        orders.append(_Order(candidate, parameters.leakage_check and seen[candidate.subject] <= FACES_PER_SUBJECT))
    return orders


def _fulfil(order: _Order, build: _Build) -> Piece:
    """Render a pair; in a worker."""
    alignment = load_alignment(alignment_path(build.aligned, order.candidate.pair_id))
    if hashlib.sha256(canonical(essence(alignment))).hexdigest() != order.candidate.essence_sha256:
        raise DatasetError(f"the alignment of {alignment.pair_id} has changed during the build; build again")
    try:
        return render_piece(alignment, build.parameters, build.pieces, embed=order.embed)
    except DeepflashError as error:
        raise DatasetError(_portable(str(error), build.aligned, alignment.flash, alignment.studio)) from error


def _join(
    build: _Build,
    rendered: _Rendered,
    candidates: Sequence[_Candidate],
    account: Account,
    workers: int,
    report: Report,
) -> None:
    parameters = build.parameters
    poses: dict[str, Counter[str]] = {}
    for candidate, _ in rendered:
        poses.setdefault(candidate.subject, Counter())[candidate.pose or UNKNOWN_POSE] += 1
    place = balanced_split if parameters.balance else split_by_subject
    split = place(poses, parameters.proportions, seed=parameters.seed, fixed=parameters.fixed)
    part_of = split.part_of()

    plans = plan_shards([(part_of[candidate.subject], piece) for candidate, piece in rendered])
    written = write_shards(plans, build.shards, build.pieces, workers=workers, report=report)
    sweep_temporaries(build.shards)  # again: workers of a killed build may have outlived its end by a moment
    table = pose_table(split, poses)
    leakage = _leakage(rendered, part_of) if parameters.leakage_check else None
    commit_shards(
        build.shards,
        {
            "size": parameters.size,
            "pictures": parameters.pictures,
            "split": split.subjects,
            "stand_ins": list(split.stand_ins),
            "poses": table,
            "statistics": _statistics(rendered, part_of),
            "leakage": leakage,
            "notes": _notes(build, split, table, candidates, leakage),
            "parameters": parameters.as_dict(),
            "inputs_sha256": _fingerprint(parameters, candidates),
            "set_aside": [asdict(item) for item in account.set_aside],
            "versions": versions(),
        },
        shards={shard.name: shard.facts for shard in written},
        index=index_lines(written),
        counts=_counts(rendered, part_of),
        card=card,
    )


def _notes(
    build: _Build,
    split: Split,
    table: dict[str, dict[str, int]],
    candidates: Sequence[_Candidate],
    leakage: dict[str, Any] | None,
) -> list[str]:
    parameters = build.parameters
    notes = notes_on(split, parameters.proportions, fixed=parameters.fixed, table=table)
    notes += parameters.gate.notes_on({candidate.pair_id for candidate in candidates})
    suspects = leakage["suspects"] if leakage else []
    notes += [suspect["sentence"] for suspect in suspects[:_SHOWN_LEAKS]]
    if len(suspects) > _SHOWN_LEAKS:
        notes.append(f"{len(suspects) - _SHOWN_LEAKS} more pairs of ids look like one person; {DATASET_FILE} lists them")
    return notes


def _leakage(rendered: _Rendered, part_of: dict[str, str]) -> dict[str, Any]:
    embeddings: dict[str, list[Any]] = {}
    for candidate, piece in rendered:
        if piece.embedding is not None and len(piece.embedding):
            embeddings.setdefault(candidate.subject, []).append(piece.embedding)
    suspects = find_leaks(embeddings, part_of)
    return {
        "subjects_compared": len(embeddings),
        "threshold": THRESHOLD,
        "suspects": [{**asdict(suspect), "sentence": suspect.sentence()} for suspect in suspects],
    }


def _statistics(rendered: _Rendered, part_of: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """Return mean and deviation of the channels over the un-augmented samples that are trained on."""
    pieces = [piece for candidate, piece in rendered if part_of[candidate.subject] == "train"]
    flash = sum((piece.flash_sums for piece in pieces), PixelSums())
    studio = sum((piece.studio_sums for piece in pieces), PixelSums())
    return {"flash": flash.as_dict(), "studio": studio.as_dict()}


def _counts(rendered: _Rendered, part_of: dict[str, str]) -> dict[str, dict[str, int]]:
    counts = {}
    for split in SPLITS:
        own = [(candidate, piece) for candidate, piece in rendered if part_of[candidate.subject] == split]
        samples = sum(len(piece.sample_bytes) for _, piece in own)
        subjects = {candidate.subject for candidate, _ in own}
        counts[split] = {"samples": samples, "pairs": len(own), "subjects": len(subjects)}
    return counts


def _fingerprint(parameters: Parameters, candidates: Sequence[_Candidate]) -> str:
    """Identify a data set before it is made: the same parameters and alignments, the same digest."""
    content = [parameters.as_dict(), [(candidate.essence_sha256, candidate.reason) for candidate in candidates]]
    return hashlib.sha256(canonical(json.loads(json.dumps(content)))).hexdigest()
