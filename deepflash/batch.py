"""Batch work over many units in worker processes, in which nothing vanishes.

A unit is idempotent: it may be begun twice (when a worker died beside it), so what it writes must
appear atomically. Who works is a *crew*: processes of this machine, or those of a cluster
(`deepflash.cluster`); the loop is the same. Workers are spawned, never forked (ITK's and OpenCV's threads do
not survive a fork), and hold one thread each: two processes with one thread beat one process with two
(reference: registration.md), and SimpleITK is deterministic with one thread only.
"""

import functools
import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_connections
from typing import Any, Generic, Protocol, TypeVar

from deepflash.errors import DeepflashError
from deepflash.progress import Report, silent

U = TypeVar("U")
R = TypeVar("R")

MAX_DEATHS = 3
"""A unit that killed this many workers while it ran alone is set aside."""

_UNITS_AHEAD = 2  # units in flight per worker: none idles, and few are suspects when one dies
_LOOK_EVERY_S = 5.0  # for workers that came or went while none of them had anything to say
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


class Team(Protocol):
    """A `concurrent.futures.Executor` that knows how many work for it."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Have `function` called by a worker.

        The future raises `BrokenExecutor` if workers died over it; its `deaths`, where it has them, says how many.
        """

    def capacity(self) -> int:
        """Return how many units can be worked on at once, now.

        Raises
        ------
        DeepflashError
            if waiting for the team has become pointless.
        """


Crew = Callable[[], AbstractContextManager[Team]]
"""Gathers a team, and lets it go when the block ends: at once, and unfinished, if the block raises."""


@dataclass(frozen=True)
class Outcome(Generic[U, R]):
    """What became of a unit: its `value`, or the `error` in one sentence that kept it from having one."""

    unit: U
    value: R | None
    error: str | None


def run_all(
    function: Callable[[U], R], units: Sequence[U], *, workers: int | Crew, report: Report = silent
) -> Iterator[Outcome[U, R]]:
    """Yield `function(unit)` for every unit, in the order of `units`, worked on by a crew.

    One outcome comes for each unit, whatever happens. A worker that dies (killed, out of memory, a crash in
    native code) is replaced; the units that may have killed it run again, one at a time, and the one that kills
    its worker three times is set aside. Also a single worker is a process of its own, so that a crash cannot
    take the run along. If the caller stops (an exception, an interrupt, an abandoned iteration, even
    SIGKILL), the workers of this machine end at once; those of a cluster end the units that they have begun.

    Parameters
    ----------
    function
        Importable by name (or a `functools.partial` of such a function); its unit and value must be picklable.
    units
        The work. Units must be idempotent: one may be begun again after a worker's death.
    workers
        Number of processes on this machine, at least 1, each with one thread; or another crew.
    report
        Called as units are finished.

    Raises
    ------
    ValueError
        if `workers` is less than 1.
    DeepflashError
        if the crew cannot be gathered, or is lost.
    Exception
        whatever `function` raises that is not a `DeepflashError` (which becomes the outcome's `error`):
        a programmer's error ends the run, with a note that names the unit.
    """
    crew = _of_this_machine(workers, len(units)) if isinstance(workers, int) else workers
    report(0, len(units), "")
    finished: dict[int, Outcome[U, R]] = {}
    turn = set_aside = 0
    for count, (index, outcome) in enumerate(_as_finished(function, units, crew), start=1):
        set_aside += outcome.error is not None
        report(count, len(units), f"{set_aside} set aside" if set_aside else "")
        finished[index] = outcome
        while turn in finished:
            yield finished.pop(turn)
            turn += 1


_Numbered = tuple[int, U]
_Finished = tuple[int, Outcome[U, R]]
_Suspect = tuple[_Numbered[U], int]  # with the number of workers that died over it


