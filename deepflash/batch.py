"""Batch work over many units in worker processes, in which nothing vanishes.

A unit is idempotent: it may be begun twice (when a worker died beside it), so what it writes must
appear atomically. Workers are spawned, never forked (ITK's and OpenCV's threads do not survive a fork),
and hold one thread each: two processes with one thread beat one process with two
(reference: registration.md), and SimpleITK is deterministic with one thread only.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_connections
from typing import Generic, TypeVar

from deepflash.errors import DeepflashError
from deepflash.progress import Report, silent

U = TypeVar("U")
R = TypeVar("R")

MAX_DEATHS = 3
"""A unit that killed this many workers while it ran alone is set aside."""

_UNITS_AHEAD = 2  # units in flight per worker: none idles, and few are suspects when one dies
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class Outcome(Generic[U, R]):
    """What became of a unit: its `value`, or the `error` in one sentence that kept it from having one."""

    unit: U
    value: R | None
    error: str | None


def run_all(
    function: Callable[[U], R], units: Sequence[U], *, workers: int, report: Report = silent
) -> Iterator[Outcome[U, R]]:
    """Yield `function(unit)` for every unit, in the order of `units`, worked on by a pool of processes.

    One outcome comes for each unit, whatever happens. A worker that dies (killed, out of memory, a crash in
    native code) is replaced; the units that were in flight run again, one at a time, and the one that kills
    its worker three times is set aside. Also a single worker is a process of its own, so that a crash cannot
    take the run along. If the caller stops (an exception, an interrupt, an abandoned iteration, even
    SIGKILL), the workers end at once.

    Parameters
    ----------
    function
        Importable by name (or a `functools.partial` of such a function); its unit and value must be picklable.
    units
        The work. Units must be idempotent: one may be begun again after a worker's death.
    workers
        Number of processes, at least 1; each has one thread.
    report
        Called as units are finished.

    Raises
    ------
    ValueError
        if `workers` is less than 1.
    Exception
        whatever `function` raises that is not a `DeepflashError` (which becomes the outcome's `error`):
        a programmer's error ends the run, with a note that names the unit.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    report(0, len(units), "")
    finished: dict[int, Outcome[U, R]] = {}
    turn = 0
    for count, (index, outcome) in enumerate(_as_finished(function, units, min(workers, max(len(units), 1))), start=1):
        report(count, len(units), "")
        finished[index] = outcome
        while turn in finished:
            yield finished.pop(turn)
            turn += 1


_Numbered = tuple[int, U]
_Finished = tuple[int, Outcome[U, R]]


def usable_cores() -> int:
    """Return how many cores this process may use: what a container or `taskset` leaves of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_finished(function: Callable[[U], R], units: Iterable[U], workers: int) -> Iterator[_Finished[U, R]]:
    waiting = deque(enumerate(units))
    while waiting:
        suspects = yield from _together(function, waiting, workers)
        yield from _one_by_one(function, suspects)


def _together(
    function: Callable[[U], R], waiting: deque[_Numbered[U]], workers: int
) -> Generator[_Finished[U, R], None, deque[_Numbered[U]]]:
    """Work through `waiting`; return the units in flight when a worker died, or none at the end."""
    running: dict[Future[tuple[R | None, str | None]], _Numbered[U]] = {}
    with _pool(workers) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < _UNITS_AHEAD * workers:
                    running[pool.submit(_attempt, function, waiting[0][1])] = waiting[0]
                    waiting.popleft()
                ended = wait(running, return_when=FIRST_COMPLETED).done
                for future in ended:
                    index, unit = running[future]
                    outcome = _outcome(unit, future)
                    del running[future]  # only now: what raised is a suspect
                    yield index, outcome
            except BrokenProcessPool:
                break
    return deque(sorted(running.values(), key=lambda numbered: numbered[0]))


def _one_by_one(function: Callable[[U], R], suspects: deque[_Numbered[U]]) -> Iterator[_Finished[U, R]]:
    deaths: Counter[int] = Counter()
    while suspects:
        with _pool(1) as pool:
            while suspects:
                index, unit = suspects[0]
                try:
                    outcome = _outcome(unit, pool.submit(_attempt, function, unit))
                except BrokenProcessPool:
                    deaths[index] += 1
                    if deaths[index] < MAX_DEATHS:
                        break
                    outcome = Outcome(unit, None, _death_sentence())
                suspects.popleft()
                yield index, outcome
                if deaths[index] == MAX_DEATHS:
                    break  # this pool is broken


def _death_sentence() -> str:
    return (
        f"the worker process died {MAX_DEATHS} times on this item alone (a crash in native code, or killed for want of"
        " memory); free some memory and run again, or replace its files"
    )


def _outcome(unit: U, future: Future[tuple[R | None, str | None]]) -> Outcome[U, R]:
    try:
        value, error = future.result()
    except BrokenProcessPool:
        raise
    except Exception as failure:
        failure.add_note(f"while working on {unit}")
        raise
    return Outcome(unit, value, error)


def _attempt(function: Callable[[U], R], unit: U) -> tuple[R | None, str | None]:
    """Run in the worker; there too, what a user can mend becomes a sentence."""
    try:
        return function(unit), None
    except DeepflashError as error:
        return None, str(error)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    leash_end, leash = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(leash_end,))
    try:
        yield executor
    except BaseException:
        leash.close()  # an executor alone would let running units finish first
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        leash.close()
        leash_end.close()


def _start_worker(leash: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # before NumPy is imported: it reads them once
    threading.Thread(target=_end_with_caller, args=(leash,), daemon=True).start()
    import cv2  # noqa: PLC0415 (after the environment is set)

    cv2.setNumThreads(1)


def _end_with_caller(leash: Connection) -> None:
    """End this worker when the caller lets go of the leash or dies; a pool's workers would outlive both."""
    caller = multiprocessing.parent_process()
    wait_for_connections([leash] if caller is None else [leash, caller.sentinel])
    os._exit(1)
