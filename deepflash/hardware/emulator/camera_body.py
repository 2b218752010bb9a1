"""An emulated PTP/IP camera: a process that libgphoto2 reaches as `ptpip:127.0.0.1:PORT:PORT`.

    python -m deepflash.hardware.emulator.camera_body --folder STUDIO --sitter '{"subject": "S001"}' --size 3120x4160 --seed 0

The folder holds `lamps.jsonl` (read: what the relay board switched, and so how bright the lamps were),
`camera.jsonl` (every operation of the protocol), `truth.jsonl` (the ground truth of each exposure, for tests and
benchmarks only; its heart is also stamped into each photograph, see `darkroom`), `card/` (the memory card) and
`faults.jsonl` (read: what the camera shall suffer, see `faults`). When the camera is ready it says where it is reached,
in one line.

An exposure is taken at once, whatever is still being developed, and developed afterwards in the darkroom, in order;
then come ObjectAdded and CaptureComplete. The process ends when its standard input does.
"""

import argparse
import functools
import itertools
import json
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from deepflash.errors import DeepflashError, HardwareError
from deepflash.hardware.emulator.camera_card import STORAGE, TYPICAL_PICTURE_BYTES, Card, CardFullError, handle_of, picture_name
from deepflash.hardware.emulator.camera_properties import FULL_LIGHT_EXPOSURE_S, MODEL, FlashMode, Settings
from deepflash.hardware.emulator.camera_session import CameraSession, Refusal
from deepflash.hardware.emulator.darkroom import Darkroom, Developed, Latent, Render, raw_of
from deepflash.hardware.emulator.faults import Faults
from deepflash.hardware.emulator.journal import Journal, read_journal
from deepflash.hardware.emulator.lamps import lamp_light
from deepflash.hardware.emulator.ptp import EventCode, PropertyCode, ResponseCode
from deepflash.hardware.emulator.responder import Responder

SHUTTER_LAG_S = 0.02  # from InitiateCapture to the shutter's opening; the same for every shot
LAMP_CHANNEL = 1  # all lamps hang on the board's first relay
LAMP_RISE_S = 0.05
LAMP_DECAY_S = 0.08
DARK = 0.1  # with less light than this the automatic flash fires
BUFFER_SHOTS = 8  # exposures that wait for development; one more and the camera is busy
CARD_BYTES = 32 * 10**9
_LOG_LATE_S = 0.05  # the relay board may write a switching down this much after its time


@dataclass(frozen=True)
class Inertia:
    """What does not follow an order at once, all in seconds.

    Attributes
    ----------
    lamp_rise_s, lamp_decay_s
        Time constants of the lamps' light, as `lamps.lamp_light` has them.
    shutter_lag_s
        From InitiateCapture to the shutter's opening.
    """

    lamp_rise_s: float = LAMP_RISE_S
    lamp_decay_s: float = LAMP_DECAY_S
    shutter_lag_s: float = SHUTTER_LAG_S

    def __post_init__(self) -> None:
        if not (self.lamp_rise_s > 0 and self.lamp_decay_s > 0 and self.shutter_lag_s >= 0):
            raise HardwareError(f"{self} is not possible: light takes time, and a shutter opens after it was pressed")


USUAL_INERTIA = Inertia()


@dataclass(frozen=True)
class Exposure:
    """The moment of a shot and the settings that held at it; times in seconds of CLOCK_MONOTONIC."""

    shot: int
    transaction: int
    start_s: float
    duration_s: float
    flash_mode: FlashMode
    clock: datetime