def usable_cores() -> int:
    """Return how many cores this process may use: what a container or `taskset` leaves of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_part(name: str, part: tuple[int, int]) -> bool:
    """Tell whether a unit belongs to part k of n, `part` being (k, n) with 1 <= k <= n, by its name alone.

    Every name is in exactly one of n parts, and stays there whatever other units come or go, so that jobs that know
    nothing of each other share work by it.

    >>> [in_part("S001-a-03", (k, 3)) for k in (1, 2, 3)]
    [False, True, False]
    """
    k, n = part
    if not 1 <= k <= n:
        raise ValueError(f"part {k} of {n} does not exist; the first of {n} is 1, the last {n}")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()) % n == k - 1


def _of_this_machine(workers: int, units: int) -> Crew:
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    return functools.partial(_processes, min(workers, max(units, 1)))


def hold_one_thread() -> None:
    """Let the native libraries of this process use one thread each; before NumPy is imported, where that can be had."""
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read once, when a library is loaded
    import cv2  # noqa: PLC0415 (after the environment is set)

    cv2.setNumThreads(1)


def _as_finished(function: Callable[[U], R], units: Iterable[U], crew: Crew) -> Iterator[_Finished[U, R]]:
    waiting = deque(enumerate(units))
    while waiting:
        suspects = yield from _together(function, waiting, crew)
        yield from _one_by_one(function, deque(sorted(numbered for numbered, _ in suspects)), crew)


def _together(
    function: Callable[[U], R], waiting: deque[_Numbered[U]], crew: Crew, *, at_once: int | None = None
) -> Generator[_Finished[U, R], None, list[_Suspect[U]]]:
    """Work through `waiting` until a worker dies; return the units that may be why, or none at the end.

    After a death nothing new is begun; what is in flight is finished, or is under suspicion too.
    """
    running: dict[Future[tuple[R | None, str | None]], _Numbered[U]] = {}
    suspects: list[_Suspect[U]] = []
    with crew() as team:
        while running or (waiting and not suspects):
            most = at_once or max(1, _UNITS_AHEAD * team.capacity())
            try:
                while waiting and not suspects and len(running) < most:
                    running[team.submit(_attempt, function, waiting[0][1])] = waiting[0]
                    waiting.popleft()
            except BrokenExecutor:
                if not running:
                    break  # it broke while nobody worked: another one is gathered
            for future in wait(running, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED).done:
                index, unit = running.pop(future)
                try:
                    outcome = _outcome(unit, future)
                except BrokenExecutor as death:
                    suspects.append(((index, unit), getattr(death, "deaths", 1)))
                else:
                    yield index, outcome
    return suspects


def _one_by_one(function: Callable[[U], R], suspects: deque[_Numbered[U]], crew: Crew) -> Iterator[_Finished[U, R]]:
    deaths: Counter[int] = Counter()
    while suspects:
        killers = yield from _together(function, suspects, crew, at_once=1)
        for (index, unit), died in killers:
            deaths[index] += died
            if deaths[index] < MAX_DEATHS:
                suspects.appendleft((index, unit))
            else:
                yield index, Outcome(unit, None, _death_sentence(deaths[index]))


def _death_sentence(deaths: int) -> str:
    return (
        f"the worker process died {deaths} times on this item alone (a crash in native code, or killed for want of"
        " memory); free some memory and run again, or replace its files"
    )


def _outcome(unit: U, future: Future[tuple[R | None, str | None]]) -> Outcome[U, R]:
    try:
        value, error = future.result()
    except (BrokenExecutor, DeepflashError):
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


class _Pool(ProcessPoolExecutor):
    """A process pool that knows its size."""

    def __init__(self, workers: int, leash_end: Connection) -> None:
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, mp_context=context, initializer=_start_worker, initargs=(leash_end,))
        self._workers = workers

    def capacity(self) -> int:
        return self._workers


@contextmanager
def _processes(workers: int) -> Iterator[Team]:
    leash_end, leash = multiprocessing.get_context("spawn").Pipe(duplex=False)
    pool = _Pool(workers, leash_end)
    try:
        yield pool
    except BaseException:
        leash.close()  # an executor alone would let running units finish first
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        leash.close()
        leash_end.close()


def _start_worker(leash: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides
    threading.Thread(target=_end_with_caller, args=(leash,), daemon=True).start()
    hold_one_thread()


def _end_with_caller(leash: Connection) -> None:
    """End this worker when the caller lets go of the leash or dies; a pool's workers would outlive both."""
    caller = multiprocessing.parent_process()
    wait_for_connections([leash] if caller is None else [leash, caller.sentinel])
    os._exit(1)
