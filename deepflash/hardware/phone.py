"""The phone as camera, through the page that its browser shows.

No Android phone lets another computer release its shutter over USB. But its browser may use the camera, and has a clock
that can be read to a millisecond: it is told *when* to photograph, does so by itself, and says when it really did. The
two photographs of a pair are timed on the phone's one clock, so that nothing on the way to it adds to the jitter.

Two modes. `torch`: both photographs are full-size frames of the running camera, the second with the torch on; their
times are those that the camera stamped on the frames. `flash`: both are taken with `takePhoto`, the second with the
flash; they have the sensor's full resolution, but the exposure begins an unknown time after the call (`camera_lag_s`),
later still where the phone fires a pre-flash.
"""

import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deepflash.errors import CameraError, PictureError
from deepflash.hardware.camera import CameraFacts, CardFile, SettingsError, Shot, Trigger
from deepflash.hardware.phone_exif import with_exif
from deepflash.hardware.phone_server import PhoneGoneError, PhoneLine, PhoneServer, Photograph
from deepflash.pictures import read_gray, read_header

PHONE_PORT = "phone:"
"""How the camera port of a rig begins whose camera is a phone."""

MODES = ("torch", "flash")

_READY_LIMIT_S = 10.0
_CLOCK_LIMIT_S = 5.0
_TRIGGER_LIMIT_S = 5.0
_UPLOAD_LIMIT_S = 60.0
_DOUBT_S = 0.01  # of the phone's clock, at most
_SETTING_TOLERANCE = 0.03  # phones round what they are asked for to what the sensor can do
_EXPOSURE_UNIT_S = 1e-4  # of exposureTime, see MediaStream Image Capture
_LONGEST_EXPOSURE = 1e6  # of the same unit; what is longer is nonsense
_FOLDER = "/phone"
_NONSENSE = "the phone's page answers nonsense; load it again"


def parse_phone_port(camera_port: str) -> tuple[int, str]:
    """Return the TCP port and the mode that a rig's `camera_port` names.

    Raises
    ------
    CameraError
        if it is not `phone:PORT`, `phone:PORT:torch` or `phone:PORT:flash`.

    >>> parse_phone_port("phone:8765")
    (8765, 'torch')
    """
    port, _, mode = camera_port.removeprefix(PHONE_PORT).partition(":")
    mode = mode or MODES[0]
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not (camera_port.startswith(PHONE_PORT) and is_port and mode in MODES):
        raise CameraError(f"camera_port = {camera_port!r} names no phone; use phone:8765:torch or phone:8765:flash")
    return int(port), mode


def phone_address(camera_port: str) -> str:
    """Return the address that the phone's browser has to open. It holds a secret; it stays the same on this computer.

    Raises
    ------
    CameraError
        if `camera_port` is none of a phone, or the secret cannot be kept.
    """
    port, _ = parse_phone_port(camera_port)
    return f"http://localhost:{port}/?token={_token()}"


