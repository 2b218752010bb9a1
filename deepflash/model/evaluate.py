"""Evaluation: how near portraits come to the studio's, for runs side by side and for baselines that need no network.

Only un-augmented pairs count, and everything is measured at the size that the runs were trained at. Means and confidence
intervals are over subjects (see `intervals`); what is measured against what stands in `measures`.
"""

from collections.abc import Sequence
from pathlib import Path

from deepflash.errors import ModelError
from deepflash.model.contenders import load_contenders
from deepflash.model.data import portraits, unaugmented
from deepflash.model.measures import Evaluation
from deepflash.model.measuring import Measuring, Passing
from deepflash.model.perceptual import load_lpips
from deepflash.model.runs import dataset_identity, is_weights_file, run_folder
from deepflash.model.systems import FLASH, fitted_baselines
from deepflash.model.tables import write_tables
from deepflash.progress import Report, silent
from deepflash.shards import open_shards


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
    contenders = load_contenders(runs, device)
    distance = load_lpips(*lpips, device=contenders.device) if lpips else None
    dataset = open_shards(shards)
    total = len(unaugmented(dataset, split))
    if not total:
        raise ModelError(
            f"{shards} has no un-augmented pairs in its split {split}; choose another of {', '.join(dataset.splits)}"
        )
    fitted_to = len(unaugmented(dataset, "train"))
    count, size = Passing(fitted_to + total, report), contenders.size
    baselines = [FLASH, *fitted_baselines(count.through(portraits(dataset, "train", size), "fitting the baselines"))]
    measuring = Measuring([*baselines, *contenders.systems()], contenders.device, distance)
    for pair in count.through(portraits(dataset, split, size), split):
        measuring.add(pair)
    evaluation = Evaluation(
        split=split,
        dataset=dataset_identity(dataset),
        size=size,
        device=contenders.device_in_words(),
        notes=(*contenders.leaks(dataset, split), *baseline_notes(shards, split, fitted_to)),
        systems=measuring.scored(contenders.costs()),
        worst=tuple(measuring.worst),
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


def baseline_notes(shards: Path, split: str, fitted_to: int) -> list[str]:
    """Say what a reader has to know of the fitted baselines."""
    if not fitted_to:
        return [f"{shards} has no split train, so the colour matrix and the histogram could not be fitted and are left out"]
    if split == "train":
        return ["the colour matrix and the histogram were fitted to these very pairs"]
    return []
