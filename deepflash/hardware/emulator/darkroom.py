"""The emulated camera's darkroom: the process that renders exposures of the scene as JPEG files.

It is apart from the camera's process, so that rendering 13 megapixels never delays a shutter, and so that the camera
answers at once while the scene is still being prepared. It ends when the camera's process does.

Every photograph carries the truth about itself, so that an experiment can tell long afterwards what it shows: Exif's
ImageUniqueID is the exposure's id, which no other exposure has, and UserComment is the JSON of `stamp_of`.
"""

import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from deepflash.errors import DeepflashError, HardwareError
from deepflash.hardware.emulator.camera_properties import F_NUMBER, ISO, MAKER, MODEL, FlashMode

Render = Callable[[int, float, bool], tuple[Any, dict[str, Any]]]
"""`render(shot, lamp_light, flash)` returns an (H, W, 3) RGB `uint8` picture and what is true about it."""

JPEG_QUALITY = 92
_DIED = "the emulated camera's darkroom died; its own last words stand before this"
_ASCII = b"ASCII\0\0\0"  # Exif's name for the code of a user comment
_NICENESS = 10  # the shutter goes before the rendering


@dataclass(frozen=True)
class Latent:
    """An exposure that has been taken and not been developed."""

    shot: int
    clock: datetime
    exposure_s: float
    flash_mode: FlashMode
    flash: bool
    lamp_light: float
    start_s: float = 0.0
    exposure_id: str = ""


@dataclass(frozen=True)
class Developed:
    """A picture as the camera would store it, and the ground truth about it."""

    jpeg: bytes
    truth: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """The scene cannot be prepared or rendered; the sentence says why."""

    sentence: str


@dataclass(frozen=True)
class Ready:
    """The scene stands."""


class Darkroom:
    """The camera's side: starts the darkroom's process and has exposures developed, one at a time.

    Parameters
    ----------
    load_render
        Picklable; called in the darkroom's own (spawned) process.
    """

    def __init__(self, load_render: Callable[[], Render]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        spawn.Process(target=work, args=(theirs, load_render), daemon=True).start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until the scene stands; HardwareError if it cannot."""
        self._receive()

    def develop(self, latent: Latent) -> Developed:
        """Have one exposure developed; HardwareError if that fails."""
        try:
            self._connection.send(latent)
        except OSError as error:
            raise HardwareError(_DIED) from error
        developed = self._receive()
        if not isinstance(developed, Developed):
            raise TypeError(f"the darkroom answered {developed!r}")
        return developed

    def _receive(self) -> "Developed | Ready":
        try:
            answer: Developed | Ready | Failure = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HardwareError(_DIED) from error
        if isinstance(answer, Failure):
            raise HardwareError(answer.sentence)
        return answer


def work(connection: Connection, load_render: Callable[[], Render]) -> None:
    """Develop every `Latent` that comes through `connection` into a `Developed`, until it closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the camera's; this process ends with it
    os.nice(_NICENESS)
    try:
        render = load_render()
        connection.send(Ready())
        while True:
            connection.send(develop(connection.recv(), render))
    except DeepflashError as error:
        connection.send(Failure(str(error)))
    except (EOFError, BrokenPipeError):
        return  # the camera is gone


def develop(latent: Latent, render: Render) -> Developed:
    """Render one exposure and encode it with true EXIF."""
    from PIL import Image  # noqa: PLC0415 - the camera's own process imports this module and stays light

    picture, truth = render(latent.shot, latent.lamp_light, latent.flash)
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=JPEG_QUALITY, exif=_exif(latent, picture.shape[1], picture.shape[0]))
    return Developed(jpeg.getvalue(), truth)


def _exif(latent: Latent, width: int, height: int) -> Any:
    from PIL import ExifTags, Image  # noqa: PLC0415
    from PIL.TiffImagePlugin import IFDRational  # noqa: PLC0415

    base, stamp = ExifTags.Base, latent.clock.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif.update({base.Make: MAKER, base.Model: MODEL, base.Orientation: 1, base.DateTime: stamp})
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            base.ExposureTime: IFDRational(round(latent.exposure_s * 10_000), 10_000),
            base.FNumber: IFDRational(round(F_NUMBER * 10), 10),
            base.ISOSpeedRatings: ISO,
            base.DateTimeOriginal: stamp,
            base.DateTimeDigitized: stamp,
            base.SubsecTimeOriginal: f"{latent.clock.microsecond // 1000:03d}",
            base.Flash: _flash_bits(latent),
            base.ExifImageWidth: width,
            base.ExifImageHeight: height,
            base.ImageNumber: latent.shot + 1,
            base.ImageUniqueID: latent.exposure_id,
            base.UserComment: _ASCII + json.dumps(stamp_of(latent)).encode("ascii"),
        }
    )
    return exif


def stamp_of(latent: Latent) -> dict[str, Any]:
    """Return the truth that goes into the photograph; times on CLOCK_MONOTONIC."""
    return {
        "exposure_id": latent.exposure_id,
        "shot": latent.shot,
        "exposure_s": latent.start_s,
        "lamp_light": round(latent.lamp_light, 6),
        "flash": latent.flash,
    }


def raw_of(latent: Latent, developed: Developed) -> bytes:
    """Return the RAW file of an exposure: not an image, but as large as one, and it says whose it is."""
    said = json.dumps(stamp_of(latent)).encode("ascii")
    return b"II*\0" + said.ljust(4 * len(developed.jpeg), b"\0")


def _flash_bits(latent: Latent) -> int:
    """Exif 2.32, table 8: bit 0 says that the flash fired, bits 3 and 4 in which mode the camera was."""
    mode = {FlashMode.FILL: 1, FlashMode.OFF: 2, FlashMode.AUTOMATIC: 3}[latent.flash_mode]
    return mode << 3 | int(latent.flash)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)  # a rendering may be going on, for nobody
