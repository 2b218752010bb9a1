"""A real Dask cluster on this machine: a scheduler and workers, each a process with its own nanny."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


@dataclass
class Cluster:
    """A running scheduler, its file, and the nannies of its workers."""

    scheduler: subprocess.Popen[bytes]
    file: Path
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.file)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers themselves: the nannies' children that run Dask's worker."""
        children = [child for nanny in self.nannies for child in _children(nanny.pid)]
        return [child.pid for child in children if "spawn_main" in _command_line(child)]

    def lose_machine(self, number: int) -> None:
        """Kill a nanny and its worker, which nobody replaces."""
        nanny = self.nannies[number]
        for pid in [nanny.pid, *(child.pid for child in _children(nanny.pid))]:
            kill(pid)


@contextmanager
def local_cluster(folder: Path, *, workers: int = 2, preload: Path | None = None) -> Iterator[Cluster]:
    """Run a cluster whose scheduler tells of the first death of a worker; `preload` is run in each worker."""
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        scheduler = stack.enter_context(_dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)))
        until(file.exists)
        cluster = Cluster(scheduler, file)
        options = ("--nthreads", "1", "--local-directory", str(folder), *(("--preload", str(preload)) if preload else ()))
        for _ in range(workers):
            cluster.nannies.append(stack.enter_context(_dask("worker", "--scheduler-file", str(file), *options)))
        yield cluster


@contextmanager
def _dask(role: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    }
    command = [sys.executable, "-m", "dask", role, "--no-dashboard", *options]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        for pid in [process.pid, *(child.pid for child in _children(process.pid))]:
            kill(pid)
        process.wait(timeout=30)


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until `condition()` holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _command_line(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""
