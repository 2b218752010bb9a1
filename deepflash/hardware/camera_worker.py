"""The process that speaks with the camera: gphoto2 in its main thread, a deadline on every call.

Run as `python -m deepflash.hardware.camera_worker PORT MODEL OPTIONS`, the options being JSON (`Options`). It connects,
sets what the rig file names, says what it found, and then reads commands as JSON lines on its input (`make_ready`,
`shoot`, `fetch`, `delete`; the end of the input is the order to leave) and answers with JSON lines.

Why a process: libgphoto2 has calls that never return. Here an interval timer interrupts them (`camera_calls`), and
what even that does not reach, on USB, the parent kills.

Why never `capture()`: it may hang, and it may return the file of an earlier shot. Shots are triggered,
and afterwards exactly as many photographs are collected as shots were triggered: a JPEG each, and what has
the same name but for the ending (RAW files). Events carry no number, so they must come in the order of the
names. Triggers are timed here, so that no pipe adds to the jitter.

Why the camera must be quiet after connecting: events do not say which trigger they answer, and a camera
that is still storing the photographs of a failed attempt, perhaps one of a killed program, announces them
to whoever is connected then. They must have come before the first trigger, or they are taken for its own.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import gphoto2 as gp

from deepflash.hardware.camera import Options, Shot
from deepflash.hardware.camera_calls import CALL_LIMIT_S, BusyError, CardFullError, ShootingError, forbid_stale_settings, within
from deepflash.hardware.camera_settings import SettingsLock, choices_of, find_widget, read_setting

CONNECT_LIMIT_S = 10.0
CONNECT_AGAIN_S = 1.5  # the worker of a killed program may need a moment to let go of the camera
READY_LIMIT_S = 30.0
BUSY_LIMIT_S = 0.5  # how long a busy camera is asked again before the first shot; the lamps are on meanwhile
SLOWEST_LINK = 500_000  # bytes per second; slower transfers count as stalled
COLLECT_LIMIT = 10  # times the quiet time, which is longer than it takes to store a photograph
SURPLUS = 0.5  # of the quiet time after the last trigger: so long no photograph too many may come

_SPIN_S = 0.002
_SETTINGS = (
    "manufacturer", "cameramodel", "deviceversion", "serialnumber", "batterylevel", "iso", "shutterspeed", "shutterspeed2",
    "exptime", "f-number", "aperture", "whitebalance", "exposurecompensation", "expprogram", "imagequality", "imagesize",
    "capturetarget", "flashmode",
)  # fmt: skip
_FLASH_CHOICES = {False: "Flash off", True: "Fill flash"}  # as libgphoto2 names values 2 and 3 of PTP's FlashMode
_CARD_FULL_EVENT = "400a"
_CARD_FULL_KB = 20_000  # less than any photograph that is worth the name
_CARD_FULL = "its card is full; copy the photographs that you need and empty it"
_NAP_S = 0.05

CardPath = tuple[str, str]  # folder and name on the camera's card


class Tether:
    """A connected camera."""

    def __init__(self, port: str, model: str, options: Options, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._quiet_s = options.quiet_s
        self._fetch_twice = options.fetch_twice
        self._camera = _connect(port, model)
        self._last_stir_s = time.monotonic()
        self._flash_widget = self._find_flash_setting()
        self._lock = SettingsLock(self._camera, options.settings)
        self._lock.hold()
        self._expects_raw = _stores_raw(read_setting(self._camera, "imagequality") or "")
        self._seen = set(self._list_card())

    def describe(self) -> dict[str, Any]:
        """Return the camera's settings, what is on its card, and the library's version."""
        names = dict.fromkeys([*_SETTINGS, *self._lock.names])
        settings = {name: value for name in names if (value := read_setting(self._camera, name)) is not None}
        return {
            "settings": settings,
            "flash_settable": self._flash_widget is not None,
            "card": sorted(self._seen),
            "card_free_bytes": self._card_free_bytes(),
            "clock": read_setting(self._camera, "datetime"),
            "libgphoto2": gp.gp_library_version(gp.GP_VERSION_SHORT)[0],
            "python-gphoto2": gp.__version__,
        }

    def make_ready(self, owed: int, owed_until_s: float) -> dict[str, Any]:
        """Wait until the camera has announced nothing for the quiet time; return the strays and drifts that came.

        As many photographs as are `owed` by failed attempts are waited for until `owed_until_s`.
        """
        drifts = self._lock.hold()
        until_s = time.monotonic() + READY_LIMIT_S
        strays: list[CardPath] = []
        while True:
            new = self._drain()
            if new:
                strays += new
                self._last_stir_s = time.monotonic()
            is_paid = len({_stem(path) for path in strays}) >= owed or time.monotonic() >= owed_until_s
            if is_paid and time.monotonic() >= self._last_stir_s + self._quiet_s:
                return {"strays": strays, "drifts": drifts}
            if time.monotonic() > until_s:
                raise ShootingError("the camera does not stop announcing photographs; do not press it")
            time.sleep(0.005)

    def shoot(self, at_s: float, shots: list[Shot], folder: Path) -> dict[str, Any]:
        """Trigger every shot at its time, then fetch exactly as many files into `folder`."""
        strays = self._drain()
        if strays:
            raise ShootingError(f"the camera announced a photograph ({strays[0][1]}) before the first shot; do not press it")
        self._set_flash(shots[0].flash)
        triggers = [self._trigger_first(at_s)]
        self._tell({"event": "triggered", "shot": 0, **triggers[0]})
        first_s = triggers[0]["before_s"] - shots[0].offset_s
        for number, shot in enumerate(shots[1:], start=1):
            if shot.flash != shots[number - 1].flash:
                self._set_flash(shot.flash)
            _sleep_until(first_s + shot.offset_s)
            triggers.append(self._trigger())
            self._tell({"event": "triggered", "shot": number, **triggers[-1]})
        return {"files": self._gather(len(shots), folder, triggers[-1]["before_s"] + SURPLUS * self._quiet_s)}

    def _gather(self, count: int, folder: Path, until_s: float) -> list[dict[str, Any]]:
        """Fetch what was photographed: the JPEGs as soon as they are there, then what is beside them.

        Until `until_s` there must come no more: a photograph too many, of somebody at the shutter button, may have been
        announced before that of the last trigger, and so have been taken for it.
        """
        found: dict[str, _Stored] = {}
        self._collect(found, count, lambda: len(found) == count and all(photograph.jpeg for photograph in found.values()))
        files = {stem: self._fetch_jpeg(photograph, folder / f"{n}.jpg") for n, (stem, photograph) in enumerate(found.items())}
        self._collect(found, count, lambda: time.monotonic() >= until_s and self._is_complete(list(found.values())))
        self._check_order(list(found.values()))
        for number, (stem, photograph) in enumerate(found.items()):
            others = [self._fetch(other, folder / f"{number}{_suffix(other)}") for other in photograph.beside]
            files[stem]["beside"] = others
        self._refuse_turned_dials()
        return list(files.values())

    def _refuse_turned_dials(self) -> None:
        turned = self._lock.hold()
        if turned:
            name, found = next(iter(turned.items()))
            raise ShootingError(f"{name} was changed to {found} while photographing; it has been set back, the take is lost")

    def fetch(self, paths: list[CardPath], folder: Path) -> dict[str, Any]:
        """Fetch files as they are, whole or not, into `folder`."""
        return {"files": [self._fetch(path, folder / f"{number}{_suffix(path)}") for number, path in enumerate(paths)]}

    def delete(self, paths: list[CardPath]) -> dict[str, Any]:
        """Delete files from the card; those that are gone already are as good as deleted."""
        for path in paths:
            try:
                within(CALL_LIMIT_S, "deleting a file", self._camera.file_delete, *path)
            except ShootingError:
                if path in self._list_card():
                    raise
            self._seen.discard(path)
        return {}

    def close(self) -> None:
        """Close the connection, so that the camera is free for the next program."""
        within(CALL_LIMIT_S, "disconnecting", self._camera.exit)

    def _trigger_first(self, at_s: float) -> dict[str, float]:
        """Trigger; a camera that is busy is asked again, because nothing has been photographed yet."""
        _sleep_until(at_s)
        until_s = time.monotonic() + BUSY_LIMIT_S
        while True:
            try:
                return self._trigger()
            except BusyError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.01)

    def _trigger(self) -> dict[str, float]:
        before_s = time.monotonic()
        try:
            within(CALL_LIMIT_S, "triggering", self._camera.trigger_capture)
        except BusyError:
            raise
        except ShootingError as error:
            if self._card_is_full():
                raise CardFullError(_CARD_FULL) from error
            raise
        return {"before_s": before_s, "after_s": time.monotonic()}

    def _drain(self) -> list[CardPath]:
        """Return the files announced until now; they belong to no shot to come."""
        until_s = time.monotonic() + CALL_LIMIT_S
        strays: list[CardPath] = []
        while time.monotonic() < until_s:
            kind, path = self._next_event()
            if kind == gp.GP_EVENT_TIMEOUT:
                return strays
            if path is not None and path not in self._seen:
                self._seen.add(path)
                strays.append(path)
        raise ShootingError("the camera does not stop sending events; switch it off and on")

    def _collect(self, found: dict[str, "_Stored"], count: int, is_enough: Callable[[], bool]) -> None:
        """Enter what the camera announces into `found`, by name without ending, until it is enough."""
        limit_s = max(1.0, COLLECT_LIMIT * self._quiet_s)
        until_s = time.monotonic() + limit_s
        while not is_enough():
            kind, path = self._next_event()
            if path is not None and path not in self._seen:  # a camera may announce a file twice
                self._seen.add(path)
                found.setdefault(_stem(path), _Stored()).add(path)
            elif kind == gp.GP_EVENT_TIMEOUT:
                time.sleep(0.001)  # over PTP/IP the event call returns after 1 ms, whatever it is told
            if len(found) > count:
                raise ShootingError(f"the camera announced a photograph too many ({list(found)[-1]}); do not press it")
            if time.monotonic() > until_s:
                raise ShootingError(_missing(list(found.values()), count, limit_s))

    def _is_complete(self, found: list["_Stored"]) -> bool:
        with_raw = [bool(photograph.beside) for photograph in found]
        return all(with_raw) or not (any(with_raw) or self._expects_raw)

    def _check_order(self, found: list["_Stored"]) -> None:
        self._expects_raw = any(photograph.beside for photograph in found)
        if found != sorted(found, key=lambda photograph: photograph.jpeg or ("", "")):
            raise ShootingError("the camera announced the photographs in another order than their names; the take is lost")

    def _next_event(self) -> tuple[int, CardPath | None]:
        _leave_if_orphaned()
        kind, data = within(CALL_LIMIT_S, "waiting for an event", self._camera.wait_for_event, 10)
        if kind == gp.GP_EVENT_UNKNOWN and _CARD_FULL_EVENT in str(data).lower():
            raise CardFullError(_CARD_FULL)
        return kind, (data.folder, data.name) if kind == gp.GP_EVENT_FILE_ADDED else None

    def _card_is_full(self) -> bool:
        free_bytes = self._card_free_bytes()
        return free_bytes is not None and free_bytes < _CARD_FULL_KB * 1024

    def _card_free_bytes(self) -> int | None:
        try:
            storages = within(CALL_LIMIT_S, "asking for free space", self._camera.get_storageinfo)
        except ShootingError:  # a camera that fails altogether has another fault than a full card
            return None
        told = [storage.freekbytes for storage in storages if storage.fields & gp.GP_STORAGEINFO_FREESPACEKBYTES]
        return max(told) * 1024 if told else None

    def _fetch_jpeg(self, photograph: "_Stored", target: Path) -> dict[str, Any]:
        file = self._fetch(photograph.jpeg or ("", ""), target)
        _check_jpeg(target, file["name"])
        return file

    def _fetch(self, path: CardPath, target: Path) -> dict[str, Any]:
        info = within(CALL_LIMIT_S, "asking for a file's size", self._camera.file_get_info, *path)
        size_bytes = int(info.file.size)
        self._fetch_once(path, target, size_bytes)
        if self._fetch_twice:
            again = target.with_name(f"{target.name}.again")
            self._fetch_once(path, again, size_bytes)
            if target.read_bytes() != again.read_bytes():
                raise ShootingError(f"{path[1]} came differently when it was fetched again; check the cable or network")
            again.unlink()
        return {"folder": path[0], "name": path[1], "path": str(target), "size_bytes": size_bytes}

    def _fetch_once(self, path: CardPath, target: Path, size_bytes: int) -> None:
        limit_s = CALL_LIMIT_S + size_bytes / SLOWEST_LINK
        # The CameraFile keeps its name until it has been saved: its memory is freed with it.
        folder, name = path
        file = within(limit_s, "fetching a photograph", self._camera.file_get, folder, name, gp.GP_FILE_TYPE_NORMAL)
        within(limit_s, "storing a photograph", file.save, str(target))
        fetched_bytes = target.stat().st_size
        if fetched_bytes != size_bytes:
            raise ShootingError(f"{path[1]} came with {fetched_bytes} of {size_bytes} bytes; the take is lost")

    def _find_flash_setting(self) -> Any:
        """Return the camera's flash mode, or None where it cannot be set."""
        widget = find_widget(self._camera, "flashmode")
        if widget is None or widget.get_readonly():
            return None
        return widget if set(choices_of(widget)) >= set(_FLASH_CHOICES.values()) else None

    def _set_flash(self, flash: bool) -> None:
        if self._flash_widget is None:
            return
        self._flash_widget.set_value(_FLASH_CHOICES[flash])
        within(CALL_LIMIT_S, "setting the flash", self._camera.set_single_config, "flashmode", self._flash_widget)

    def _list_card(self, folder: str = "/") -> Iterator[CardPath]:
        for name in _names(within(CALL_LIMIT_S, "listing the card", self._camera.folder_list_files, folder)):
            yield folder, name
        for name in _names(within(CALL_LIMIT_S, "listing the card", self._camera.folder_list_folders, folder)):
            yield from self._list_card(f"{folder.rstrip('/')}/{name}")


