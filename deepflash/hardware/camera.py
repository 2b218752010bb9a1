"""The camera: the client of the camera worker."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from deepflash.errors import CameraError
from deepflash.hardware.child import Child, ChildGoneError, ChildSilentError

_READY_LIMIT_S = 40.0
_CONNECT_LIMIT_S = 60.0  # above the sum of the worker's own limits, which come first
_SHOOT_LIMIT_S = 30.0
_DELETE_LIMIT_S = 15.0
_SLOWEST_TRANSFER_S = 120.0
_CLOSE_GRACE_S = 1.0
_OWED = 10  # times the quiet time: so long after its trigger the photograph of a failed attempt may still come


@dataclass(frozen=True)
class Shot:
    """One exposure to make.

    Attributes
    ----------
    offset_s
        When, after the first shot of the series.
    flash
        Whether the flash shall fire; ignored where the camera does not let it be set.
    """

    offset_s: float
    flash: bool


@dataclass(frozen=True)
class Trigger:
    """When the trigger call of a shot began and returned, on CLOCK_MONOTONIC."""

    before_s: float
    after_s: float


@dataclass(frozen=True)
class CardFile:
    """A photograph: where it is on the camera's card, and the copy that has been fetched.

    Attributes
    ----------
    beside
        What the camera stored with it under the same name: RAW files.
    """

    folder: str
    name: str
    path: Path
    size_bytes: int
    beside: tuple["CardFile", ...] = ()


@dataclass(frozen=True)
class CameraFacts:
    """What a camera says of itself when it is connected.

    Attributes
    ----------
    card_free_bytes
        Room on its card; None where it does not say.
    clock_ahead_s
        By how much its clock is ahead of this computer's; None where it does not say.
    """

    settings: dict[str, str] = field(default_factory=dict)
    flash_settable: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    card_free_bytes: int | None = None
    clock_ahead_s: float | None = None


@dataclass(frozen=True)
class Options:
    """How the worker treats the camera; see `Rig` for what they mean."""

    quiet_s: float = 2.0
    fetch_twice: bool = True
    settings: dict[str, str] = field(default_factory=dict)


class CardFullError(CameraError):
    """The camera's card has no room; trying again is of no use."""


class SettingsError(CameraError):
    """A setting is not what the rig file says; only a person, at the camera or in the file, can change that."""


_KINDS = {"CardFullError": CardFullError, "SettingsError": SettingsError}


