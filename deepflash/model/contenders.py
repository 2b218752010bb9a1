"""Who is measured: trained runs, called by their names in the tables, all of one size."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deepflash.errors import ModelError
from deepflash.model.cost import Cost, count_parameters, median_milliseconds, multiply_accumulates
from deepflash.model.data import unaugmented
from deepflash.model.measures import TRUTH_LABELS
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
from deepflash.model.systems import FITTED_NAMES, FLASH, System, run_system
from deepflash.shards import ShardSet

_MOST_LISTED = 5


@dataclass(frozen=True)
class Contenders:
    """Trained runs that can stand in one table.

    Attributes
    ----------
    trained
        By what they are called in the tables.
    size
        Side of the pictures that they were trained at, in pixels.
    device
        Where they work.
    """

    trained: Mapping[str, TrainedRun]
    size: int
    device: torch.device

    def systems(self) -> list[System]:
        """Return what the runs have learned to do, in their order."""
        return [run_system(name, run) for name, run in self.trained.items()]

    def costs(self) -> dict[str, Cost]:
        """Measure what a picture costs each run."""
        return {name: _cost(run, self.size, self.device) for name, run in self.trained.items()}

    def device_in_words(self) -> str:
        """Say where the costs are measured."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"

    def leaks(self, dataset: ShardSet, split: str) -> list[str]:
        """Say which runs were trained on people of the split: their figures tell nothing of people never seen."""
        return [note for name, run in self.trained.items() for note in _leaks_of(name, run.origin, dataset, split)]


def load_contenders(runs: Sequence[Path], device: str | None = None, *, taken: Iterable[str] = ()) -> Contenders:
    """Load runs that shall stand in one table.

    Parameters
    ----------
    runs
        Folders of trained runs, or weights files such as `run/best.safetensors`.
    device
        As torch names it; the GPU if there is one, else the CPU.
    taken
        Names that other rows of the table have, beside those of the baselines.

    Raises
    ------
    ModelError
        if one cannot be used or is given twice, or their sizes differ.
    """
    place = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    trained = {name: load_run(run, place) for name, run in zip(_names(runs, taken), runs, strict=True)}
    return Contenders(trained, _common_size(trained), place)


def _names(runs: Sequence[Path], others: Iterable[str]) -> list[str]:
    """Return what runs are called, or their paths where that is the same or another column's."""
    weights = [(run if is_weights_file(run) else run / WEIGHTS_FILE).resolve() for run in runs]
    for run, path in zip(runs, weights, strict=True):
        if weights.count(path) > 1:
            raise ModelError(f"{run} is given twice; give every run once")
    names = [_name(run.resolve()) for run in runs]
    taken = [*names, FLASH.name, *FITTED_NAMES, *TRUTH_LABELS, *others]
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
        raise ModelError(f"runs of different sizes cannot stand in one table ({listed}); give runs of one size")
    return next(iter(sizes.values()))


def _cost(trained: TrainedRun, size: int, device: torch.device) -> Cost:
    return Cost(
        parameters=count_parameters(trained.network),
        multiply_accumulates=multiply_accumulates(trained.network, size, size),
        milliseconds=median_milliseconds(run_system("", trained).portrait, torch.rand(1, 3, size, size, device=device)),
    )


def _leaks_of(name: str, origin: Origin, dataset: ShardSet, split: str) -> Iterator[str]:
    """Say whom of a split a run has seen, those that its first weights have seen included, and what is not known of it."""
    pictures_of: dict[str, set[str]] = {}
    for entry in unaugmented(dataset, split):
        pictures_of.setdefault(entry.subject, set()).add(entry.flash_sha256)
    seen: set[str] = set()
    alike: set[str] = set()
    for one in origin.lineage():
        if one.dataset == dataset_identity(dataset):
            seen |= {entry.subject for entry in dataset.entries("train")}
        seen |= {subject for subject, pictures in pictures_of.items() if not pictures.isdisjoint(one.pictures)}
        alike |= set(one.subjects or ())
    count = len(pictures_of)
    if here := sorted(seen & pictures_of.keys()):
        yield (
            f"{name} was trained on {len(here)} of the {count} subjects of this split ({_listed(here)});"
            " its figures say nothing about people whom it has never seen"
        )
    if here := sorted(alike & pictures_of.keys() - seen):
        yield (
            f"{name} was trained on another data set, in which {len(here)} of the {count} subjects of this split have namesakes"
            f" ({_listed(here)}); the pictures do not tell whether they are the same people"
        )
    if any(one.subjects is None and one.dataset != dataset_identity(dataset) for one in origin.lineage()):
        yield (
            f"{name} was trained on another data set and does not say on whom; that nobody of this split was among them is not"
            " certain"
        )


def _listed(subjects: Sequence[str]) -> str:
    more = f" and {len(subjects) - _MOST_LISTED} more" if len(subjects) > _MOST_LISTED else ""
    return ", ".join(subjects[:_MOST_LISTED]) + more
