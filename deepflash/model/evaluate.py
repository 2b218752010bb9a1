"""Evaluation: how near portraits come to the studio's, for runs side by side and for baselines that need no network.

Only un-augmented pairs count, and everything is measured at the size that the runs were trained at. Means and confidence
intervals are over subjects (see `intervals`); what is measured against what stands in `measures`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.cost import Cost, count_parameters, median_milliseconds, multiply_accumulates
from deepflash.model.data import Portrait, portraits, to_picture, unaugmented
from deepflash.model.encodings import encoding_named
from deepflash.model.measures import Evaluation, PairMeasures, Scored, WorstPair, measure
from deepflash.model.perceptual import Lpips, load_lpips
from deepflash.model.runs import (
    WEIGHTS_FILE,
    Origin,
    TrainedRun,
    dataset_identity,
    is_weights_file,
    load_run,
    run_folder,
    usable_device,
)
from deepflash.model.systems import FITTED_NAMES, FLASH, System, fitted_baselines, run_system
from deepflash.model.tables import write_tables
from deepflash.progress import Report, silent
from deepflash.shards import ShardSet, open_shards

_WORST_SHOWN = 4
_TRUTH_LABELS = ("reconstructed truth", "studio picture")  # beside the worst results
_PAPERS_ENCODING = "C"  # whose equation 8 is the common truth


def evaluate(
    runs: Sequence[Path],
    shards: Path,
    *,
    split: str = "test",
    out: Path | None = None,
    device: str | None = None,
    lpips: tuple[Path, Path] | None = None,
    report: Report = silent,
) -> Evaluation:
    """Measure runs and baselines on the un-augmented pairs of a split, and write tables and the worst pictures.

    Parameters
    ----------
    runs
        Folders of trained runs, or weights files such as `run/best.safetensors`, all of one size.
    shards
        Folder of a data set, not necessarily the one they were trained on.
    split
        `train`, `val` or `test`.
    out
        Folder for the tables, see `tables.write_tables`; `tables_folder` if there is one run alone.
    device
        As torch names it; the GPU if there is one, else the CPU.
    lpips
        Files with the layers of LPIPS and with VGG-16, see `load_lpips`; without them it is not measured.
    report
        Called after every pair, those that the baselines are fitted to included.

    Raises
    ------
    ModelError
        if a run or the weights of LPIPS cannot be used, the runs' sizes differ, or the split is empty.
    ShardError
        if the data set cannot be read.
    ValueError
        if there is no run, or there are several and no `out`.
    """
    if not runs or (len(runs) > 1 and out is None):
        raise ValueError("evaluate needs a run, and a folder for the tables of several")
    place = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    trained = {name: load_run(run, place) for name, run in zip(_names(runs), runs, strict=True)}
    size = _common_size(trained)
    distance = load_lpips(*lpips, device=place) if lpips else None
    dataset = open_shards(shards)
    total = len(unaugmented(dataset, split))
    if not total:
        raise ModelError(
            f"{shards} has no un-augmented pairs in its split {split}; choose another of {', '.join(dataset.splits)}"
        )
    fitted_to = len(unaugmented(dataset, "train"))
    count = _Counter(fitted_to + total, report)
    baselines = [FLASH, *fitted_baselines(count.passing(portraits(dataset, "train", size), "fitting the baselines"))]
    systems = [*baselines, *(run_system(name, run) for name, run in trained.items())]
    comparison = _Comparison(systems, place, distance)
    for pair in count.passing(portraits(dataset, split, size), split):
        comparison.add(pair)
    notes = [*_leaks(trained, dataset, split), *_baseline_notes(shards, split, fitted_to)]
    costs = {name: _cost(run, size, place) for name, run in trained.items()}
    evaluation = Evaluation(
        split=split,
        dataset=dataset_identity(dataset),
        size=size,
        device=_in_words(place),
        notes=tuple(notes),
        systems=tuple(comparison.scored(costs)),
        worst=tuple(comparison.worst),
    )
    write_tables(evaluation, out or tables_folder(runs[0], split))
    return evaluation


def tables_folder(run: Path, split: str) -> Path:
    """Return where the tables of a run alone go: into its folder, or beside its weights if they stand alone.

    >>> tables_folder(Path("run"), "test").as_posix()
    'run/evaluation-test'
    """
    folder = run_folder(run) or run.parent
    return folder / (f"evaluation-{split}-{run.stem}" if is_weights_file(run) else f"evaluation-{split}")


def _names(runs: Sequence[Path]) -> list[str]:
    """Return what runs are called, or their paths where that is the same or another column's."""
    weights = [(run if is_weights_file(run) else run / WEIGHTS_FILE).resolve() for run in runs]
    for run, path in zip(runs, weights, strict=True):
        if weights.count(path) > 1:
            raise ModelError(f"{run} is given twice; give every run once")
    names = [_name(run.resolve()) for run in runs]
    taken = [*names, FLASH.name, *FITTED_NAMES, *_TRUTH_LABELS]
    return [name if taken.count(name) == 1 else str(run) for name, run in zip(names, runs, strict=True)]


