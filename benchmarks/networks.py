"""Networks and encodings side by side, on emulated sittings and on real pairs: data sets, runs and tables from one command.

    python benchmarks/networks.py WORK --sitters FOLDER [--subjects 60] [--pairs RAW] [--only NAME,...]

Photographs people of a folder of portraits in the emulated studio, aligns, builds a data set that is split by subject, trains
every network of `NETWORKS` with the same pictures, batch and number of steps, and evaluates them together on people that none
has seen. With `--pairs` (eight real pairs in a tree that `deepflash import` made), the same for those, six people against two,
four times, so that each is tested once. Stopped and started again it goes on where it was; WORK/evaluation/evaluation.md holds
the tables, WORK/real-evaluation/ those of the real pairs.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

from deepflash.align.batch import align_batch
from deepflash.batch import usable_cores
from deepflash.capture.session import first_poses, hold_session
from deepflash.dataset.build import build_dataset
from deepflash.dataset.parameters import Parameters
from deepflash.hardware.emulator.sitters import SitterChoice
from deepflash.hardware.emulator.studio import emulated_studio, emulator_folder
from deepflash.model.evaluate import evaluate
from deepflash.model.intervals import Interval
from deepflash.model.measures import TRUTHS, Evaluation
from deepflash.model.recipe import load_recipe
from deepflash.model.tables import text, write_tables
from deepflash.model.train import train
from deepflash.progress import shown

Trainings = dict[str, tuple[str, ...]]

CAMERA_SIZE = (780, 1040)
POSES = 2
SHARES = (0.7, 0.1, 0.2)
"""Of the sixty people of the default: 42 to train on, 6 for validation, 12 for the test."""

BUDGET = ("size=128", "batch=8", "max_steps=1000", "epochs=1000000", "schedule=cosine", "warmup_steps=20", "ema=0.99")
BUDGET_REAL = (*BUDGET[:2], "max_steps=400", *BUDGET[3:])
_DEEPFLASH = ("quick", "width=0.5", "learning_rate=5e-4", "precision=bfloat16")
_LIGHT = (
    "quick", "network=light", "width=1", "learning_rate=1e-3", "beta2=0.9", "clip=1", "loss=charbonnier", "ssim_weight=0.05",
    "precision=bfloat16",
)  # fmt: skip
NETWORKS: Trainings = {
    "c": _DEEPFLASH,
    "a": (*_DEEPFLASH, "encoding=A"),
    "b": (*_DEEPFLASH, "encoding=B"),
    "light": _LIGHT,
    "full": (*_DEEPFLASH, "width=1", "learning_rate=3e-4"),
    "hdrnet": ("hdrnet", "learning_rate=3e-3"),
    "hdrnet-c": ("hdrnet-c", "learning_rate=1e-3"),
    "pix2pix": ("pix2pix", "width=0.5"),
    "pix2pix-c": ("pix2pix-c", "width=0.5"),
    "deepflash-gan": ("deepflash-gan", *_DEEPFLASH[1:]),
    "dense-unet-gan": ("dense-unet-gan", "width=0.5", "pixel_weight=1", "learning_rate=1e-3"),
}
"""A recipe, and what each run changes of it beside the budget."""
REAL = {
    **{name: changes for name, changes in NETWORKS.items() if name != "full"},
    "light-tuned": (*_LIGHT, "start_from={work}/light", "learning_rate=4e-4"),
}
"""The same for real pairs; the tuned one begins with what the emulated sittings taught."""


def main() -> None:
    """Make what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sitters", type=Path, help="folder of portraits; the two built-in sitters without it")
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--pairs", type=Path, help="folder of real pairs")
    parser.add_argument("--only", help="names of networks, of both lists")
    options = parser.parse_args()
    photograph(options.work / "raw", options.sitters, options.subjects)
    evaluation = compare(options.work / "raw", options.work, chosen(NETWORKS, options.only, options.work), BUDGET)
    print(text(evaluation), differences(evaluation), sep="\n\n")
    if options.pairs:
        evaluation = in_turns(options.pairs, options.work, chosen(REAL, options.only, options.work))
        write_tables(evaluation, options.work / "real-evaluation")
        print(text(evaluation), differences(evaluation), sep="\n\n")


def differences(evaluation: Evaluation) -> str:
    """Return by how much each run is before each other one, person by person, with 95 % intervals."""
    lines = ["person by person, SSIM and PSNR in dB, with 95 % intervals"]
    for truth in TRUTHS:
        for one, other in itertools.combinations(evaluation.runs, 2):
            found = one.difference(other, truth)
            lines.append(f"{truth}: {one.name} before {other.name}  {_signed(found['ssim'], 3)}  {_signed(found['psnr'], 1)}")
    return "\n".join(lines)


def _signed(interval: Interval, digits: int) -> str:
    known = "" if interval.low is None else f" ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
    return f"{interval.mean:+.{digits}f}{known}"


def in_turns(pairs: Path, work: Path, networks: Trainings) -> Evaluation:
    """Test on two people after two, each time having trained on the others; return all tests as one."""
    subjects = sorted(folder.name for folder in pairs.iterdir() if folder.is_dir())
    turns = []
    for number, tested in enumerate(zip(subjects[::2], subjects[1::2], strict=True), start=1):
        fixed = {subject: "test" if subject in tested else "train" for subject in subjects}
        turns.append(compare(pairs, work / f"real-{number}", networks, BUDGET_REAL, fixed))
    systems = (
        replace(system, pairs=tuple(pair for turn in turns for pair in turn.systems[place].pairs))
        for place, system in enumerate(turns[0].systems)
    )
    return replace(turns[0], systems=tuple(systems), worst=tuple(pair for turn in turns for pair in turn.worst))


def chosen(networks: Trainings, only: str | None, work: Path) -> Trainings:
    """Return the networks that were asked for, told where others' weights are."""
    names = only.split(",") if only else list(networks)
    return {name: tuple(change.format(work=work) for change in changes) for name, changes in networks.items() if name in names}


def photograph(raw: Path, sitters: Path | None, subjects: int) -> None:
    """Hold a sitting of every subject that has none."""
    for number in range(1, subjects + 1):
        subject = f"S{number:03d}"
        if not any((raw / subject).glob("*/*/pair.json")):
            choice = SitterChoice(subject, sitters)
            with emulated_studio(emulator_folder(raw) / subject, choice, size=CAMERA_SIZE, seed=number) as rig:
                hold_session(rig, raw, subject, first_poses(POSES))


def compare(
    raw: Path, work: Path, networks: Trainings, budget: tuple[str, ...], fixed: dict[str, str] | None = None
) -> Evaluation:
    """Align, build, train and evaluate in `work`."""
    print(align_batch(raw, work / "aligned", workers=usable_cores()).sentence())
    # not looked for one person under two ids: the portraits' people are known to differ
    parameters = Parameters(size=128, proportions=SHARES, fixed=fixed or {}, leakage_check=False)
    print(build_dataset(work / "aligned", work / "shards", parameters, workers=usable_cores()).sentence())
    for name, (base, *changes) in networks.items():
        recipe = load_recipe(base, (*changes, *budget))
        with shown(name) as report:
            train(work / "shards", work / name, recipe, report=report)
    return evaluate([work / name for name in networks], work / "shards", split="test", out=work / "evaluation")


if __name__ == "__main__":
    main()
