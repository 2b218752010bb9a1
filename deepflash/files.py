"""Durable files: every file that a person could miss passes through here.

The order write, fsync, rename, fsync of the folder leaves, at a kill or power cut at any moment,
either the whole new file or none under its final name.
"""

import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

TEMPORARY_PREFIX = ".tmp-"
SEAL = "seal"
"""The first key of a sealed JSON file: the SHA-256 of all that follows its line."""

_SEALED = re.compile(rb'\{\n  "seal": "([0-9a-f]{64})",\n(.*)', re.DOTALL)
_UNSEALED = b'{\n  "format":'

_FOREIGN_FOR_S = 30 * 86400.0
_START_TIME = 19  # place in /proc/PID/stat behind the name, which is field 2 of 52 (proc(5): starttime is field 22)
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # Linux, include/linux/proc_ns.h: PROC_PID_INIT_INO


@contextmanager
def durable_file(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path`, whole, on the disk and with these permissions, when the block ends.

    If the block raises, nothing appears and what stood at `path` before is untouched.
    """
    _make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=_temporary_prefix(), dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)  # mkstemp's 0600 would hide results from colleagues
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write that fails does not say of which file
        raise
    sync_folder(path.parent)


def write_durably(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Write a whole file so that a kill or power cut leaves the old content or the new, never a part."""
    with durable_file(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """Write `value` as indented JSON, durably. NaN and infinity are refused: they are not JSON."""
    write_durably(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", mode=mode)


def write_sealed_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as `write_json` does, under a first line `"seal": SHA-256 of all that follows that line`.

    So a bit that flips in a number is noticed (`seal_of`), although the file is still JSON. `sed 1,2d FILE | sha256sum`
    gives the same digits. Whoever reads the file drops the key `seal`.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    rest = text.removeprefix("{\n").encode()
    write_durably(path, b'{\n  "%s": "%s",\n' % (SEAL.encode(), hashlib.sha256(rest).hexdigest().encode()) + rest)


def seal_of(content: bytes) -> Literal["whole", "broken", "none"]:
    """Tell whether a JSON file is what `write_sealed_json` wrote, is altered, or comes from before there were seals."""
    sealed = _SEALED.fullmatch(content)
    if sealed is None:
        return "none" if content.startswith(_UNSEALED) else "broken"
    return "whole" if hashlib.sha256(sealed[2]).hexdigest().encode() == sealed[1] else "broken"


@contextmanager
def durable_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path`, by one rename, when the block ends.

    Raises
    ------
    FileExistsError
        if `path` exists already: a committed folder is never replaced.
    """
    _make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(), dir=path.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync_file(file)
        sync_folder(temporary)
        temporary.chmod(0o755)
        if path.exists():
            raise FileExistsError(f"{path} exists already")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder below `parent` for work in progress; it is gone when the block ends, or at the next sweep."""
    with tempfile.TemporaryDirectory(prefix=_temporary_prefix(), dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def sweep_temporaries(root: Path) -> int:
    """Remove what killed processes of this machine left below `root`; return how many were removed.

    Temporaries of living processes are left alone. Whether a process of another machine or container (a shared disk)
    lives cannot be known here, so theirs go when they are a month old. Others may work below `root` meanwhile.
    """
    removed = 0
    for folder, folders, files in os.walk(root):  # unlike rglob it does not mind what others remove under its feet
        for name in [*folders, *files]:
            if name.startswith(TEMPORARY_PREFIX):
                path = Path(folder, name)
                if _is_rubbish(path):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                    removed += 1
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
    return removed


@contextmanager
def locked_folder(path: Path) -> Iterator[bool]:
    """Hold the lock of a folder, which the death of its holder releases; yield whether it was to be had."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except BlockingIOError:
        mine = False
    try:
        yield mine
    finally:
        os.close(descriptor)


def _is_rubbish(temporary: Path) -> bool:
    place, _, rest = temporary.name.removeprefix(TEMPORARY_PREFIX).partition("-")
    owner = rest.partition("-")[0]
    if place == _place():
        return not _is_alive(owner)
    try:
        return time.time() - temporary.stat().st_mtime > _FOREIGN_FOR_S
    except FileNotFoundError:
        return False


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (a rename alone is not, until its folder is synced)."""
    _sync_file(path)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, durably: what is renamed into it must not go with it in a power cut."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_prefix() -> str:
    return f"{TEMPORARY_PREFIX}{_place()}-{_process(os.getpid())}-"


@functools.cache
def _place() -> str:
    """Name the machine, and the container if one has process ids of its own: containers may share a host's name."""
    host = socket.gethostname().replace("-", "_")
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        return host
    return host if namespace == _FIRST_PID_NAMESPACE else f"{host}.{namespace}"


def _process(pid: int) -> str:
    """Name a process by its id and, on Linux, the time of its start: ids come again, on a busy machine within the hour."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return str(pid)
    return f"{pid}.{after_name[_START_TIME]}"


def _is_alive(process: str) -> bool:
    pid = process.partition(".")[0]
    if not pid.isdigit():
        return True  # no name that we give: not ours to remove
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process in {pid, _process(int(pid))}
