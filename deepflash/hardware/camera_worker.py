"""The process that speaks with the camera: gphoto2 in its main thread, a deadline on every call.

Run as `python -m deepflash.hardware.camera_worker PORT MODEL QUIET_S`. It connects, says what it found, and
then reads commands as JSON lines on its input (`make_ready`, `shoot`, `delete`; the end of the input is the
order to leave) and answers with JSON lines.

Why a process: libgphoto2 has calls that never return, some of them holding Python's global lock. Here an
interval timer interrupts them (a signal makes the select() inside return), and what even that does not
reach, on USB, the parent kills.

Why never `capture()`: it may hang, and it may return the file of an earlier shot. Shots are triggered,
and afterwards exactly as many files are collected as shots were triggered. Triggers are timed here, so
that no pipe adds to the jitter.

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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gphoto2 as gp

from deepflash.hardware.camera import Shot

CONNECT_LIMIT_S = 10.0
CONNECT_AGAIN_S = 1.5  # the worker of a killed program may need a moment to let go of the camera
READY_LIMIT_S = 30.0
CALL_LIMIT_S = 5.0
COLLECT_LIMIT_S = 20.0
BUSY_LIMIT_S = 2.0  # how long a busy camera is asked again before the first shot
SLOWEST_LINK = 500_000  # bytes per second; slower transfers count as stalled
SURPLUS_S = 0.05  # no further file within this time after the last expected one

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

P = ParamSpec("P")
R = TypeVar("R")
CardPath = tuple[str, str]  # folder and name on the camera's card


class ShootingError(Exception):
    """The camera failed; says so to the parent, who reconnects."""


class Tether:
    """A connected camera."""

    def __init__(self, port: str, model: str, quiet_s: float, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._quiet_s = quiet_s
        self._camera = _connect(port, model)
        self._last_stir_s = time.monotonic()
        self._flash_widget = self._find_flash_setting()
        self._seen = set(self._list_card())

    def describe(self) -> dict[str, Any]:
        """Return the camera's settings, what is on its card, and the library's version."""
        settings = {name: value for name in _SETTINGS if (value := self._setting(name)) is not None}
        return {
            "settings": settings,
            "flash_settable": self._flash_widget is not None,
            "card": sorted(self._seen),
            "libgphoto2": gp.gp_library_version(gp.GP_VERSION_SHORT)[0],
            "python-gphoto2": gp.__version__,
        }

    def make_ready(self) -> dict[str, Any]:
        """Wait until the camera has announced nothing for the quiet time; return the strays that came."""
        until_s = time.monotonic() + READY_LIMIT_S
        strays: list[CardPath] = []
        while True:
            new = self._drain()
            if new:
                strays += new
                self._last_stir_s = time.monotonic()
            if time.monotonic() >= self._last_stir_s + self._quiet_s:
                return {"strays": strays}
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
        files = [self._fetch(path, folder / f"{number}.jpg") for number, path in enumerate(self._collect(len(shots)))]
        self._refuse_surplus()
        return {"files": files}

    def delete(self, paths: list[CardPath]) -> dict[str, Any]:
        """Delete files from the card; those that are gone already are as good as deleted."""
        for path in paths:
            try:
                _within(CALL_LIMIT_S, "deleting a file", self._camera.file_delete, *path)
            except ShootingError:
                if path in self._list_card():
                    raise
            self._seen.discard(path)
        return {}

    def close(self) -> None:
        """Close the connection, so that the camera is free for the next program."""
        _within(CALL_LIMIT_S, "disconnecting", self._camera.exit)

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
            _within(CALL_LIMIT_S, "triggering", self._camera.trigger_capture)
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

    def _collect(self, count: int) -> list[CardPath]:
        until_s = time.monotonic() + COLLECT_LIMIT_S
        found: list[CardPath] = []
        while len(found) < count:
            if time.monotonic() > until_s:
                raise ShootingError(
                    f"the camera announced {len(found)} of {count} photographs within {COLLECT_LIMIT_S:.0f} s; the take is lost"
                )
            kind, path = self._next_event()
            if path is not None and path not in self._seen:  # a camera may announce a file twice
                self._seen.add(path)
                found.append(path)
            elif kind == gp.GP_EVENT_TIMEOUT:
                time.sleep(0.001)  # over PTP/IP the event call returns after 1 ms, whatever it is told
        return found

    def _refuse_surplus(self) -> None:
        until_s = time.monotonic() + SURPLUS_S
        while time.monotonic() < until_s:
            kind, path = self._next_event()
            if path is not None and path not in self._seen:
                raise ShootingError(
                    f"the camera announced a photograph too many ({path[1]}); let it store one JPEG a shot, and do not press it"
                )
            if kind == gp.GP_EVENT_TIMEOUT:
                time.sleep(0.001)

    def _next_event(self) -> tuple[int, CardPath | None]:
        _leave_if_orphaned()
        kind, data = _within(CALL_LIMIT_S, "waiting for an event", self._camera.wait_for_event, 10)
        if kind == gp.GP_EVENT_UNKNOWN and _CARD_FULL_EVENT in str(data).lower():
            raise CardFullError(_CARD_FULL)
        return kind, (data.folder, data.name) if kind == gp.GP_EVENT_FILE_ADDED else None

    def _card_is_full(self) -> bool:
        try:
            storages = _within(CALL_LIMIT_S, "asking for free space", self._camera.get_storageinfo)
        except ShootingError:  # a camera that fails altogether has another fault than a full card
            return False
        told = [storage.freekbytes for storage in storages if storage.fields & gp.GP_STORAGEINFO_FREESPACEKBYTES]
        return bool(told) and max(told) < _CARD_FULL_KB

    def _fetch(self, path: CardPath, target: Path) -> dict[str, Any]:
        folder, name = path
        if not name.lower().endswith((".jpg", ".jpeg")):
            raise ShootingError(f"the camera stored {name}, which is no JPEG; set it to store JPEG only")
        info = _within(CALL_LIMIT_S, "asking for a file's size", self._camera.file_get_info, folder, name)
        size_bytes = int(info.file.size)
        limit_s = CALL_LIMIT_S + size_bytes / SLOWEST_LINK
        # The CameraFile keeps its name until it has been saved: its memory is freed with it.
        file = _within(limit_s, "fetching a photograph", self._camera.file_get, folder, name, gp.GP_FILE_TYPE_NORMAL)
        _within(limit_s, "storing a photograph", file.save, str(target))
        _check_jpeg(target, name, size_bytes)
        return {"folder": folder, "name": name, "path": str(target), "size_bytes": size_bytes}

    def _find_flash_setting(self) -> Any:
        """Return the camera's flash mode, or None where it cannot be set."""
        widget = self._widget("flashmode")
        if widget is None or widget.get_readonly() or widget.get_type() not in {gp.GP_WIDGET_RADIO, gp.GP_WIDGET_MENU}:
            return None
        choices = {widget.get_choice(number) for number in range(widget.count_choices())}
        return widget if choices >= set(_FLASH_CHOICES.values()) else None

    def _set_flash(self, flash: bool) -> None:
        if self._flash_widget is None:
            return
        self._flash_widget.set_value(_FLASH_CHOICES[flash])
        _within(CALL_LIMIT_S, "setting the flash", self._camera.set_single_config, "flashmode", self._flash_widget)

    def _setting(self, name: str) -> str | None:
        widget = self._widget(name)
        return None if widget is None else str(widget.get_value())

    def _widget(self, name: str) -> Any:
        try:
            return _within(CALL_LIMIT_S, f"reading {name}", self._camera.get_single_config, name)
        except LacksError:
            return None

    def _list_card(self, folder: str = "/") -> Iterator[CardPath]:
        for name in _names(_within(CALL_LIMIT_S, "listing the card", self._camera.folder_list_files, folder)):
            yield folder, name
        for name in _names(_within(CALL_LIMIT_S, "listing the card", self._camera.folder_list_folders, folder)):
            yield from self._list_card(f"{folder.rstrip('/')}/{name}")


