"""What `align batch` costs beside the alignment itself, over thousands of small pairs: time, memory, and what a rerun takes.

    python benchmarks/batch.py [--pairs 10000] [--registered 600] [--large 16]

`--large` pairs of 13 megapixels are aligned from nothing by one worker: the cost of real work, the start of the worker
included. The other pairs are small (160 x 213 px) and made of a few renderings of one portrait; a comment in each JPEG makes
every file another one to the checksum. `--registered` of them are aligned from nothing, by one worker and by two; all
`--pairs` of them are found finished, which is the shortest unit there is, so that what the loop, the queue and the checksums
cost is seen.

Overhead is CPU time of all processes, less that of `align_pair` in a plain loop. Memory is the resident set of the
caller and the peak of its largest worker, early (after a tenth of the pairs) and at the end: a leak shows between the two.
"""

import argparse
import dataclasses
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from deepflash.align.batch import ALIGN_VERSION, align_batch, align_pair
from deepflash.batch import hold_one_thread, run_all
from deepflash.files import sha256_of
from deepflash.pairs import find_pairs, save_alignment
from deepflash.pictures import encode
from tests.align.sitters import pair_of

WIDTH_PX = 160
RENDERINGS = 8
LARGE_PX = (3120, 4160)
_SAMPLES = 200


@dataclasses.dataclass
class Cost:
    """What a run took: wall and CPU seconds of all processes, and memory early and at the end, in MiB."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    caller_early: float = 0.0
    caller: float = 0.0
    worker_early: float = 0.0
    worker: float = 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000, help="how many are found finished; 0 leaves this out")
    parser.add_argument("--registered", type=int, default=600, help="how many are aligned from nothing; 0 leaves this out")
    parser.add_argument("--large", type=int, default=16, help="how many of 13 megapixels are aligned; 0 leaves this out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepflash-batch-") as folder:
        if options.large:
            raw = write_large_pairs(Path(folder) / "large", options.large)
            print_run("aligned, 13 megapixels", 1, options.large, None, *measure(raw, Path(folder) / "large-1", 1))
        if options.registered:
            measure_registered(Path(folder), options.registered)
        if options.pairs:
            measure_finished(Path(folder), options.pairs)


def measure_registered(folder: Path, count: int) -> None:
    """Align pairs from nothing."""
    plain_s = elsewhere(measure_plain_loop, write_pairs(folder / "plain", min(100, count)))
    print(f"align_pair in a plain loop: {plain_s:.3f} CPU s a pair", flush=True)
    raw = write_pairs(folder / "few", count)
    for workers in (1, 2):
        print_run("aligned", workers, count, plain_s, *measure(raw, folder / f"few-{workers}", workers))


def measure_finished(folder: Path, count: int) -> None:
    """Find pairs finished; then let the queue carry as many units that do nothing."""
    raw = write_pairs(folder / "many", count)
    elsewhere(pretend_finished, raw, folder / "finished")
    for workers in (1, 2):
        print_run("found finished", workers, count, None, *measure(raw, folder / "finished", workers))
    print_queue(count)


def write_pairs(folder: Path, count: int) -> Path:
    """Write `count` pairs, no two files alike, by adding a comment to a few encoded pictures."""
    folder.mkdir()
    renderings = [[encode(picture, ".jpg") for picture in pair_of("hopper", seed, WIDTH_PX)[:2]] for seed in range(RENDERINGS)]
    for number in range(count):
        for light, content in zip(("flash", "studio"), renderings[number % RENDERINGS], strict=True):
            (folder / f"{number:06d}_{light}.jpg").write_bytes(commented(content, f"{number}"))
    return folder


def write_large_pairs(folder: Path, count: int) -> Path:
    """Write `count` pairs as a phone takes them."""
    folder.mkdir()
    for number in range(count):
        for light, picture in zip(("flash", "studio"), pair_of("hopper", number, LARGE_PX[0] // 4)[:2], strict=True):
            large = np.asarray(cv2.resize(picture, LARGE_PX, interpolation=cv2.INTER_CUBIC), np.uint8)
            (folder / f"{number:06d}_{light}.jpg").write_bytes(encode(large, ".jpg"))
    return folder


def commented(jpeg: bytes, text: str) -> bytes:
    """Put a comment segment behind the start of a JPEG (ITU-T T.81, B.2.4.5)."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text.encode() + jpeg[2:]


