"""Calibration of the confidence that `align` gives a registration, on pairs whose truth is known.

    python benchmarks/confidence.py measure rows.jsonl --data ../shared/data --sitters 60
    python benchmarks/confidence.py fit rows.jsonl
    python benchmarks/confidence.py draw rows.jsonl docs/images/confidence.png

`measure` makes pairs of portraits, registers and judges them, and appends a line of JSON for each; run it in several
processes with `--part 1/2`, and again to add what is not there yet. `fit` fits the logistic model by Newton's method to the
*training* pairs and prints the constants for deepflash/align/quality.py, and the figures of the *test* pairs by
the constants that are there now. `draw` draws their curves.

Truth: the mean distance, over the face, between where the map takes a point of the flash photograph and where it
really is in the studio photograph, with all motion that no affine map can follow; in pixels of a 3120 px wide photograph.
Of two different people nothing is within 6 px.

Training and test pairs share neither people nor kinds of damage, other than the plain ones (`relit`, `hard`, `emulated`,
`real`), in which only the light, the head's place and 3 px of non-affine motion differ.
"""

import argparse
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from disturbances import (
    displaced,
    head_turn,
    in_flash_light,
    opened_mouth,
    random_affine,
    shadowed,
    warped,
    with_closed_eyes,
    wobble,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from truth import REFERENCE_WIDTH, grid, patch_consensus

from deepflash.affine import Affine, apply, compose
from deepflash.align import quality
from deepflash.align.registration import register
from deepflash.align.subjects import find_pair_faces
from deepflash.faces import find_faces, subject_face
from deepflash.hardware.emulator.scene import Scene, true_moving_from_fixed
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.pairs import Face
from deepflash.pictures import Picture, read_rgb

LIMIT_PX = 6.0
SIDE_PX = 1024
REAL_PAIRS = ("01", "02", "05", "07", "09", "18")  # those that an affine map describes; every other one is for testing
REAL_REPEATS = 4
EMULATED_SIZE = (1040, 1387)


@dataclass(frozen=True)
class Sample:
    """A pair with its truth: what the flash picture shows at p is at truth(p + motion(p)) in the studio picture.

    `truth` is None where nothing in one picture is in the other; `face` is where errors count.
    """

    flash: Picture
    studio: Picture
    truth: Affine | None
    face: Face
    motion: np.ndarray | None = None
    mislead: float = 0.0  # face widths by which the registration is told a wrong place
    change: Affine | None = None  # made to the map that was found, in pixels of the flash picture


Damage = Callable[[Sample, "Sample", np.random.Generator], Sample]


def relit(sample: Sample, _other: Sample, _rng: np.random.Generator) -> Sample:
    """Leave the pair as it is: other light, other place."""
    return sample


def hard(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Cast shadows, and move the face by 3 px as no affine map can."""
    shape = sample.flash.shape[:2]
    points = grid(sample.face, shape[1], shape[0])
    return _displaced(replace(sample, flash=shadowed(sample.flash, rng)), wobble(shape, points, rng))


def turned(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Turn the head, from not worth mentioning to 10 degrees."""
    return _displaced(sample, head_turn(sample.flash.shape[:2], sample.face, rng) * rng.choice([0.05, 0.1, 0.2, 0.4, 1.0]))


def spoken(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Open the mouth, from a little to wide."""
    return _displaced(sample, opened_mouth(sample.flash.shape[:2], sample.face, rng) * rng.choice([0.1, 0.3, 1.0]))


def blurred(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Take the flash photograph out of focus."""
    sigma = rng.choice([3.0, 6.0, 12.0, 24.0])
    return replace(sample, flash=np.asarray(cv2.GaussianBlur(sample.flash, (0, 0), sigma), np.uint8))


def noisy(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Take the flash photograph with a hundredth or a tenth of the light."""
    light = (sample.flash / 255.0) ** 2.2 * rng.choice([0.003, 0.01, 0.03, 0.1])
    light = np.clip(light + rng.normal(0, 0.004, light.shape), 0, 1) ** (1 / 2.2)
    return replace(sample, flash=np.asarray(light * 255, np.uint8))


def strangers(sample: Sample, other: Sample, _rng: np.random.Generator) -> Sample:
    """Take two different people for one."""
    return replace(sample, studio=other.studio, truth=None)


def far(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Move the camera much between the photographs: up to 12 % of the width, 12 degrees."""
    height, width = sample.studio.shape[:2]
    more = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-12, 12), rng.uniform(0.9, 1.1))
    more[:, 2] += rng.uniform(-0.12, 0.12, 2) * width
    assert sample.truth is not None
    truth = np.column_stack([more[:, :2] @ sample.truth[:, :2], more[:, :2] @ sample.truth[:, 2] + more[:, 2]])
    return replace(sample, studio=warped(sample.studio, more), truth=truth)


def tilted(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Tilt one photograph by 10 to 30 degrees."""
    height, width = sample.studio.shape[:2]
    angle = rng.uniform(10, 30) * rng.choice([-1, 1])
    more = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    assert sample.truth is not None
    truth = np.column_stack([more[:, :2] @ sample.truth[:, :2], more[:, :2] @ sample.truth[:, 2] + more[:, 2]])
    return replace(sample, studio=warped(sample.studio, more), truth=truth)


def misled(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Tell the registration a wrong place of the face."""
    return replace(sample, mislead=rng.uniform(0.3, 1.2))


def shifted(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Put a wrong map in the place of the one that was found: 1 to 30 px beside it."""
    angle, length = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(0, np.log(30))) * sample.flash.shape[1] / REFERENCE_WIDTH
    return replace(sample, change=np.array([[1, 0, length * np.cos(angle)], [0, 1, length * np.sin(angle)]]))


def twisted(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Put a wrong map in the place of the one that was found: turned, scaled or sheared about the face, by 1 to 30 px."""
    left, top, right, bottom = sample.face.box
    middle, radius = np.array([left + right, top + bottom]) / 2, (right - left) / 3
    size = np.exp(rng.uniform(0, np.log(30))) * sample.flash.shape[1] / REFERENCE_WIDTH / radius
    kind = np.array([[[0, -1], [1, 0]], [[1, 0], [0, 1]], [[0, 1], [0, 0]], [[1, 0], [0, -1]]][rng.integers(4)])
    linear = np.eye(2) + size * kind
    return replace(sample, change=np.column_stack([linear, middle - linear @ middle]))


def covered(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """Hold something in front of a third to all of the face, in one photograph."""
    left, top, right, bottom = (int(edge) for edge in sample.face.box)
    flash = sample.flash.copy()
    top += int(rng.choice([0.0, 0.3, 0.6]) * (bottom - top))
    flash[top : bottom + 20, left - 20 : right + 20] = other.flash[top : bottom + 20, left - 20 : right + 20].mean(axis=(0, 1))
    return replace(sample, flash=flash)


def cropped(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Move the head out of the studio photograph, by a quarter to all of the face."""
    left, _, right, _ = sample.face.box
    out = sample.studio.shape[1] - right + rng.uniform(0.25, 1.0) * (right - left)
    more = np.array([[1.0, 0, out], [0, 1, 0]])
    assert sample.truth is not None
    truth = np.column_stack([sample.truth[:, :2], sample.truth[:, 2] + more[:, 2]])
    size = sample.studio.shape[1::-1]
    studio = cv2.warpAffine(sample.studio, more, size, borderMode=cv2.BORDER_REPLICATE)
    return replace(sample, studio=np.asarray(studio, np.uint8), truth=truth)


def walls(sample: Sample, _other: Sample, rng: np.random.Generator) -> Sample:
    """Photograph a blank wall twice."""
    wall, again = (np.clip(130 + rng.normal(0, 3, sample.flash.shape), 0, 255).astype(np.uint8) for _ in range(2))
    return replace(sample, flash=wall, studio=again, truth=None)


def blinked(sample: Sample, _other: Sample, _rng: np.random.Generator) -> Sample:
    """Shut the eyes in the flash photograph; the map is right all the same."""
    return replace(sample, flash=with_closed_eyes(sample.flash, sample.face))


PLAIN: dict[str, Damage] = {"relit": relit, "hard": hard}
TRAINING: dict[str, Damage] = {
    "shifted": shifted,
    "turned": turned,
    "blurred": blurred,
    "strangers": strangers,
    "far": far,
    "misled": misled,
}
TEST: dict[str, Damage] = {
    "twisted": twisted,
    "spoken": spoken,
    "noisy": noisy,
    "covered": covered,
    "tilted": tilted,
    "cropped": cropped,
    "walls": walls,
    "blinked": blinked,
}


def main() -> None:
    """Measure, fit or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    measuring = commands.add_parser("measure", help="make, register and judge pairs")
    measuring.add_argument("rows", type=Path)
    measuring.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with portraits/")
    measuring.add_argument("--sitters", type=int, default=60, help="how many portraits; every other one is for testing")
    measuring.add_argument(
        "--skip", type=int, default=0, help="begin with a later portrait: other people, below 6 for 60 of 414"
    )
    measuring.add_argument("--part", default="1/1", help="1/2: the first half of the pairs")
    fitting = commands.add_parser("fit", help="print the constants of the model")
    fitting.add_argument("rows", type=Path)
    drawing = commands.add_parser("draw", help="draw the curves")
    drawing.add_argument("rows", type=Path)
    drawing.add_argument("picture", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        cv2.setNumThreads(1)
        measure(options.rows, options.data, options.sitters, options.skip, options.part)
    elif options.command == "fit":
        print_fit(read_rows(options.rows))
    else:
        draw(read_rows(options.rows), options.picture)


def measure(path: Path, data: Path, sitters: int, skip: int, part: str) -> None:
    """Append a row for each pair of this part that has none yet."""
    done = {row["name"] for row in read_rows(path)} if path.exists() else set()
    index, count = (int(number) for number in part.split("/"))
    for number, (name, make) in enumerate(plan(data, sitters, skip)):
        if number % count != index - 1 or name in done:
            continue
        sample = make()
        if sample is None:
            continue
        row = {"name": name, "test": name.startswith("test"), "kind": name.split("/")[1], **judged(sample)}
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name:28} error {row['error_px']:7.2f} px  {row['verdict']}: {'; '.join(row['reasons'])}", flush=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what `measure` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def plan(data: Path, sitters: int, skip: int = 0) -> Iterator[tuple[str, Callable[[], Sample | None]]]:
    """Yield the names of all pairs and what makes them: plain and damaged pairs of each sitter."""
    for number, name in enumerate(REAL_PAIRS):
        group = "test" if number % 2 else "train"
        for repeat in range(REAL_REPEATS):
            for kind, damage in (("real", relit), ("real_wrong", twisted if number % 2 else shifted)):
                make = functools.partial(_real, data / "pairs/deepflash", name, repeat, damage)
                yield f"{group}/{kind}/{name}.{repeat}", make
    portraits = sorted((data / "portraits").glob("*.jpg"))
    step = max(1, len(portraits) // sitters)
    for number, path in enumerate(portraits[skip::step][:sitters]):
        test = number % 2 == 1
        damages = TEST if test else TRAINING
        kinds = list(damages)
        turn = number // 2
        group = "test" if test else "train"
        others = kinds[1:]
        for kind in (*PLAIN, kinds[0], others[turn % len(others)], others[(turn + 2) % len(others)]):
            damage = {**PLAIN, **damages}[kind]
            yield f"{group}/{kind}/{path.stem}", functools.partial(_made, path, portraits, number, damage, kind)
        if number % 4 < 2:
            yield f"{group}/emulated/{path.stem}", functools.partial(_emulated, data / "portraits", number)


def judged(sample: Sample) -> dict[str, Any]:
    """Register and judge a pair as `align` does."""
    height, width = sample.flash.shape[:2]
    faces = find_pair_faces(sample.flash, sample.studio)
    told = [_misplaced(face, sample.mislead) for face in (faces.flash, faces.studio)]
    registration = register(sample.flash, sample.studio, fixed_face=told[0], moving_face=told[1])
    if sample.change is not None:
        wrong = compose(registration.moving_from_fixed, sample.change)
        registration = replace(registration, moving_from_fixed=wrong)
    judgement = quality.judge(registration, faces.flash, faces.studio, (width, height), pictures=(sample.flash, sample.studio))
    return {
        "error_px": error_px(registration.moving_from_fixed, sample),
        "face_px": quality.face_width_px(faces.flash or faces.studio, (width, height)),
        "verdict": judgement.verdict,
        "reasons": judgement.reasons,
        "numbers": judgement.numbers,
    }


def error_px(found: Affine, sample: Sample) -> float:
    """Return the mean distance of the map from the true motion of the face; infinite where there is none."""
    height, width = sample.flash.shape[:2]
    if sample.truth is None:
        return float("inf")
    points = grid(sample.face, width, height)
    moved = points
    if sample.motion is not None:
        columns, rows = points.astype(int).T
        moved = points + sample.motion[rows, columns]
    apart = np.linalg.norm(apply(found, points) - apply(sample.truth, moved), axis=1)
    return float(apart.mean()) * REFERENCE_WIDTH / width


def print_fit(rows: list[dict[str, Any]]) -> None:
    """Print the constants that fit the training pairs, and how the present ones do on the test pairs."""
    training = [row for row in rows if not row["test"]]
    names = list(quality.evidence(training[0]["numbers"], 1.0))
    weights = fit_logistic(_evidence(training, names), _within(training))
    print(f"_INTERCEPT = {weights[0]:.3f}")
    print("_WEIGHTS = {" + ", ".join(f'"{name}": {weight:.3f}' for name, weight in zip(names, weights[1:], strict=True)) + "}")
    for group, chosen in (("training", training), ("test", [row for row in rows if row["test"]])):
        within = _within(chosen)
        fitted = 1 / (1 + np.exp(-(weights[0] + _evidence(chosen, names) @ weights[1:])))
        for what, confidence in (("as fitted", fitted), ("as stored", _stored(chosen))):
            print(f"\n{group}, {what}: {len(chosen)} pairs, {within.sum()} within {LIMIT_PX:.0f} px")
            for limit in (0.5, 0.7, 0.8, 0.9, 0.95):
                good = confidence >= limit
                kept, wrong, missed = good.sum(), (good & ~within).sum(), (~good & within).sum()
                print(f"  at least {limit}: {kept} pairs, {wrong} of them wrong, {missed} right ones missed")
    print_kinds(rows)


def print_kinds(rows: list[dict[str, Any]]) -> None:
    """Print a table of the verdicts on the test pairs, by kind."""
    print("\n| pairs | kind | within 6 px | called good | wrong ones called good | right ones not called good |")
    print("| --- | --- | --- | --- | --- | --- |")
    for test, kind in dict.fromkeys((row["test"], row["kind"]) for row in rows):
        chosen = [row for row in rows if (row["test"], row["kind"]) == (test, kind)]
        within = _within(chosen)
        good = (_stored(chosen) >= quality.GOOD_CONFIDENCE) & [row["verdict"] == "good" for row in chosen]
        wrong, missed = (good & ~within).sum(), (within & ~good).sum()
        group = "test" if test else "training"
        print(f"| {group} {len(chosen)} | {kind} | {within.sum()} | {good.sum()} | {wrong} | {missed} |")


def fit_logistic(evidence: np.ndarray, within: np.ndarray, ridge: float = 0.1) -> np.ndarray:
    """Return intercept and weights of a logistic regression, by Newton's method; `ridge` keeps the weights finite."""
    design = np.column_stack([np.ones(len(evidence)), evidence])
    spread = np.concatenate([[0.0], design[:, 1:].std(axis=0) ** 2])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (within - probability) - ridge * spread * weights
        curvature = (
            (design * (probability * (1 - probability))[:, None]).T @ design
            + ridge * np.diag(spread)
            + 1e-9 * np.eye(len(weights))
        )
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw reliability, and how many good pairs each threshold costs, of the test pairs."""
    test = [row for row in rows if row["test"]]
    confidence, within = _stored(test), _within(test)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    edges = np.array([0, 0.02, 0.2, 0.5, 0.8, 0.98, 1.0001])
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            left.plot(confidence[inside].mean(), within[inside].mean(), "o", color="#1b6ca8", ms=4 + inside.sum() ** 0.5)
            left.annotate(
                str(inside.sum()), (confidence[inside].mean(), within[inside].mean()), (7, -3), textcoords="offset points"
            )
    left.plot([0, 1], [0, 1], ":", color="0.5")
    left.set(xlabel="confidence", ylabel="share within 6 px of 3120", title="Reliability (numbers of test pairs)")
    limits = np.unique(np.concatenate([np.linspace(0.01, 0.99, 99), confidence]))
    kept = [within[confidence >= limit].mean() if (confidence >= limit).any() else 1.0 for limit in limits]
    found = [(within & (confidence >= limit)).sum() / within.sum() for limit in limits]
    right.plot(limits, kept, color="#1b6ca8", label="of pairs above the threshold, within 6 px")
    right.plot(limits, found, color="#d1731f", label="of pairs within 6 px, above the threshold")
    right.axhline(0.99, ls=":", color="0.5")
    right.set(xlabel="threshold of the confidence", ylim=(0.5, 1.02), title="What a threshold keeps")
    right.legend(loc="lower left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _evidence(rows: list[dict[str, Any]], names: list[str]) -> np.ndarray:
    return np.array([[quality.evidence(row["numbers"], row["face_px"])[name] for name in names] for row in rows])


def _stored(rows: list[dict[str, Any]]) -> np.ndarray:
    """Return the confidence by the constants that the package has now."""
    return np.array([quality.confidence_of(row["numbers"], row["face_px"]) for row in rows])


def _within(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([row["error_px"] <= LIMIT_PX for row in rows])


def _made(path: Path, portraits: list[Path], number: int, damage: Damage, kind: str) -> Sample | None:
    sample = _relit(path, number)
    if sample is None:
        return None
    other_path = portraits[(portraits.index(path) + 2) % len(portraits)]
    other = _relit(other_path, number) if damage in (strangers, covered) else sample
    return other and damage(sample, other, np.random.default_rng([number, *kind.encode()]))


@functools.lru_cache(maxsize=2)
def _relit(path: Path, number: int) -> Sample | None:
    """Render a portrait in two lights, with other places of the head."""
    portrait = np.asarray(cv2.resize(read_rgb(path), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.uint8)
    face = subject_face(find_faces(portrait, landmarks="large"), SIDE_PX, SIDE_PX)
    if face is None:
        return None
    rng = np.random.default_rng([number, *path.stem.encode()])
    truth = random_affine(rng, SIDE_PX, SIDE_PX)
    return Sample(in_flash_light(portrait, rng, blinks=False), warped(portrait, truth), truth, face)


def _real(folder: Path, name: str, repeat: int, damage: Damage) -> Sample | None:
    """Move the studio side of a real pair, whose truth is known to 1 or 1.5 px."""
    paths = [folder / f"{name}_{side}.jpg" for side in ("flash", "studio")]
    flash, studio = (read_rgb(path) for path in paths)
    face = subject_face(find_faces(flash), *flash.shape[1::-1])
    if face is None:
        return None
    rng = np.random.default_rng([int(name), repeat])
    move = random_affine(rng, *studio.shape[1::-1])
    truth = compose(move, patch_consensus(*paths).moving_from_fixed)
    sample = Sample(flash, warped(studio, move), truth, face)
    return damage(sample, sample, rng)


def _emulated(folder: Path, number: int) -> Sample | None:
    scene = Scene(load_sitter(SitterChoice(f"S{number:03d}", folder)), EMULATED_SIZE, seed=number)
    studio, studio_truth = scene.render(0, 1.0, flash=False)
    flash, flash_truth = scene.render(1, 0.02, flash=True)
    face = subject_face(find_faces(flash), *EMULATED_SIZE)
    return None if face is None else Sample(flash, studio, np.asarray(true_moving_from_fixed(studio_truth, flash_truth)), face)


def _displaced(sample: Sample, motion: np.ndarray) -> Sample:
    motion = motion.astype(np.float32)
    return replace(sample, flash=displaced(sample.flash, motion), motion=motion)


def _misplaced(face: Face | None, widths: float) -> Face | None:
    if face is None or not widths:
        return face
    left, top, right, bottom = face.box
    shift = widths * (right - left)
    return Face((left + shift, top - shift, right + shift, bottom - shift), {})


if __name__ == "__main__":
    main()