class PhoneCamera:
    """A phone whose browser shows our page; a context manager with the same promises as `Camera`.

    Parameters
    ----------
    port
        On this computer's loopback, where the page is served; best the same on the phone's, by `adb reverse`.
    mode
        `torch` or `flash`, see above.
    settings
        Settings to lock before every take, by the names of the Media Capture standards: `exposureTime` (in 100 us),
        `iso`, `colorTemperature` (K), `focusDistance` (m), `exposureCompensation`, `zoom`, ...
    patience_s
        How long `reconnect` waits for the page to be open on the phone.

    Attributes
    ----------
    facts
        What the phone said of itself, and how the last series went.
    orphans
        Always empty: photographs stay in the page's memory until they have arrived, and touch no card.
    drifts
        Settings that were found changed and were set back, one sentence each.
    """

    def __init__(self, port: int, mode: str, settings: Mapping[str, str] | None = None, *, patience_s: float = 60.0) -> None:
        self._name = f"{PHONE_PORT}{port}"
        self._mode = mode
        self._settings = dict(settings or {})
        self._patience_s = patience_s
        self._line = PhoneLine()
        self._port = port
        self._server: PhoneServer | None = None
        self._hello: dict[str, Any] = {}
        self.facts = CameraFacts()
        self.orphans: list[tuple[str, str]] = []
        self.drifts: list[str] = []

    def __enter__(self) -> Self:
        self._server = PhoneServer(self._port, _token(), self._line)
        self._server.start()
        try:
            self.reconnect()
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._line.hang_up()
            self._server.stop()
            self._server = None

    def reconnect(self) -> None:
        """Hang up, wait until the page calls again, and take stock of the phone.

        Raises
        ------
        CameraError
            if no page calls, or its camera lacks what the mode needs.
        """
        self._line.hang_up()
        until_s = time.monotonic() + self._patience_s
        while not self._greeted(until_s):
            pass  # the page was loaded again meanwhile

    def make_ready(self) -> None:
        """See that the page is there, its settings are as they shall be, and its clock is known to 10 ms.

        Raises
        ------
        CameraError
            if not; `SettingsError` if a setting is not to be had.
        """
        with self._failing():
            found = self._get_ready()
            self.drifts += [
                f"the phone's {name} was found at {found.get(name)} and set back to {wanted}"
                for name, wanted in self._settings.items()
                if not _agrees(found.get(name), wanted)
            ]
            doubt_s = self._line.wait_for_clock(_DOUBT_S, time.monotonic() + _CLOCK_LIMIT_S)
            if doubt_s is None or doubt_s > _DOUBT_S:
                known = "not known" if doubt_s is None else f"known only to {doubt_s * 1000:.0f} ms"
                raise CameraError(f"the phone's clock is {known}; use a cable, and close other programs")
            self._note(clock_doubt_ms=f"{doubt_s * 1000:.2f}")

    def shoot(
        self,
        shots: Sequence[Shot],
        *,
        at_s: float,
        folder: Path,
        on_trigger: Callable[[int, Trigger], None],
    ) -> list[CardFile]:
        """Make a series of exposures, then fetch all photographs; as `Camera.shoot`.

        In torch mode a `Trigger` begins and ends when the camera took the frame, in flash mode with the call of `takePhoto`.
        """
        with self._failing():
            clock = self._line.clock.best()
            if clock is None:
                raise CameraError("the phone's clock is not known; make the camera ready first")
            series = secrets.token_hex(8)
            self._line.expect(series, len(shots))
            self._line.tell(
                {
                    "do": "shoot",
                    "id": series,
                    "mode": self._mode,
                    "at_ms": (at_s + clock.offset_s) * 1000,
                    "shots": [{"offset_ms": shot.offset_s * 1000, "flash": shot.flash} for shot in shots],
                }
            )
            until_s = max(at_s, time.monotonic()) + _TRIGGER_LIMIT_S
            stamps_ms: list[float] = []
            triggers: list[Trigger] = []
            self._note(clock_doubt_ms=f"{clock.doubt_s * 1000:.2f}")
            for number, shot in enumerate(shots):
                message = self._answer("triggered", series, until_s + shot.offset_s)
                triggers.append(_trigger(message, number, clock.offset_s, at_s))
                stamps_ms.append(float(message["before_ms"]))
                self._note(exposure_times_of=str(message.get("times_of", "unknown"))[:20])
                on_trigger(number, triggers[-1])
            photographs = self._photographs(series)
            for number, (photograph, stamp_ms) in enumerate(zip(photographs, stamps_ms, strict=True)):
                if not math.isclose(photograph.exposure_ms, stamp_ms, abs_tol=0.01):
                    raise CameraError(f"photograph {number} has the time of another; the take is lost")
            described = [self._described(*taken) for taken in zip(photographs, triggers, strict=True)]
            return [_store(content, number, series, folder) for number, content in enumerate(described)]

    def delete(self, files: Sequence[CardFile]) -> None:
        """Tell the phone that photographs are safe here; it holds them no longer, so that nothing can fail."""
        if files:
            with suppress(PhoneGoneError):
                self._line.tell({"do": "saved"})

    def _greeted(self, until_s: float) -> bool:
        """Wait for a page to call, and for its camera; return False if it has gone again."""
        hello = self._line.wait_for_hello(until_s)
        if hello is None:
            raise CameraError(
                f"{self._name}: no phone has the page open; connect it, run `adb reverse tcp:{self._port} tcp:{self._port}` "
                "and open the address that `deepflash capture phone` prints in its browser, and tap Start"
            )
        if self._mode not in hello["modes"]:
            others = " and ".join(hello["modes"]) or "no mode"
            raise CameraError(
                f"{self._name}: this camera of the phone has no {self._mode}, it offers {others}; "
                "choose its other camera on the page, another browser (Chrome), or another mode in the rig file"
            )
        self._hello = hello
        try:
            with self._failing():
                self._get_ready()  # whatever was found then is no drift
        except PhoneGoneError:
            return False
        return True

    def _get_ready(self) -> dict[str, str]:
        """Let the phone lock its settings; return what they were before."""
        request = secrets.token_hex(8)
        self._line.expect(request, 0)
        self._line.tell({"do": "ready", "id": request, "mode": self._mode, "settings": self._settings})
        answer = self._answer("ready", request, time.monotonic() + _READY_LIMIT_S)
        found, settings = _texts(answer.get("found")), _texts(answer.get("settings"))
        for name, wanted in self._settings.items():
            if name not in settings:
                raise SettingsError(f"the phone's camera has no setting {name}; take it out of camera_settings in the rig file")
            if not _agrees(settings[name], wanted):
                raise SettingsError(f"{name} was set to {wanted} and is {settings[name]}; mend camera_settings in the rig file")
        about = {"cameramodel": self._hello["label"], "browser": self._hello["agent"], "mode": self._mode}
        packages = {name: version(name) for name in ("starlette", "uvicorn", "websockets")}
        self.facts = CameraFacts({**settings, **about}, flash_settable=True, versions=packages)
        return found

    def _described(self, photograph: Photograph, trigger: Trigger) -> bytes:
        """Return a photograph's bytes, with EXIF of our own where the browser has written none."""
        settings = self.facts.settings
        is_manual = settings.get("exposureMode") == "manual"
        exposure = _number(settings.get("exposureTime")) if is_manual else None  # else it is not that of this photograph
        if exposure is not None and not 0 < exposure < _LONGEST_EXPOSURE:
            exposure = None
        ago = timedelta(seconds=time.monotonic() - trigger.before_s)
        return with_exif(
            photograph.content,
            model=settings["cameramodel"],
            taken=datetime.now().astimezone() - ago,
            exposure_s=None if exposure is None else exposure * _EXPOSURE_UNIT_S,
        )

    def _note(self, **facts: str) -> None:
        self.facts = replace(self.facts, settings={**self.facts.settings, **facts})

    def _answer(self, say: str, request: str, until_s: float) -> dict[str, Any]:
        """Return the phone's answer to a request, passing over those to earlier ones."""
        while (message := self._line.next_message(until_s)) is not None:
            if message.get("id") != request:
                continue
            if message["say"] == "failed":
                raise CameraError(str(message["error"])[:300])
            if message["say"] == say:
                return message
        raise CameraError("the phone does not answer; unlock it and bring the page to the front")

    def _photographs(self, series: str) -> list[Photograph]:
        until_s = time.monotonic() + _UPLOAD_LIMIT_S
        photographs = self._line.wait_for_photographs(until_s)
        if photographs is None:
            self._answer("failed", series, min(until_s, time.monotonic()))
            raise CameraError("the phone says more than it should; load its page again")
        return photographs

    def _failing(self) -> "_Failing":
        return _Failing(self._name, self._line)


