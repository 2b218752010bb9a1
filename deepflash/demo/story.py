"""What the demo's report tells: gathered from what the stages left on disk, and from the emulator's truth."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.align.views import before_after
from deepflash.hardware.emulator.scene import true_moving_from_fixed
from deepflash.hardware.emulator.studio import emulator_folder
from deepflash.model.journal import read_metrics
from deepflash.model.measures import TRUTHS, Evaluation, Scored, Truth
from deepflash.pairs import Alignment, Pair, alignment_path, find_pairs, load_alignment
from deepflash.pictures import Picture, read_rgb
from deepflash.shards import ShardSet, open_shards

SHOWN_WIDTH_PX = 360
_SHOWN = 4
_VARIANT_COLUMNS = 10


@dataclass(frozen=True)
class Quality:
    """How near a picture is to a truth."""

    ssim: float
    psnr_db: float


@dataclass(frozen=True)
class ShownPair:
    """A pair as photographed, at display size, and the measured spacing of its exposures in seconds."""

    pair: Pair
    flash: Picture
    studio: Picture
    spacing_s: float


@dataclass(frozen=True)
class ShownRegistration:
    """A pair before and after registration, and the mean error on the face in pixels of the photograph."""

    alignment: Alignment
    before: Picture
    after: Picture
    error_before_px: float
    error_after_px: float


@dataclass(frozen=True)
class ShownPortrait:
    """An unseen subject's pair at display size: input, result, registered studio photograph, and their quality."""

    pair_id: str
    flash: Picture
    result: Picture
    studio: Picture
    flash_quality: Quality
    result_quality: Quality


@dataclass(frozen=True)
class Story:
    """All that the page and the contact sheet show; `means` has the flash's and the result's quality against each truth."""

    summary: str
    facts: Sequence[tuple[str, str]]
    pairs: Sequence[ShownPair]
    registrations: Sequence[ShownRegistration]
    variants: Picture
    losses: Sequence[tuple[int, float]]
    validation: Sequence[tuple[int, float]]
    portraits: Sequence[ShownPortrait]
    means: Sequence[tuple[str, Quality, Quality]]


def gather(raw: Path, aligned: Path, shards: Path, run: Path, portraits: Path, evaluation: Evaluation) -> Story:
    """Read back what every stage of the demo left in its folder.

    Parameters
    ----------
    raw, aligned, shards, run, portraits
        The stages' folders; `raw-emulator` beside `raw` holds the emulator's truth.
    evaluation
        Of the test split.
    """
    pairs, _ = find_pairs(raw)
    dataset = open_shards(shards)
    registrations = [_registration(pair, aligned, emulator_folder(raw)) for pair in pairs]
    losses, validation = _curves(run)
    flash, result = (_mean_quality(system, "reconstructed") for system in (evaluation.flash, evaluation.runs[0]))
    facts = (
        ("subjects", str(len({pair.subject for pair in pairs}))),
        ("pairs", str(len(pairs))),
        ("median spacing of exposures", f"{1000 * median(_spacing_s(pair) for pair in pairs):.1f} ms"),
        ("median registration error", f"{median(entry.error_after_px for entry in registrations):.2f} px"),
        ("training steps", str(losses[-1][0])),
        ("SSIM, flash → portrait", f"{flash.ssim:.3f} → {result.ssim:.3f}"),
        ("PSNR, flash → portrait", f"{flash.psnr_db:.1f} → {result.psnr_db:.1f} dB"),
    )
    return Story(
        summary=_summary(len(pairs), evaluation.subjects),
        facts=facts,
        pairs=[_shown_pair(pair) for pair in _one_of_each_subject(pairs)],
        registrations=[
            _with_pictures(entry)
            for entry in sorted(registrations, key=lambda entry: entry.error_before_px, reverse=True)[:_SHOWN]
        ],
        variants=_variants(dataset),
        losses=losses,
        validation=validation,
        portraits=_portraits(pairs, aligned, portraits, dataset, evaluation),
        means=[
            (words, _mean_quality(evaluation.flash, truth), _mean_quality(evaluation.runs[0], truth))
            for truth, words in TRUTHS.items()
        ],
    )


def _mean_quality(system: Scored, truth: Truth) -> Quality:
    mean = system.mean(truth)
    return Quality(mean["ssim"].mean, mean["psnr"].mean)


def _summary(pairs: int, unseen: int) -> str:
    people = "one person" if unseen == 1 else f"{unseen} people"
    done = f"{pairs} pairs photographed in an emulated studio, registered, and learned from"
    return f"{done}; tried on {people} never seen in training."


