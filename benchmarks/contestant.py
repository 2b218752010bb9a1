"""The child process of `registration.py`: one method, so that its peak of memory is its own.

    python benchmarks/contestant.py METHOD < folders > results

Reads one folder of a case per line, writes one JSON line per case. A case that takes more than two minutes ends the
process by SIGALRM; the parent starts another one behind that case.
"""

# ruff: noqa: PLC0415 (what one method needs must not count for another)

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from peers import PEERS, NoAnswerError, Task

from deepflash.errors import DeepflashError
from deepflash.pairs import Face, Pair
from deepflash.pictures import read_rgb

LIMIT_S = 120
OURS = ("paper", "mattes", "refined")
WHOLE = "align_pair"


def main() -> None:
    """Answer every case on stdin."""
    method = sys.argv[1]
    cv2.setNumThreads(1)
    answer = _choose(method)
    loaded = False
    for line in sys.stdin:
        signal.alarm(LIMIT_S)
        folder = Path(line.strip())
        if not loaded:
            answer(folder)  # once for nothing: it loads libraries and models
            loaded = True
        result = answer(folder)
        signal.alarm(0)
        print(json.dumps({**result, "peak_mb": _peak_mb()}), flush=True)


def _choose(method: str) -> Callable[[Path], dict[str, Any]]:
    if method == WHOLE:
        return _align
    if method in OURS:
        return lambda folder: _register(folder, method)
    return lambda folder: _peer(folder, method)


def _peer(folder: Path, method: str) -> dict[str, Any]:
    task = _task(folder)
    return _timed(lambda: {"affine": PEERS[method](task).tolist()})


def _register(folder: Path, method: str) -> dict[str, Any]:
    from deepflash.align.registration import register

    task = _task(folder)
    faces = {"fixed_face": task.flash_face, "moving_face": task.studio_face}

    def answer() -> dict[str, Any]:
        registration = register(task.flash, task.studio, **faces, method=method)
        return {"affine": registration.moving_from_fixed.tolist(), "did": registration.method}

    return _timed(answer)


def _align(folder: Path) -> dict[str, Any]:
    """Do all that `deepflash align batch` does with a pair: checksums, decoding, faces, registration, checks."""
    from deepflash.align.batch import align_pair

    def answer() -> dict[str, Any]:
        alignment = align_pair(Pair("pair", "S001", folder / "flash.jpg", folder / "studio.jpg"))
        return {
            "affine": alignment.moving_from_fixed,
            "did": alignment.method,
            "verdict": alignment.verdict,
            "reasons": alignment.reasons,
            "quality": alignment.quality,
        }

    return _timed(answer)


def _timed(answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return an answer with its CPU seconds; a refusal is an answer, too, any other error ends the process."""
    start_s = time.process_time()
    try:
        result = {"failure": "", **answer()}
    except (NoAnswerError, DeepflashError) as error:
        result = {"failure": str(error), "affine": None}
    return {**result, "cpu_s": time.process_time() - start_s}


def _task(folder: Path) -> Task:
    faces = json.loads((folder / "case.json").read_text())["faces"]
    flash_face, studio_face = (
        None if faces[side] is None else Face(tuple(faces[side]["box"]), faces[side]["landmarks"])
        for side in ("flash", "studio")
    )
    return Task(read_rgb(folder / "flash.jpg"), read_rgb(folder / "studio.jpg"), flash_face, studio_face)


def _peak_mb() -> float:
    """Return this process's peak of resident memory; `ru_maxrss` would count the parent's at the fork, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