def pretend_finished(raw: Path, aligned: Path) -> None:
    """Write the alignments of all pairs, of which only the first few were computed."""
    pairs, _ = find_pairs(raw)
    computed = [align_pair(pair) for pair in pairs[:RENDERINGS]]
    for number, pair in enumerate(pairs):
        finished = dataclasses.replace(
            computed[number % RENDERINGS],
            pair_id=pair.id,
            subject=pair.subject,
            flash=pair.flash,
            studio=pair.studio,
            flash_sha256=sha256_of(pair.flash),
            studio_sha256=sha256_of(pair.studio),
        )
        assert finished.versions["align"] == ALIGN_VERSION
        save_alignment(aligned, finished)


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function` in a process of its own, so that its libraries and models do not count as the caller's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=hold_one_thread) as pool:
        return pool.submit(function, *arguments).result()


def measure_plain_loop(raw: Path) -> float:
    """Return CPU seconds a pair of `align_pair`, after the first, which loads the models."""
    pairs, _ = find_pairs(raw)
    align_pair(pairs[0])
    began_s = time.process_time()
    for pair in pairs[1:]:
        align_pair(pair)
    return (time.process_time() - began_s) / max(1, len(pairs) - 1)


def measure(raw: Path, aligned: Path, workers: int) -> tuple[Cost, str]:
    """Align `raw`; return the cost and the account in words."""
    with measured() as (cost, watch):
        account = align_batch(raw, aligned, workers=workers, report=watch)
    return cost, account.sentence()


@contextmanager
def measured() -> Iterator[tuple[Cost, "Watch"]]:
    """Yield a cost that is filled in at the end, and a report function that samples the memory."""
    cost = Cost()
    before_s, began_s = _cpu_s(), time.perf_counter()
    yield cost, Watch(cost)
    cost.wall_s, cost.cpu_s = time.perf_counter() - began_s, _cpu_s() - before_s


class Watch:
    """A `Report` that samples the resident sets as units are finished."""

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._me = psutil.Process()

    def __call__(self, done: int, total: int, _note: str = "") -> None:
        if done % max(1, total // _SAMPLES) and done != total:
            return
        cost = self._cost
        cost.caller = max(cost.caller, self._me.memory_info().rss / 2**20)
        cost.worker = max([cost.worker, *(_peak_mb(child.pid) for child in self._me.children())])
        if done <= total / 10:
            cost.caller_early, cost.worker_early = cost.caller, cost.worker


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    peak_kb = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
    return int(peak_kb) / 1024


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def print_run(what: str, workers: int, pairs: int, plain_s: float | None, cost: Cost, sentence: str) -> None:
    """Print one run; `plain_s` is what a pair costs without a batch."""
    overhead = "" if plain_s is None else f", overhead {1000 * (cost.cpu_s / pairs - plain_s):.0f} ms a pair"
    a_minute, cpu_s = 60 * pairs / cost.wall_s, cost.cpu_s / pairs
    print(
        f"{what}, {workers} worker{'s' if workers > 1 else ''}: {sentence}\n"
        f"    {a_minute:.0f} pairs a minute, {cost.wall_s:.1f} s wall, {cpu_s:.4f} CPU s a pair{overhead}\n"
        f"    memory: caller {cost.caller_early:.0f} -> {cost.caller:.0f} MiB, worker {cost.worker_early:.0f} ->"
        f" {cost.worker:.0f} MiB",
        flush=True,
    )


def print_queue(units: int) -> None:
    """Print what the loop and the queue cost alone: units that do nothing."""
    with measured() as (cost, watch):
        assert all(outcome.error is None for outcome in run_all(os.path.basename, _names(units), workers=2, report=watch))
    print(
        f"{units} units that do nothing, 2 workers: {1000 * cost.cpu_s / units:.2f} ms CPU, {1000 * cost.wall_s / units:.2f} ms"
    )


def _names(count: int) -> Sequence[str]:
    return [f"folder/{number}" for number in range(count)]


if __name__ == "__main__":
    main()
