"""A run's curve, for programs (`metrics.jsonl`) and for TensorBoard."""

import json
import os
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from deepflash.errors import ModelError
from deepflash.files import locked_folder, write_durably
from deepflash.pictures import Picture

METRICS_FILE = "metrics.jsonl"


class Journal:
    """The run's curve: a line of JSON for every entry, and the same for TensorBoard if that is installed.

    Entries after the step that the run goes on from are taken back first, so that no step is there twice. While it is open, no
    other process can go on with the run: a `ModelError` says so.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._held = ExitStack()
        if not self._held.enter_context(locked_folder(run)):
            self._held.close()
            raise ModelError(f"{run} is being trained by another process; wait until that has ended, or give a new folder")
        path = run / METRICS_FILE
        _take_back(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._board = _board(run, step) if has_tensorboard() else None

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, "split": split, **values}, allow_nan=False) + "\n")
        self._file.flush()
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"{name}/{split}", value, step)

    def show(self, step: int, picture: Picture) -> None:
        if self._board:
            self._board.add_image("portraits", picture, step, dataformats="HWC")

    def sync(self) -> None:
        os.fsync(self._file.fileno())
        if self._board:
            self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._board:
            self._board.close()
        self._held.close()


def has_tensorboard() -> bool:
    """Say whether events for TensorBoard can be written here: its package may be missing on a machine that only trains."""
    return find_spec("tensorboard") is not None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`.

    Every line has `step` and `split`: "train" with the mean `loss`, and `judge_loss` if there is a judge, since the last such
    line, and the learning rate; or "val" with the mean of every score of evaluate.Scores.

    Raises
    ------
    ModelError
        if there is none, or a line is damaged.
    """
    path = run / METRICS_FILE
    try:
        return [_entry(path, line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise ModelError(f"{run} holds no training curve ({METRICS_FILE} is missing); train again in a new folder") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is damaged ({error}); train again in a new folder") from error


def _entry(path: Path, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if isinstance(entry["step"], int) and isinstance(entry["split"], str):
            return dict(entry)
    except (ValueError, KeyError, TypeError):
        pass
    raise ModelError(f"{path} is damaged: {line[:60]!r} is no entry; remove that line, or train again in a new folder")


def _board(run: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (slow to import, and only training needs it)

    return SummaryWriter(str(run), purge_step=step + 1 if step else 0)


def _take_back(path: Path, step: int) -> None:
    """Keep the lines up to a step; at step 0 none, for then the run begins anew. A line cut short by a kill goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if not line.endswith("\n") or not step or _entry(path, line)["step"] > step:
            break
        kept.append(line)
    write_durably(path, "".join(kept))
