"""The workers of a Dask cluster as a crew for `deepflash.batch`: many machines, one loop.

A unit travels as bytes that are opened only in the worker, after that has been made to hold one thread and has
shown that it runs the same program and sees the same files: the machines of a cluster must share a file system
under the same names. Dask (the extra `deepflash[cluster]`) is imported when a cluster is asked for.

Dask begins a unit again whose worker died, beside others, until more than `distributed.scheduler.allowed-failures`
workers died while they had it; only then do we hear of it, and the unit is one under suspicion. Whether Dask's workers
come back is for their nannies, or for the batch system that started them.
"""

import functools
import logging
import pickle
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepflash import __version__
from deepflash.batch import Crew, Team, hold_one_thread
from deepflash.errors import ClusterError

CONNECT_WITHIN_S = 20.0
NO_WORKERS_FOR_S = 120.0

_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://\S+:\d+")
_COUNT_EVERY_S = 2.0
_ANSWER_WITHIN_S = 60.0
_ONE_AT_A_TIME = threading.Lock()  # a worker may have several threads; dlib and SimpleITK want a process of their own


class WorkersDied(BrokenExecutor):
    """Workers died while they had a unit.

    Attributes
    ----------
    deaths
        How many.
    """

    def __init__(self, deaths: int) -> None:
        super().__init__(f"{deaths} workers died")
        self.deaths = deaths


def dask_workers(address: str, must_see: Sequence[Path] = ()) -> Crew:
    """Return the crew that works for the Dask scheduler at `address`.

    Parameters
    ----------
    address
        Such as `tcp://10.0.0.1:8786`, or the path of the JSON file that `dask scheduler --scheduler-file` writes.
    must_see
        Absolute paths of files and folders that every worker must find.

    Returns
    -------
    Crew
        Gathering it, and waiting for it, raise `ClusterError` where Dask is not installed, the scheduler does not
        answer or is lost, no worker has been there for two minutes, or a worker lacks the files or this version of the
        program.
    """
    return functools.partial(_gathered, address, tuple(must_see))


@contextmanager
def _gathered(address: str, must_see: tuple[Path, ...]) -> Iterator[Team]:
    client = _connect(address)
    team = _DaskTeam(client, address, must_see)
    try:
        yield team
    finally:
        team.let_go()


def _connect(address: str) -> Any:
    by_file = address.endswith(".json")
    if not by_file and not _ADDRESS.fullmatch(address):
        raise ClusterError(
            f"{address} is no address of a Dask scheduler; give one such as tcp://10.0.0.1:8786, or its scheduler file (.json)"
        )
    if by_file and not Path(address).exists():
        raise ClusterError(f"{address} does not exist; `dask scheduler --scheduler-file {address}` writes it")
    try:
        from distributed import Client  # noqa: PLC0415 (an extra)
    except ImportError:
        raise ClusterError("a cluster needs Dask, which is not installed; pip install 'deepflash[cluster]'") from None
    for name in ("distributed", "distributed.client"):  # a scheduler that was lost is told in a sentence, not in tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    open_client: Any = Client
    where = {"scheduler_file": address} if by_file else {"address": address}
    try:
        return open_client(**where, timeout=CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({_first_line(error)}); start one, docs/clusters.md tells how"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


class _DaskTeam:
    """What a cluster can do at the moment, and the way to it."""

    def __init__(self, client: Any, address: str, must_see: tuple[Path, ...]) -> None:
        self._client = client
        self._executor: Executor = client.get_executor(pure=False)  # pure: a repeated unit would repeat its failure
        self._address = address
        self._must_see = must_see
        self._workers = 0
        self._counted_s = float("-inf")
        self._seen_s = time.monotonic()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        order = _Order(__version__, self._must_see, pickle.dumps((function, arguments)))
        answer: Future[Any] = Future()
        future = self._executor.submit(pickle.loads, pickle.dumps(order))
        future.add_done_callback(functools.partial(self._pass_on, answer))
        return answer

    def _pass_on(self, answer: Future[Any], future: Future[Any]) -> None:
        """Give an answer in the words of `concurrent.futures` and of our errors."""
        try:
            answer.set_result(future.result())
        except CancelledError:
            answer.set_exception(ClusterError(self._lost()))
        except Exception as error:  # noqa: BLE001 (it is passed on)
            answer.set_exception(self._translated(error))

    def _translated(self, error: Exception) -> Exception:
        if type(error).__name__ == "KilledWorker":
            return WorkersDied(getattr(error, "allowed_failures", 3) + 1)
        if isinstance(error, ModuleNotFoundError):
            return ClusterError(
                f"a worker of the cluster at {self._address} lacks what it needs ({error}); install deepflash {__version__}"
                " on all its machines"
            )
        return error

    def capacity(self) -> int:
        now_s = time.monotonic()
        if now_s - self._counted_s >= _COUNT_EVERY_S:
            try:
                self._workers = len(self._client.nthreads(callback_timeout=_ANSWER_WITHIN_S))
            except Exception as error:
                raise ClusterError(self._lost()) from error
            self._counted_s = now_s
        if self._workers:
            self._seen_s = now_s
        elif now_s - self._seen_s > NO_WORKERS_FOR_S:
            raise ClusterError(
                f"the cluster at {self._address} has had no workers for {NO_WORKERS_FOR_S:.0f} s; start some, docs/clusters.md"
                " tells how, and run the same command again to go on"
            )
        return self._workers

    def _lost(self) -> str:
        return f"the Dask scheduler at {self._address} was lost; start it, and run the same command again to go on"

    def let_go(self) -> None:
        self._executor.shutdown(wait=False)  # gives up what is in flight, if anything
        self._client.close()


class _Order:
    """A call of `_work` that happens when it is unpickled.

    To Dask this is bytes and a function of the standard library. Had it to unpickle something of ours by itself, the
    scheduler would need this package too, and a worker without it would die instead of telling what it lacks.
    """

    def __init__(self, version: str, must_see: tuple[Path, ...], call: bytes) -> None:
        self._arguments = (version, must_see, call)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _work, self._arguments


def _work(version: str, must_see: tuple[Path, ...], call: bytes) -> Any:
    """Run in a worker."""
    with _ONE_AT_A_TIME:
        _check_worker(version, must_see)
        hold_one_thread()
        function, arguments = pickle.loads(call)  # noqa: S301 (from the scheduler, which can run anything here anyway)
        return function(*arguments)


def _check_worker(version: str, must_see: tuple[Path, ...]) -> None:
    host = socket.gethostname()
    if version != __version__:
        raise ClusterError(f"the worker on {host} runs deepflash {__version__}, the caller {version}; install the same version")
    for path in must_see:
        if not path.exists():
            raise ClusterError(
                f"the worker on {host} cannot see {path}; all machines of a cluster must share one file system, under the"
                " same names"
            )