class Camera:
    """A camera in the care of a worker process; a context manager.

    Parameters
    ----------
    port, model
        As libgphoto2 names them, see `Rig`.
    quiet_s
        See `make_ready`.
    settings
        What the camera is set to, and must still be before every take; see `Rig.camera_settings`.
    fetch_twice
        Whether each photograph is fetched twice and compared.

    After any `CameraError` the connection is not to be trusted: call `reconnect` before the next shot.

    Attributes
    ----------
    facts
        What the camera said when it was last connected.
    orphans
        Photographs found on the card that belong to failed attempts, as (folder, name). They stay there
        until somebody fetches and deletes them.
    drifts
        Settings that were found changed and were set back, one sentence each.
    """

    def __init__(
        self,
        port: str,
        model: str,
        *,
        quiet_s: float = 2.0,
        settings: Mapping[str, str] | None = None,
        fetch_twice: bool = True,
    ) -> None:
        self._port = port
        self._model = model
        self._options = Options(quiet_s, fetch_twice, dict(settings or {}))
        self._worker: Child | None = None
        self._known: set[tuple[str, str]] | None = None
        self._owed = 0  # photographs of failed attempts that have not been seen
        self._owed_until_s = 0.0
        self.facts = CameraFacts()
        self.orphans: list[tuple[str, str]] = []
        self.drifts: list[str] = []

    def __enter__(self) -> Self:
        self.reconnect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._drop_worker(_CLOSE_GRACE_S)

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None while there is none."""
        return None if self._worker is None else self._worker.pid

    @property
    def card(self) -> frozenset[tuple[str, str]]:
        """What is on the card as far as is known, as (folder, name)."""
        return frozenset(self._known or ())

    def reconnect(self) -> None:
        """Connect anew, with a new worker process, and take stock of the card.

        Raises
        ------
        CameraError
            if the camera cannot be found or does not answer.
        """
        self._drop_worker(_CLOSE_GRACE_S)
        try:
            self._worker = Child(
                "deepflash.hardware.camera_worker", [self._port, self._model, json.dumps(asdict(self._options))]
            )
        except ChildGoneError as error:
            raise CameraError(f"camera {self._port}: {error}; end other programs") from error
        found = self._answer(time.monotonic() + _CONNECT_LIMIT_S, "connecting")
        versions = {name: found[name] for name in ("libgphoto2", "python-gphoto2")}
        ahead_s = float(found["clock"]) - time.time() if (found["clock"] or "").isdigit() else None
        self.facts = CameraFacts(found["settings"], found["flash_settable"], versions, found["card_free_bytes"], ahead_s)
        card = {(folder, name) for folder, name in found["card"]}
        if self._known is not None:
            self._enter_orphans(card - self._known)
        self._known = card

    def make_ready(self) -> None:
        """Check the settings, and wait until the camera has announced no photograph for `quiet_s` since it was connected.

        Settings that drifted are set back and entered in `drifts`. Photographs of an attempt that failed,
        or of a killed program, may still be on their way to the card, and would be taken for those of the
        next shots: it is waited for as many as were triggered, for ten times `quiet_s` at most. Does not
        wait where all is quiet already.

        Raises
        ------
        SettingsError
            if a setting cannot be set back.
        CameraError
            if it does not become quiet, or fails.
        """
        self._tell({"do": "make_ready", "owed": self._owed, "owed_until_s": self._owed_until_s})
        answer = self._answer(time.monotonic() + _READY_LIMIT_S, "waiting")
        self.drifts += [
            f"{name} was {found} and has been set back to {self._options.settings[name]}"
            for name, found in answer["drifts"].items()
        ]
        strays = {(folder, name) for folder, name in answer["strays"]}
        self._enter_orphans(strays)
        self._known = (self._known or set()) | strays
        self._owed = 0

    def shoot(
        self,
        shots: Sequence[Shot],
        *,
        at_s: float,
        folder: Path,
        on_trigger: Callable[[int, Trigger], None],
    ) -> list[CardFile]:
        """Make a series of exposures, then fetch all photographs.

        Parameters
        ----------
        shots
            In the order of their offsets; the flash is set between them, which takes about 50 ms.
        at_s
            When the first is triggered, on CLOCK_MONOTONIC. If the camera is busy then, the first is
            late and the others keep their distance from it.
        folder
            Where the photographs go, as `0.jpg`, `1.jpg`, ..., and RAW files as `0.cr2`, ...
        on_trigger
            Called, in this thread, as soon as a shot has been triggered.

        Returns
        -------
        list of CardFile
            One for each shot, in order; sizes and JPEG markers have been checked.

        Raises
        ------
        CameraError
            if anything failed or more photographs appeared than shots; none of them is then to be used.
        """
        self._tell({"do": "shoot", "at_s": at_s, "shots": [asdict(shot) for shot in shots], "folder": str(folder.absolute())})
        until_s = max(at_s, time.monotonic()) + shots[-1].offset_s + _SHOOT_LIMIT_S
        triggered, last_s = 0, max(at_s, time.monotonic())
        try:
            while (message := self._answer(until_s, "photographing"))["event"] == "triggered":
                triggered, last_s = message["shot"] + 1, message["before_s"]
                on_trigger(message["shot"], Trigger(message["before_s"], message["after_s"]))
                if message["shot"] == len(shots) - 1:
                    until_s = time.monotonic() + _SHOOT_LIMIT_S + _SLOWEST_TRANSFER_S
        except BaseException:
            self._drop_worker(0.0)  # what it may still say must not be taken for the next answer
            self._owed += min(triggered + 1, len(shots))  # a trigger that failed may have been heard
            self._owed_until_s = last_s + _OWED * self._options.quiet_s
            raise
        return self._entered(message["files"])

    def fetch(self, paths: Sequence[tuple[str, str]], folder: Path) -> list[CardFile]:
        """Fetch files from the card, given as (folder, name), into `folder`; they may be damaged.

        Raises
        ------
        CameraError
            if one could not be fetched; none of them is then to be used.
        """
        self._tell({"do": "fetch", "paths": list(paths), "folder": str(folder.absolute())})
        until_s = time.monotonic() + (_SHOOT_LIMIT_S + _SLOWEST_TRANSFER_S) * max(1, len(paths))
        return self._entered(self._answer(until_s, "fetching from the card")["files"])

    def delete(self, files: Sequence[CardFile]) -> None:
        """Delete photographs, with what is beside them, from the card. Call it once they are safe elsewhere.

        Raises
        ------
        CameraError
            if one could not be deleted.
        """
        if not files:
            return
        paths = [(part.folder, part.name) for file in files for part in (file, *file.beside)]
        self._tell({"do": "delete", "paths": paths})
        self._answer(time.monotonic() + _DELETE_LIMIT_S * len(paths), "deleting from the card")
        self._known = (self._known or set()) - set(paths)

    def _enter_orphans(self, found: set[tuple[str, str]]) -> None:
        self.orphans += sorted(found)
        photographs = {(folder, PurePosixPath(name).stem) for folder, name in found}  # RAW and JPEG are one
        self._owed = max(0, self._owed - len(photographs))

    def _entered(self, files: Sequence[dict[str, Any]]) -> list[CardFile]:
        """Return what the worker fetched, and remember that it is on the card."""
        entered = [_card_file(file) for file in files]
        parts = {(part.folder, part.name) for file in entered for part in (file, *file.beside)}
        self._known = (self._known or set()) | parts
        return entered

    def _connected(self) -> Child:
        if self._worker is None:
            raise CameraError(f"camera {self._port} is not connected; connect it again")
        return self._worker

    def _tell(self, command: dict[str, Any]) -> None:
        worker = self._connected()
        try:
            worker.send(command)
        except ChildGoneError as error:
            self._drop_worker(0.0)
            raise CameraError(f"camera {self._port}: its worker process was lost ({error})") from error

    def _answer(self, until_s: float, what: str) -> dict[str, Any]:
        worker = self._connected()
        try:
            message = worker.receive(until_s)
        except ChildSilentError as error:
            self._drop_worker(0.0)
            raise CameraError(f"camera {self._port} did not answer when {what}; check it, its cable or network") from error
        except ChildGoneError as error:
            self._drop_worker(0.0)
            raise CameraError(f"camera {self._port}: its worker process was lost when {what} ({error})") from error
        if message["event"] == "failed":
            self._drop_worker(_CLOSE_GRACE_S)
            raise _KINDS.get(message["kind"], CameraError)(f"camera {self._port}: {message['error']}")
        return message

    def _drop_worker(self, grace_s: float) -> None:
        if self._worker is not None:
            self._worker.close(grace_s)
            self._worker = None


def _card_file(file: dict[str, Any]) -> CardFile:
    beside = tuple(_card_file(other) for other in file.get("beside", ()))
    return CardFile(file["folder"], file["name"], Path(file["path"]), file["size_bytes"], beside)