class CameraBody:
    """The camera behind the protocol: shutter, settings, card, and the queue of exposures to develop.

    Parameters
    ----------
    folder
        The emulated studio's folder.
    size
        Width and height of the pictures, in pixels.
    darkroom
        Where exposures become pictures.
    announce
        Sends an event: code, transaction, parameters.
    raw
        Whether a RAW file is stored beside every JPEG.
    inertia
        Of the lamps and the shutter.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: tuple[int, int],
        serial_number: str,
        card_bytes: int,
        darkroom: Darkroom,
        announce: Callable[..., None],
        raw: bool = False,
        inertia: Inertia = USUAL_INERTIA,
    ) -> None:
        self._inertia = inertia
        self.card = Card(folder / "card", capacity_bytes=card_bytes)
        self.settings = Settings(size)
        self.serial_number = serial_number
        self.faults = Faults(folder, "camera")
        self._raw = raw
        self._lamps = folder / "lamps.jsonl"
        self._truth = Journal(folder / "truth.jsonl")
        self._darkroom = darkroom
        self._announce = announce
        self._exposures: queue.Queue[Exposure] = queue.Queue(BUFFER_SHOTS)
        self._shots = itertools.count(1 + max([self.card.newest_shot, *_shots_in(self._truth.path)]))
        self._shutter_closes_s = 0.0

    def press_shutter(self, transaction: int) -> None:
        """Take an exposure now, or suffer a fault of the shutter.

        Raises
        ------
        Refusal
            busy while the shutter is open or the buffer full; store full when the card cannot take another picture.
        """
        if self.faults.strikes("busy"):
            raise Refusal(ResponseCode.DEVICE_BUSY)
        if self.faults.strikes("card-full"):
            raise Refusal(ResponseCode.STORE_FULL)
        self._expose(transaction)
        if self.faults.strikes("pressed"):
            _sleep_until(self._shutter_closes_s)
            self._expose(0)

    def suffer_the_dial(self) -> None:
        """Have the exposure time changed by hand, if that fault strikes. Called before every operation."""
        turned = self.faults.strikes("drift")
        if turned is not None:
            self.settings.set(PropertyCode.EXPOSURE_TIME, int(turned.value))

    def _expose(self, transaction: int) -> None:
        now_s = time.monotonic()
        if now_s < self._shutter_closes_s or self._exposures.full():
            raise Refusal(ResponseCode.DEVICE_BUSY)
        if self.card.free_bytes < TYPICAL_PICTURE_BYTES * (1 + self._exposures.qsize()):
            raise Refusal(ResponseCode.STORE_FULL)
        start_s, duration_s = now_s + self._inertia.shutter_lag_s, self.settings.exposure_s
        self._shutter_closes_s = start_s + duration_s
        shot = next(self._shots)
        mode, clock = self.settings.flash_mode, self.settings.clock
        self._exposures.put(Exposure(shot, transaction, start_s, duration_s, mode, clock))

    def develop_forever(self) -> None:
        """Develop exposures as they come: picture on the card, truth in the journal, then the events."""
        self._darkroom.wait_until_ready()
        while True:
            self.develop_next()

    def develop_next(self) -> None:
        """Wait for the next exposure and develop it."""
        exposure = self._exposures.get()
        _sleep_until(exposure.start_s + exposure.duration_s + _LOG_LATE_S)
        latent = self._latent(exposure)
        self._store(exposure, latent, self._darkroom.develop(latent))

    def _latent(self, exposure: Exposure) -> Latent:
        latent = _latent(exposure, _switchings(self._lamps), self.serial_number, self._inertia)
        if latent.flash and self.faults.strikes("flash-off"):
            return replace(latent, flash=False)
        return latent

    def _store(self, exposure: Exposure, latent: Latent, developed: Developed) -> None:
        """Put a picture on the card and say so, or suffer a fault of the card."""
        if self.faults.strikes("lost"):
            return
        content = developed.jpeg
        if self.faults.strikes("half-stored"):
            content = content[: len(content) // 2]
        try:
            if self.faults.strikes("card-full-event"):
                raise CardFullError
            handles = [self.card.store(exposure.shot, content)]
            if self._raw:
                handles.append(self.card.store_raw(exposure.shot, raw_of(latent, developed)))
        except CardFullError:
            self._announce(EventCode.STORE_FULL, exposure.transaction, STORAGE)
            return
        self._truth.append(_truth_line(exposure, latent, developed))
        late = self.faults.strikes("late")
        if late is None:
            self._tell_of(exposure, handles)
        else:  # by a thread, so that the next photograph may be announced before this one
            threading.Timer(late.value, self._tell_of, (exposure, handles)).start()

    def _tell_of(self, exposure: Exposure, handles: list[int]) -> None:
        """Announce what has been stored, or suffer a fault of the events."""
        if not self.faults.strikes("unannounced"):
            for handle in handles:
                self._announce(EventCode.OBJECT_ADDED, exposure.transaction, handle)
            if self.faults.strikes("duplicate"):
                self._announce(EventCode.OBJECT_ADDED, exposure.transaction, handles[0])
        if not self.faults.strikes("incomplete"):
            self._announce(EventCode.CAPTURE_COMPLETE, exposure.transaction)


def serve_camera(
    folder: Path,
    load_render: Callable[[], Render],
    *,
    size: tuple[int, int],
    seed: int,
    card_bytes: int = CARD_BYTES,
    raw: bool = False,
    inertia: Inertia = USUAL_INERTIA,
) -> int:
    """Run a camera in `folder` until standard input ends; return the exit code.

    Parameters
    ----------
    load_render
        Called in the darkroom's own (spawned) process, so it must be picklable; returns the function that renders.
    size
        Width and height of the pictures, in pixels.
    seed
        Decides the serial number; the scene has its own use of it.
    raw
        Whether a RAW file is stored beside every JPEG.
    inertia
        Of the lamps and the shutter.
    """
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    journal = Journal(folder / "camera.jsonl")
    serial_number = f"DF{seed:08d}"
    body = CameraBody(
        folder,
        size=size,
        serial_number=serial_number,
        card_bytes=card_bytes,
        darkroom=Darkroom(load_render),
        announce=lambda *event: responder.announce(*event),  # noqa: PLW0108 - the responder is made from the body
        raw=raw,
        inertia=inertia,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        responder = Responder(
            listener,
            guid=uuid.uuid5(uuid.NAMESPACE_DNS, serial_number).bytes,
            name=MODEL,
            open_session=lambda: CameraSession(body, journal, time.monotonic),
            refuses=lambda: body.faults.strikes("refuses") is not None,
        )
        threading.Thread(target=_or_die, args=(body.develop_forever,), daemon=True).start()
        port = listener.getsockname()[1]
        sys.stdout.write(f"ptpip:127.0.0.1:{port}:{port}\n")
        sys.stdout.flush()
        responder.serve_forever()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Photograph the sitter named on the command line; return the exit code."""
    options = _parse(arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # started by hand, Ctrl-C just ends it
    load_render = functools.partial(load_scene, options.sitter, options.size, options.seed)
    try:
        _check_sitter(options.sitter)
        return serve_camera(
            options.folder,
            load_render,
            size=options.size,
            seed=options.seed,
            card_bytes=options.card_bytes,
            raw=options.raw,
            inertia=Inertia(options.lamp_rise, options.lamp_decay, options.shutter_lag),
        )
    except DeepflashError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def load_scene(sitter: dict[str, Any], size: tuple[int, int], seed: int) -> Render:
    """Prepare the scene with its sitter; return what renders it."""
    from deepflash.hardware.emulator.scene import Scene  # noqa: PLC0415 - seconds, which only the darkroom has
    from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter  # noqa: PLC0415

    scene = Scene(load_sitter(SitterChoice(**sitter)), size, seed)
    return scene.render


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="camera_body", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="the emulated studio's folder")
    parser.add_argument("--sitter", type=_sitter, required=True, help='a SitterChoice as JSON, such as {"subject": "S001"}')
    parser.add_argument("--size", type=_size, default=(3120, 4160), help="WIDTHxHEIGHT in pixels (default 3120x4160)")
    parser.add_argument("--seed", type=int, default=0, help="decides the scene's random motion and the serial number")
    parser.add_argument("--card-bytes", type=int, default=CARD_BYTES, help="what the memory card holds (default 32 GB)")
    parser.add_argument("--raw", action="store_true", help="store a RAW file beside every JPEG")
    for what, default, meaning in (
        ("lamp-rise", LAMP_RISE_S, "time constant of the lamps' light after switching on"),
        ("lamp-decay", LAMP_DECAY_S, "time constant of the lamps' light after switching off"),
        ("shutter-lag", SHUTTER_LAG_S, "from the trigger to the shutter's opening"),
    ):
        parser.add_argument(f"--{what}", type=float, default=default, help=f"{meaning}, seconds (default {default})")
    return parser.parse_args(arguments)


