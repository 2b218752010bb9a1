"""The emulated studio's journals: JSON lines, one writer, many readers.

A line is appended with a single `write`, so that a reader sees it whole or not at all. `lamps.jsonl` is more than a
record: it is the state that the relay board and the camera share. All times are seconds of CLOCK_MONOTONIC, which is
common to all processes of a machine.
"""

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from deepflash.errors import HardwareError

_POLL_S = 0.01


class Journal:
    """The one writer of a journal: the lock on the file is held until the process ends or `close` is called.

    Parameters
    ----------
    path
        The file; what stands in it is kept.
    patience_s
        How long to wait for an earlier writer, which may just be ending.

    Raises
    ------
    HardwareError
        if another process still writes this journal after `patience_s`.
    """

    def __init__(self, path: Path, *, patience_s: float = 5.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._threads = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _lock(self._descriptor, path, patience_s)
        _end_torn_line(self._descriptor)

    def append(self, record: dict[str, Any]) -> None:
        """Write one record as one line."""
        line = json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"
        with self._threads:
            os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Release the journal to another writer."""
        os.close(self._descriptor)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the records of a journal, oldest first; none if there is no such file.

    A line that is not JSON is left out: a writer was killed, or the machine lost power, in the middle of it.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [record for line in lines if (record := _parse(line)) is not None]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _lock(descriptor: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise HardwareError(
                    f"{path} is being written by another emulated studio; end that one or use another folder"
                ) from None
            time.sleep(_POLL_S)
        else:
            return


def _end_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