def _one_of_each_subject(pairs: Sequence[Pair]) -> list[Pair]:
    return list({pair.subject: pair for pair in reversed(pairs)}.values())[::-1]


def _shown_pair(pair: Pair) -> ShownPair:
    return ShownPair(pair, _shown(read_rgb(pair.flash)), _shown(read_rgb(pair.studio)), _spacing_s(pair))


def _spacing_s(pair: Pair) -> float:
    return float(pair.record["times"]["spacing_s"])


@dataclass(frozen=True)
class _Registration:
    alignment: Alignment
    error_before_px: float
    error_after_px: float


def _registration(pair: Pair, aligned: Path, emulator: Path) -> _Registration:
    alignment = load_alignment(alignment_path(aligned, pair.id))
    truth = _true_moving_from_fixed(pair, emulator / pair.subject / "truth.jsonl")
    grid = _face_grid(alignment)
    found = np.array(alignment.moving_from_fixed)
    return _Registration(alignment, _mean_distance(np.eye(2, 3), truth, grid), _mean_distance(found, truth, grid))


def _true_moving_from_fixed(pair: Pair, truth: Path) -> NDArray[np.float64]:
    times = pair.record["times"]
    exposures = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()]

    def taken(name: str) -> dict[str, object]:
        at_s = times["t0_monotonic_s"] + times[f"{name}_exposure_s"]
        exposure: dict[str, object] = min(exposures, key=lambda exposure: abs(exposure["exposure_s"] - at_s))
        return exposure

    return true_moving_from_fixed(taken("studio"), taken("flash"))


def _face_grid(alignment: Alignment) -> NDArray[np.float64]:
    left, top, right, bottom = alignment.flash_face.box if alignment.flash_face else (0, 0, *alignment.size)
    x, y = np.meshgrid(np.linspace(left, right, 9), np.linspace(top, bottom, 9))
    return np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])


def _mean_distance(one: NDArray[np.float64], other: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points @ one.T - points @ other.T, axis=1).mean())


def _with_pictures(entry: _Registration) -> ShownRegistration:
    pictures = before_after(entry.alignment, SHOWN_WIDTH_PX)
    return ShownRegistration(entry.alignment, pictures.before, pictures.after, entry.error_before_px, entry.error_after_px)


def _variants(dataset: ShardSet) -> Picture:
    entries = dataset.entries("train")
    first = [entry for entry in entries if entry.info["pair_id"] == entries[0].info["pair_id"]]
    tiles = [_shown(dataset.read(entry).flash, SHOWN_WIDTH_PX // 2) for entry in first]
    rows = [np.hstack(tiles[start : start + _VARIANT_COLUMNS]) for start in range(0, len(tiles), _VARIANT_COLUMNS)]
    return np.vstack(rows)


def _curves(run: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    lines = read_metrics(run)
    losses = [(line["step"], line["loss"]) for line in lines if line["split"] == "train"]
    validation = [(line["step"], line["psnr"]) for line in lines if line["split"] == "val"]
    return losses, validation


def _portraits(
    pairs: Sequence[Pair], aligned: Path, portraits: Path, dataset: ShardSet, evaluation: Evaluation
) -> list[ShownPortrait]:
    pair_id_of = {entry.key: entry.info["pair_id"] for entry in dataset.entries(evaluation.split)}
    by_id = {pair.id: pair for pair in pairs}
    shown = []
    for flash, result in zip(evaluation.flash.pairs, evaluation.runs[0].pairs, strict=True):
        pair = by_id[pair_id_of[flash.key]]
        alignment = load_alignment(alignment_path(aligned, pair.id))
        shown.append(
            ShownPortrait(
                pair.id,
                _shown(read_rgb(pair.flash)),
                _shown(read_rgb(portraits / f"{pair.id}.jpg")),
                _shown(_registered_studio(alignment)),
                Quality(flash.reconstructed.ssim, flash.reconstructed.psnr),
                Quality(result.reconstructed.ssim, result.reconstructed.psnr),
            )
        )
    return shown


def _registered_studio(alignment: Alignment) -> Picture:
    map_to_flash = np.array(alignment.moving_from_fixed)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(read_rgb(alignment.studio), map_to_flash, alignment.size, flags=flags), dtype=np.uint8)


def _shown(picture: Picture, width: int = SHOWN_WIDTH_PX) -> Picture:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
