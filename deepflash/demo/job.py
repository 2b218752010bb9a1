"""Run every stage on the emulated studio, each through the function that its own command calls."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepflash.accounts import Account
from deepflash.align.batch import align_batch
from deepflash.batch import usable_cores
from deepflash.capture.session import first_poses, hold_session
from deepflash.dataset.build import build_dataset
from deepflash.dataset.parameters import Parameters
from deepflash.demo.figures import contact_sheet_png, training_curve_svg
from deepflash.demo.page import render_page
from deepflash.demo.story import gather
from deepflash.errors import DeepflashError, NoFaceError
from deepflash.files import write_durably, write_json
from deepflash.hardware.emulator.sitters import SitterChoice
from deepflash.hardware.emulator.studio import emulated_studio, emulator_folder
from deepflash.model.enhancement.enhancer import load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.evaluate import evaluate
from deepflash.model.measures import Evaluation
from deepflash.model.recipe import load_recipe
from deepflash.model.tables import text
from deepflash.model.train import train
from deepflash.pairs import Pair, find_pairs
from deepflash.pictures import encode, read_rgb
from deepflash.progress import Report
from deepflash.shards import DATASET_FILE

CAMERA_SIZE = (780, 1040)
"""Width and height of the demo's photographs in pixels: 13 megapixels would show the same and take longer."""

SAMPLE_SIZE = 128
RECIPE = "quick"
ENOUGH_SUBJECTS = 10
"""From as many on, the network learns with other cameras, too: people try it on their own photographs (docs/decisions/0020)."""
PLAN_FILE = "demo.json"
PLAN_FORMAT = 1

Shown = Callable[[str], AbstractContextManager[Report]]


@dataclass(frozen=True)
class DemoResult:
    """Where the demo's results are, and how good they are."""

    report: Path
    contact_sheet: Path
    portraits: Path
    evaluation: Evaluation

    def sentence(self) -> str:
        places = f"Report: {self.report}\nContact sheet: {self.contact_sheet}\nPortraits: {self.portraits}"
        return f"{text(self.evaluation)}\n\n{places}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "report": str(self.report),
            "contact_sheet": str(self.contact_sheet),
            "portraits": str(self.portraits),
            "evaluation": self.evaluation.as_dict(),
        }


def run_demo(folder: Path, *, sitters: Path | None, subjects: int, poses: int, shown: Shown) -> DemoResult:
    """Photograph, align, build, train, evaluate and enhance in `folder`, and write a report about it.

    Parameters
    ----------
    folder
        Receives raw/, aligned/, shards/, run/, portraits/, report.html, contact-sheet.png and demo.json, which says of whom
        the demo is. What an earlier, interrupted call left there is continued.
    sitters
        A folder of portraits to sit for the emulated studio, or None for the two that ship with our dependencies.
    subjects, poses
        How many people are photographed, at least 3 so that none is in two splits; pairs of each.
    shown
        Given the name of a stage, returns a context manager that yields its progress report.

    Raises
    ------
    DeepflashError
        if a stage fails, or the folder holds the demo of other people or poses.
    """
    _enter(folder, {"format": PLAN_FORMAT, "subjects": subjects, "poses": poses, "sitters": _named(sitters)})
    raw, aligned, shards, run = (folder / name for name in ("raw", "aligned", "shards", "run"))
    if not (shards / DATASET_FILE).exists():  # whom the emulated camera failed in the end is not asked again after that
        with shown("capture") as report:
            _capture_all(raw, sitters, subjects, poses, report)
    with shown("align") as report:
        _require_success(align_batch(raw, aligned, workers=usable_cores(), report=report))
    with shown("build") as report:
        # not looked for one person under two ids: the sitters are a few portraits under many ids
        parameters = Parameters(size=SAMPLE_SIZE, leakage_check=False)
        _require_success(build_dataset(aligned, shards, parameters, workers=usable_cores(), report=report))
    with shown("train") as report:
        recipe = replace(load_recipe(RECIPE), other_cameras=subjects >= ENOUGH_SUBJECTS)
        train(shards, run, recipe, report=report)
    with shown("evaluate") as report:
        evaluation = evaluate([run], shards, split="test", report=report)
    portraits = folder / "portraits"
    unseen = {pair.subject for pair in evaluation.flash.pairs}
    with shown("enhance") as report:
        _enhance([pair for pair in find_pairs(raw)[0] if pair.subject in unseen], portraits, run, report)
    with shown("report") as report:
        story = gather(raw, aligned, shards, run, portraits, evaluation)
        report(1, 3, "")
        write_durably(folder / "report.html", render_page(story, training_curve_svg(story)))
        report(2, 3, "report.html")
        write_durably(folder / "contact-sheet.png", contact_sheet_png(story))
        report(3, 3, "contact-sheet.png")
    return DemoResult(folder / "report.html", folder / "contact-sheet.png", portraits, evaluation)


def _enter(folder: Path, plan: dict[str, Any]) -> None:
    """Note in the folder what it is the demo of, or refuse to make another one of it."""
    path = folder / PLAN_FILE
    if not path.exists():
        write_json(path, plan)
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeepflashError(f"{path} is damaged ({error}); remove {folder}, or give another folder") from error
    if begun != plan:
        raise DeepflashError(
            f"{folder} holds another demo ({_in_words(begun)}); give another folder, or the same options again"
        )


def _in_words(plan: Any) -> str:
    known = plan if isinstance(plan, dict) else {}
    return ", ".join(f"{name} {known.get(name)}" for name in ("subjects", "poses", "sitters") if known.get(name) is not None)


def _named(sitters: Path | None) -> str | None:
    return None if sitters is None else str(sitters.resolve())


def _capture_all(raw: Path, sitters: Path | None, subjects: int, poses: int, report: Report) -> None:
    """Photograph everybody, one session each; whom an earlier call photographed already is not asked again."""
    total = subjects * poses
    report(0, total, "")
    for number in range(1, subjects + 1):
        subject = f"S{number:03d}"
        before = (number - 1) * poses
        if len(_pairs_of(raw, subject)) < poses:

            def note(done: int, _poses: int, text: str = "", before: int = before, subject: str = subject) -> None:
                report(before + done, total, f"{subject} {text}")

            choice = SitterChoice(subject, sitters)
            with emulated_studio(emulator_folder(raw) / subject, choice, size=CAMERA_SIZE, seed=number) as rig:
                hold_session(rig, raw, subject, first_poses(poses), report=note)
        report(before + poses, total, subject)


def _pairs_of(raw: Path, subject: str) -> list[Pair]:
    return find_pairs(raw / subject)[0] if any((raw / subject).glob("*/*/pair.json")) else []


def _require_success(account: Account) -> None:
    if not account.done + account.skipped:
        raise DeepflashError(f"the demo cannot go on: {account.set_aside[0].reason}")


def _enhance(pairs: Sequence[Pair], portraits: Path, run: Path, report: Report) -> None:
    """Enhance the flash photographs; they are all called flash.jpg, so their portraits are named after the pairs."""
    enhancer = load_enhancer(run)
    for number, pair in enumerate(pairs, start=1):
        picture = read_rgb(pair.flash)
        try:  # what is behind the sitters was trained on, too
            portrait = enhancer.enhance_picture(picture, Look(background="enhance"))
        except NoFaceError:  # alignment found it by the studio photograph's help
            portrait = enhancer.enhance_picture(picture, Look(whole=True))
        write_durably(portraits / f"{pair.id}.jpg", encode(np.asarray(portrait, np.uint8), ".jpg"))
        report(number, len(pairs), pair.id)