def _name(run: Path) -> str:
    """Return a folder's name, with that of the weights file if it is not the last weights; or the file's alone.

    >>> _name(Path("runs/light"))
    'light'
    """
    folder = run_folder(run)
    if folder is None:
        return run.stem
    return folder.name if run.name in {folder.name, WEIGHTS_FILE} else f"{folder.name}/{run.stem}"


def _common_size(trained: dict[str, TrainedRun]) -> int:
    sizes = {name: run.recipe.size for name, run in trained.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size} px" for name, size in sizes.items())
        raise ModelError(f"runs of different sizes cannot stand in one table ({listed}); evaluate each size apart")
    return next(iter(sizes.values()))


@dataclass
class _Counter:
    """Counts pairs as they pass, over several passes."""

    total: int
    report: Report
    done: int = 0

    def passing(self, pairs: Iterator[Portrait], note: str) -> Iterator[Portrait]:
        for pair in pairs:
            yield pair
            self.done += 1
            self.report(self.done, self.total, note)


@dataclass
class _Comparison:
    """What is measured of several systems, pair by pair; keeps the pictures of the worst pairs alone."""

    systems: Sequence[System]
    device: torch.device
    lpips: Lpips | None
    measured: dict[str, list[PairMeasures]] = field(default_factory=dict)
    worst: list[WorstPair] = field(default_factory=list)

    def add(self, pair: Portrait) -> None:
        """Measure every system on a pair."""
        flash, studio = pair.flash.to(self.device), pair.studio.to(self.device)
        reconstructed = _reconstructed(flash, studio)
        results = {system.name: system.portrait(flash) for system in self.systems}
        values: dict[str, float] = {}
        for name, result in results.items():
            against = (measure(result, truth, self.lpips) for truth in (reconstructed, studio))
            measured = PairMeasures(pair.key, pair.subject, *against)
            self.measured.setdefault(name, []).append(measured)
            values[name] = measured.reconstructed.psnr
        truths = dict(zip(_TRUTH_LABELS, (reconstructed, studio), strict=True))
        self._note_if_bad(pair.key, values, {**results, **truths})

    def _note_if_bad(self, key: str, values: dict[str, float], pictures: dict[str, Tensor]) -> None:
        runs = [system.name for system in self.systems if system.kind == "run"]

        def mean_of_runs(pair: WorstPair) -> tuple[float, str]:
            return fmean(pair.psnr[name] for name in runs), pair.key

        candidate = WorstPair(key, values, {})
        if len(self.worst) < _WORST_SHOWN or mean_of_runs(candidate) < mean_of_runs(self.worst[-1]):
            shown = {label: to_picture(picture[0]) for label, picture in pictures.items()}
            ranked = sorted([*self.worst, WorstPair(key, values, shown)], key=mean_of_runs)
            self.worst = ranked[:_WORST_SHOWN]

    def scored(self, costs: dict[str, Cost]) -> list[Scored]:
        """Return what was measured, system by system."""
        return [
            Scored(system.name, system.kind, system.about, costs.get(system.name), tuple(self.measured[system.name]))
            for system in self.systems
        ]


def _reconstructed(flash: Tensor, studio: Tensor) -> Tensor:
    """Return equation 8 in encoding C."""
    encoding = encoding_named(_PAPERS_ENCODING)
    return encoding.decode(flash, encoding.target(encoding.prepare(flash), encoding.prepare(studio)))


def _cost(trained: TrainedRun, size: int, device: torch.device) -> Cost:
    return Cost(
        parameters=count_parameters(trained.network),
        multiply_accumulates=multiply_accumulates(trained.network, size, size),
        milliseconds=median_milliseconds(run_system("", trained).portrait, torch.rand(1, 3, size, size, device=device)),
    )


def _leaks(runs: dict[str, TrainedRun], dataset: ShardSet, split: str) -> list[str]:
    """Say which runs were trained on people of the split: their figures tell nothing of people never seen."""
    people = {str(entry.info["subject"]) for entry in unaugmented(dataset, split)}
    notes = []
    for name, run in runs.items():
        known = _trained_on(run.origin, dataset)
        if known is None:
            notes.append(
                f"{name} was trained on another data set and does not say on whom; that nobody of this split was among them"
                " is not certain"
            )
        elif seen := sorted(people & known):
            listed = ", ".join(seen[:5]) + (f" and {len(seen) - 5} more" if len(seen) > 5 else "")
            notes.append(
                f"{name} was trained on {len(seen)} of the {len(people)} subjects of this split (by their ids: {listed});"
                " its figures say nothing about people whom it has never seen"
            )
    return notes


def _trained_on(origin: Origin, dataset: ShardSet) -> set[str] | None:
    """Return the ids of all subjects that went into weights, those that they started from included; None if not known."""
    if origin.subjects is not None:
        own = set(origin.subjects)
    elif origin.dataset == dataset_identity(dataset):
        own = {str(entry.info["subject"]) for entry in dataset.entries("train")}
    else:
        return None
    if origin.started_from is None:
        return own
    before = _trained_on(origin.started_from, dataset)
    return None if before is None else own | before


def _baseline_notes(shards: Path, split: str, fitted_to: int) -> list[str]:
    if not fitted_to:
        return [f"{shards} has no split train, so the colour matrix and the histogram could not be fitted and are left out"]
    if split == "train":
        return ["the colour matrix and the histogram were fitted to these very pairs"]
    return []


def _in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