def _sitter(text: str) -> dict[str, Any]:
    try:
        sitter = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(sitter, dict) or "subject" not in sitter or sitter.keys() - {"subject", "folder"}:
        raise argparse.ArgumentTypeError(f'{text!r} is not a sitter; write {{"subject": "S001"}}, and "folder" if you have one')
    return sitter


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 3120x4160")
    return int(match[1]), int(match[2])


def _check_sitter(sitter: dict[str, Any]) -> None:
    """Refuse at once what needs no loading to be seen as wrong; the rest the darkroom finds out."""
    folder = sitter.get("folder")
    if folder is not None and not Path(folder).is_dir():
        raise HardwareError(f"{folder} is not a folder of portraits; name one, or leave it out for the built-in sitters")


def _latent(exposure: Exposure, switchings: list[tuple[float, bool]], serial_number: str, inertia: Inertia) -> Latent:
    rise_s, decay_s = inertia.lamp_rise_s, inertia.lamp_decay_s
    mean = lamp_light(switchings, exposure.start_s, exposure.duration_s, rise_s=rise_s, decay_s=decay_s)
    light = mean * exposure.duration_s / FULL_LIGHT_EXPOSURE_S
    mode = exposure.flash_mode
    flash = mode == FlashMode.FILL or (mode == FlashMode.AUTOMATIC and light < DARK)
    return Latent(
        exposure.shot,
        exposure.clock,
        exposure.duration_s,
        mode,
        flash,
        light,
        start_s=exposure.start_s,
        exposure_id=uuid.uuid5(uuid.NAMESPACE_OID, f"{serial_number}/{exposure.shot}/{exposure.start_s}").hex,
    )