class _Failing:
    """Makes of whatever goes wrong inside one CameraError that names the phone, and hangs up."""

    def __init__(self, name: str, line: PhoneLine) -> None:
        self._name = name
        self._line = line

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        self._line.hang_up()  # what it may still say must not be taken for the next answer
        if isinstance(error, CameraError):
            raise type(error)(f"{self._name}: {error}") from error


def _trigger(message: dict[str, Any], number: int, offset_s: float, at_s: float) -> Trigger:
    try:
        before_s = float(message["before_ms"]) / 1000 - offset_s
        after_s = float(message["after_ms"]) / 1000 - offset_s
        if message["shot"] != number or not at_s - 1 < before_s <= after_s < time.monotonic() + 1:
            raise ValueError(f"shot {message['shot']} {before_s - at_s:.3f} s after the first was due")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CameraError(f"{_NONSENSE} ({error})") from error
    return Trigger(before_s, after_s)


def _store(content: bytes, number: int, series: str, folder: Path) -> CardFile:
    path = folder / f"{number}.jpg"
    path.write_bytes(content)
    _check_jpeg(path, content, number)
    return CardFile(_FOLDER, f"{series}-{number}.jpg", path, len(content))


def _check_jpeg(path: Path, content: bytes, number: int) -> None:
    if not (content.startswith(b"\xff\xd8") and content.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise CameraError(f"photograph {number} is not a whole JPEG file; the take is lost")
    try:
        if read_header(path).format != "JPEG":
            raise CameraError(f"photograph {number} is no JPEG; the take is lost")
        read_gray(path, reduce=8)
    except PictureError as error:
        raise CameraError(f"photograph {number} does not decode; the take is lost") from error


def _texts(told: Any) -> dict[str, str]:
    if not isinstance(told, dict):
        raise CameraError(f"{_NONSENSE} (its settings)")
    return {str(name)[:40]: str(value)[:80] for name, value in told.items()}


def _agrees(told: str | None, wanted: str) -> bool:
    one, other = _number(told), _number(wanted)
    if one is None or other is None:
        return told == wanted
    return math.isclose(one, other, rel_tol=_SETTING_TOLERANCE)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _token() -> str:
    """Return the secret in the page's address; it is made once, so that a page left open still fits."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "deepflash" / "phone-token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(16))
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CameraError(f"{path} cannot be kept ({error}); make it writable, or set XDG_STATE_HOME") from error
    if len(token) < 16:
        raise CameraError(f"{path} holds no secret; delete it")
    return token