class BusyError(ShootingError):
    """The camera is busy; it may be asked again."""


class CardFullError(ShootingError):
    """The card has no room for another photograph."""


class LacksError(ShootingError):
    """The camera does not have what was asked for."""


def main(arguments: list[str]) -> int:
    """Serve until the input ends; return the exit status."""
    signal.signal(signal.SIGALRM, lambda *_: None)  # its arrival alone interrupts the call
    tell = _private_output()
    port, model, quiet_s = arguments
    try:
        tether = Tether(port, model, float(quiet_s), tell)
        with closing(tether):
            tell({"event": "connected", **tether.describe()})
            for line in sys.stdin:
                tell({"event": "done", **_obey(tether, json.loads(line))})
    except ShootingError as error:
        tell({"event": "failed", "error": str(error), "card_full": isinstance(error, CardFullError)})
        return 1
    return 0


def _obey(tether: Tether, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "make_ready":
        return tether.make_ready()
    if command["do"] == "shoot":
        return tether.shoot(command["at_s"], [Shot(**shot) for shot in command["shots"]], Path(command["folder"]))
    return tether.delete([(folder, name) for folder, name in command["paths"]])


def _connect(port: str, model: str) -> Any:
    camera = gp.Camera()
    ports = gp.PortInfoList()
    abilities = gp.CameraAbilitiesList()
    _within(CONNECT_LIMIT_S, "loading drivers", ports.load)
    _within(CONNECT_LIMIT_S, "loading drivers", abilities.load)
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
            _within(CONNECT_LIMIT_S, "connecting", camera.init)
            return camera
        except ShootingError as error:
            if time.monotonic() > until_s:
                raise ShootingError(
                    f"no camera could be reached ({error.__cause__}); switch it on, check its cable or numeric network "
                    "address, and end other programs that use cameras"
                ) from error
            time.sleep(0.2)


def _within(limit_s: float, what: str, call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call libgphoto2 with a deadline; its errors become ShootingError."""
    start_s = time.monotonic()
    try:
        with _deadline(limit_s):
            return call(*arguments, **options)
    except gp.GPhoto2Error as error:
        if error.code == gp.GP_ERROR_CAMERA_BUSY:
            raise BusyError(f"the camera was busy when {what}; wait until it has stored its photographs") from error
        if error.code in {gp.GP_ERROR_BAD_PARAMETERS, gp.GP_ERROR_NOT_SUPPORTED}:
            raise LacksError(f"the camera cannot do this: {what} ({error})") from error
        took_s = time.monotonic() - start_s
        reason = f"no answer within {limit_s:.0f} s" if took_s >= limit_s else str(error)
        raise ShootingError(f"the camera failed when {what} ({reason})") from error


@contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    """Interrupt the call inside after `limit_s`, and again every 50 ms: some calls wait many times over."""
    signal.setitimer(signal.ITIMER_REAL, limit_s, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _sleep_until(at_s: float) -> None:
    while (left_s := at_s - _SPIN_S - time.monotonic()) > 0:
        _leave_if_orphaned()
        time.sleep(min(left_s, _NAP_S))
    while time.monotonic() < at_s:  # the last two milliseconds awake: sleeping is not exact to one
        pass


def _check_jpeg(path: Path, name: str, size_bytes: int) -> None:
    content = path.read_bytes()
    if len(content) != size_bytes:
        raise ShootingError(f"{name} came with {len(content)} of {size_bytes} bytes; the take is lost")
    if not (content.startswith(b"\xff\xd8") and content.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise ShootingError(f"{name} is not a whole JPEG file; the take is lost")


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