def _switchings(path: Path) -> list[tuple[float, bool]]:
    """Return (time, on) of the lamps since the board last came up, as its log has them."""
    switchings: list[tuple[float, bool]] = []
    for record in read_journal(path):
        if record["channel"] == LAMP_CHANNEL:
            if record["cause"] == "power" and switchings and record["at_s"] < switchings[-1][0]:
                switchings.clear()  # the machine was restarted, and its clock with it
            switchings.append((record["at_s"], record["on"]))
    return switchings


def _truth_line(exposure: Exposure, latent: Latent, developed: Developed) -> dict[str, Any]:
    return {
        "shot": exposure.shot,
        "exposure_id": latent.exposure_id,
        "object": picture_name(exposure.shot),
        "handle": handle_of(exposure.shot),
        "exposure_s": exposure.start_s,
        "duration_s": exposure.duration_s,
        "lamp_light": latent.lamp_light,
        "flash": latent.flash,
        **developed.truth,
    }


def _shots_in(truth: Path) -> list[int]:
    return [record["shot"] for record in read_journal(truth)]


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def _or_die(run: Callable[[], None]) -> None:
    """Run a thread's function; if it raises, the whole camera ends, with the reason on standard error."""
    try:
        run()
    except DeepflashError as error:
        sys.stderr.write(f"{error}\n")
    except Exception:  # noqa: BLE001 - not swallowed: the process ends on it
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def _end_with_standard_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)  # like a camera whose battery is pulled; files on the card are written atomically


if __name__ == "__main__":
    sys.exit(main())
