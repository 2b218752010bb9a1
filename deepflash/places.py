"""Where a data set's files are read from: a folder, a web server, an object store, or a local copy made as they are needed.

A place holds no connection, so it may be pickled and read by many processes and threads at once. What cannot be read is an
`OSError` whose text is a part of a sentence; what was read is verified by whoever knows its checksum.
"""

import errno
import fcntl
import glob
import os
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from deepflash.files import durable_file

R = TypeVar("R")

_TIMEOUT_S = 30.0
"""Of a connection, and of every pause within an answer."""
_PAUSES_S = (0.3, 1.0, 3.0)
"""Before a server is asked again that was busy or hung up."""
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_CHUNK_BYTES = 2**20


class Place(ABC):
    """A folder, wherever it is. Its text is what a person would call it."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the whole content of a file.

        Raises
        ------
        OSError
            if it cannot be read; FileNotFoundError if there is none.
        """

    @abstractmethod
    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, or fewer if the file ends before; errors as `read`."""

    @abstractmethod
    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to `target`, durably; errors as `read`."""


@dataclass(frozen=True)
class LocalFolder(Place):
    """A folder of this machine, or one that it has mounted."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        descriptor = os.open(self.root / name, os.O_RDONLY)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def fetch(self, name: str, target: Path) -> None:
        with (self.root / name).open("rb") as source, durable_file(target) as copy:
            while chunk := source.read(_CHUNK_BYTES):
                copy.write(chunk)


@dataclass(frozen=True)
class WebFolder(Place):
    """A folder of a web server, `http://` or `https://`. A query in the URL, such as a token, goes along to every file."""

    url: str

    def __str__(self) -> str:
        return urlunsplit(urlsplit(self.url)._replace(query=""))  # a token belongs in no log

    def read(self, name: str) -> bytes:
        return _ask(self._url_of(name), lambda response: b"".join(_pieces(response)), {})

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        def answer(response: HTTPResponse) -> bytes:
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                raise OSError(errno.ENOTSUP, "the server sends whole files only; give a cache folder")
            return b"".join(_pieces(response))

        return _ask(self._url_of(name), answer, {"Range": f"bytes={offset}-{offset + size - 1}"})

    def fetch(self, name: str, target: Path) -> None:
        def answer(response: HTTPResponse) -> None:
            with durable_file(target) as copy:
                for chunk in _pieces(response):
                    copy.write(chunk)

        _ask(self._url_of(name), answer, {})

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


@dataclass(frozen=True)
class ObjectFolder(Place):
    """A folder of an object store, such as `s3://bucket/shards`, through fsspec and the store's own package (s3fs, gcsfs)."""

    url: str

    def __str__(self) -> str:
        return self.url

    def read(self, name: str) -> bytes:
        system, root = _file_system(self.url)
        return bytes(_told(lambda: system.cat_file(f"{root}/{name}")))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        system, root = _file_system(self.url)
        return bytes(_told(lambda: system.cat_file(f"{root}/{name}", start=offset, end=offset + size)))

    def fetch(self, name: str, target: Path) -> None:
        system, root = _file_system(self.url)

        def copy_all() -> None:
            with system.open(f"{root}/{name}", "rb") as source, durable_file(target) as copy:
                while chunk := source.read(_CHUNK_BYTES):
                    copy.write(chunk)

        _told(copy_all)


@dataclass(frozen=True)
class CachedPlace(Place):
    """A place whose large files are copied whole into a local folder, each when it is first read from.

    Processes that read at the same time wait for one copy. A copy that turns out damaged may be removed; it is made again.
    """

    origin: Place
    folder: Path

    def __str__(self) -> str:
        return f"{self.origin} (copied to {self.folder})"

    def read(self, name: str) -> bytes:
        return self.origin.read(name)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        copy = self.folder / name
        if not copy.exists():
            self.fetch(name, copy)
        return LocalFolder(self.folder).read_range(name, offset, size)

    def fetch(self, name: str, target: Path) -> None:
        with _alone(self.folder, name):
            if not target.exists():
                self.origin.fetch(name, target)


def place_at(location: str | Path) -> Place:
    """Return the place that a path or a URL names.

    Raises
    ------
    OSError
        if fsspec, or the package for that kind of store, is not installed.

    >>> place_at("https://example.org/shards/")
    WebFolder(url='https://example.org/shards/')
    """
    scheme = str(location).partition("://")[0].lower() if "://" in str(location) else ""
    if scheme in {"http", "https"}:
        return WebFolder(str(location))
    if scheme == "file":
        return LocalFolder(Path(urlsplit(str(location)).path))
    if scheme:
        _file_system(str(location))
        return ObjectFolder(str(location))
    return LocalFolder(Path(location))


def folders_like(pattern: str) -> list[str]:
    """Return the folders that match a glob, sorted, as locations for `place_at`.

    Raises
    ------
    OSError
        if the place cannot be listed: a web server has no way to.
    """
    scheme, mark, path = pattern.rpartition("://")
    if scheme in {"http", "https"}:
        raise OSError(errno.ENOTSUP, "a web server lists no folders; name each one")
    if mark:
        system, root = _file_system(pattern)
        found = _told(lambda: [name for name in system.glob(root) if system.isdir(name)])
        return sorted(system.unstrip_protocol(name) for name in found)
    return sorted(name for name in glob.glob(path) if Path(name).is_dir())  # noqa: PTH207 (`path` may be absolute or not)


def _ask(url: str, answer: Callable[[HTTPResponse], R], headers: dict[str, str]) -> R:
    """Return what `answer` makes of a server's response; ask again if the server is busy or hangs up."""
    shown = WebFolder(url)
    for pause_s in (*_PAUSES_S, None):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:  # noqa: S310 (http or https, see place_at)
                return answer(response)
        except urllib.error.HTTPError as error:
            if error.code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise FileNotFoundError(errno.ENOENT, "there is no such file", str(shown)) from None
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise OSError(errno.EIO, "the file ends before") from None
            if pause_s is None or not (error.code in _BUSY or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR):
                raise OSError(errno.EIO, f"the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            if pause_s is None:
                raise OSError(errno.EIO, f"the server does not answer ({getattr(error, 'reason', error)!s})") from error
        time.sleep(pause_s)
    raise AssertionError("unreachable")


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """Yield a response's body; one that ends early is an error, which `HTTPResponse.read(n)` does not say."""
    announced = response.headers.get("Content-Length")
    received = 0
    while chunk := response.read(_CHUNK_BYTES):
        received += len(chunk)
        yield chunk
    if announced is not None and received != int(announced):
        raise IncompleteRead(b"", int(announced) - received)


def _told(call: Callable[[], R]) -> R:
    """Turn whatever a store's package raises into an `OSError`."""
    try:
        return call()
    except OSError:
        raise
    except Exception as error:  # every store has errors of its own
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


@lru_cache
def _file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the folder's path in it."""
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 (comes with torch, but reading local shards must not need it)

        system, root = url_to_fs(url)
    except ImportError as error:
        raise OSError(errno.ENOPKG, f"{error}; pip install that package") from error
    except ValueError as error:
        raise OSError(errno.EPROTONOSUPPORT, str(error)) from error
    return system, str(root).rstrip("/")


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Let one process or thread of this machine at a time into the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