def main(arguments: list[str]) -> int:
    """Serve until the input ends; return the exit status."""
    forbid_stale_settings()
    signal.signal(signal.SIGALRM, lambda *_: None)  # its arrival alone interrupts the call
    tell = _private_output()
    port, model, options = arguments
    try:
        tether = Tether(port, model, Options(**json.loads(options)), tell)
        with closing(tether):
            tell({"event": "connected", **tether.describe()})
            for line in sys.stdin:
                tell({"event": "done", **_obey(tether, json.loads(line))})
    except ShootingError as error:
        tell({"event": "failed", "error": str(error), "kind": type(error).__name__})
        return 1
    return 0


def _obey(tether: Tether, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "make_ready":
        return tether.make_ready(command["owed"], command["owed_until_s"])
    if command["do"] == "shoot":
        return tether.shoot(command["at_s"], [Shot(**shot) for shot in command["shots"]], Path(command["folder"]))
    paths = [(folder, name) for folder, name in command["paths"]]
    return tether.fetch(paths, Path(command["folder"])) if command["do"] == "fetch" else tether.delete(paths)


def _connect(port: str, model: str) -> Any:
    camera = gp.Camera()
    ports = gp.PortInfoList()
    abilities = gp.CameraAbilitiesList()
    within(CONNECT_LIMIT_S, "loading drivers", ports.load)
    within(CONNECT_LIMIT_S, "loading drivers", abilities.load)
    try:
        camera.set_port_info(ports[ports.lookup_path(port)])
    except gp.GPhoto2Error as error:
        raise ShootingError(f"no camera port {port}; list them with `gphoto2 --auto-detect`, or plug it in") from error
    try:
        camera.set_abilities(abilities[abilities.lookup_model(model)])
    except gp.GPhoto2Error as error:
        raise ShootingError(f"libgphoto2 knows no camera {model!r}; see `gphoto2 --list-cameras`") from error
    until_s = time.monotonic() + CONNECT_AGAIN_S
    while True:
        try:
            within(CONNECT_LIMIT_S, "connecting", camera.init)
            return camera
        except ShootingError as error:
            if time.monotonic() > until_s:
                raise ShootingError(
                    f"no camera could be reached ({error.__cause__}); switch it on, check its cable or numeric network "
                    "address, and end other programs that use cameras"
                ) from error
            time.sleep(0.2)


def _sleep_until(at_s: float) -> None:
    while (left_s := at_s - _SPIN_S - time.monotonic()) > 0:
        _leave_if_orphaned()
        time.sleep(min(left_s, _NAP_S))
    while time.monotonic() < at_s:  # the last two milliseconds awake: sleeping is not exact to one
        pass


def _check_jpeg(path: Path, name: str) -> None:
    content = path.read_bytes()
    if not (content.startswith(b"\xff\xd8") and content.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise ShootingError(f"{name} is not a whole JPEG file; the take is lost")


@dataclass
class _Stored:
    """A photograph on the card: its JPEG, and the files of the same name but for the ending."""

    jpeg: CardPath | None = None
    beside: list[CardPath] = field(default_factory=list)

    def add(self, path: CardPath) -> None:
        if not path[1].lower().endswith((".jpg", ".jpeg")):
            self.beside.append(path)
        elif self.jpeg is None:
            self.jpeg = path
        else:
            raise ShootingError(f"the camera stored {path[1]} in two places; let it store on one card")


def _missing(found: list[_Stored], count: int, limit_s: float) -> str:
    if len(found) == count and not any(photograph.jpeg for photograph in found):
        return f"the camera stored {found[0].beside[0][1]}, which is no JPEG; set it to store JPEG, with or without RAW"
    jpegs = sum(photograph.jpeg is not None for photograph in found)
    others = sum(len(photograph.beside) for photograph in found)
    with_others = f" and {others} other files" if others else ""
    return f"the camera announced {jpegs} of {count} photographs{with_others} within {limit_s:.0f} s; the take is lost"


def _stores_raw(image_quality: str) -> bool:
    """Tell whether a camera's words for its picture quality mean RAW beside JPEG: `RAW + JPEG Fine`, `NEF+Basic`."""
    words = image_quality.lower()
    return "+" in words and any(raw in words for raw in ("raw", "nef", "arw", "raf", "cr"))


def _stem(path: CardPath) -> str:
    return PurePosixPath(path[1]).stem


def _suffix(path: CardPath) -> str:
    """Return the ending of a camera's file name, made safe for ours."""
    letters = "".join(letter for letter in PurePosixPath(path[1]).suffix.lower() if letter.isascii() and letter.isalnum())
    return f".{letters[:8] or 'bin'}"


def _names(found: Any) -> list[str]:
    return [found.get_name(number) for number in range(found.count())]


def _leave_if_orphaned() -> None:
    if os.getppid() != _PARENT:
        raise ShootingError("the parent has died")


def _private_output() -> Callable[[dict[str, Any]], None]:
    """Return what writes messages to our output, after turning prints of libraries aside to stderr."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(message: dict[str, Any]) -> None:
        try:
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            raise SystemExit(1) from None  # nobody is listening any more

    return tell


_PARENT = os.getppid()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
