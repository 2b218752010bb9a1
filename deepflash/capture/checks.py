"""Instant checks of a take, before it is committed: each failed one is a sentence with what to do."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from deepflash.capture.appearance import WORKING_SIDE_PX, Appearance, judge_appearance
from deepflash.capture.sequence import Take, Times
from deepflash.errors import PictureError
from deepflash.hardware.lamps import Switching
from deepflash.hardware.rig import Rig
from deepflash.pictures import Picture, read_header

_STUDIO_LIT = 40  # of 255, the brightness that 1 pixel in 10 must reach; unlit rooms stay below 20
_FLASH_LIT = 25
_CLIPPED = 250
_WORKING_WIDTH = 1000
_EXIF_TIME_S = 1.0  # the resolution of EXIF times without fractions


@dataclass(frozen=True)
class Verdict:
    """What the checks found.

    Attributes
    ----------
    reasons
        Why the take is rejected, one sentence each with what to do; empty if it is good.
    numbers
        What was measured in each photograph: `sharpness` (variance of the Laplacian at 1000 px width),
        `clipped` (fraction of pixels at 250 or more), `bright` (90th percentile of luma, 0 to 255); and what
        `appearance` measures of faces and light, `pair` being the two together.
    warnings
        What the operator should know of a take that is kept nevertheless.
    """

    reasons: tuple[str, ...]
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.reasons


def check_take(take: Take, rig: Rig) -> Verdict:
    """Check a take's times, its relay log and its two photographs: 13 megapixels within two seconds on two cores."""
    reasons = [*_check_times(take.times, rig), *_check_lamps(take)]
    try:
        with ThreadPoolExecutor(2) as threads:
            studio, flash = threads.map(_decode, (take.studio.path, take.flash.path))
    except PictureError as error:
        return Verdict((*reasons, f"{error}; take it again"))
    numbers = {"studio": _measure(studio), "flash": _measure(flash)}
    unequal, dark = list(_check_sizes(take)), list(_check_light(numbers))
    reasons += [*unequal, *dark, *_check_exif(take)]
    if unequal or dark or not rig.check_faces:
        return Verdict(tuple(reasons), numbers)
    seen = _judge(take, studio, flash, eyes=rig.check_eyes)
    numbers = {name: {**numbers.get(name, {}), **found} for name, found in seen.numbers.items()}
    return Verdict((*reasons, *seen.reasons), numbers, seen.warnings)


def _judge(take: Take, studio: Picture, flash: Picture, *, eyes: bool) -> Appearance:
    exposures = _read_exif(take.studio.path).exposure, _read_exif(take.flash.path).exposure
    ratio = exposures[1] / exposures[0] if exposures[0] and exposures[1] else 1.0
    return judge_appearance(studio, flash, eyes=eyes, exposure_ratio=ratio)


def _check_times(times: Times, rig: Rig) -> Iterator[str]:
    for what, measured_s, planned_s in (
        ("the two exposures were", times.spacing_s, rig.spacing_s),
        ("the camera's answers to the two triggers were", times.spacing_of_returns_s, rig.spacing_s),
        ("lamps off and the flash exposure were", times.settle_s, rig.settle_s),
    ):
        if abs(measured_s - planned_s) > rig.tolerance_s:
            yield (
                f"{what} {measured_s * 1000:.0f} ms apart, planned are {planned_s * 1000:.0f} +/- "
                f"{rig.tolerance_s * 1000:.0f} ms; take it again, and close other programs if it happens often"
            )
            return


def _check_lamps(take: Take) -> Iterator[str]:
    times = take.times
    for switching in take.relay_log:
        at_s = switching.at_s - times.t0_monotonic_s
        if times.lamps_on_s < at_s < times.lamps_off_s and not switching.on:
            yield f"the lamp guard switched the lamps off before the studio shot was over ({_why(switching)}); take it again"
            return
        if at_s == times.lamps_off_s and switching.confirmed is False:
            yield "the relay board did not confirm that the lamps were off for the flash shot; take it again"
            return


def _why(switching: Switching) -> str:
    return "another command" if switching.why == "command" else switching.why


def _check_sizes(take: Take) -> Iterator[str]:
    studio, flash = read_header(take.studio.path), read_header(take.flash.path)
    if (studio.width, studio.height) != (flash.width, flash.height):
        yield (
            f"the studio photograph has {studio.width} x {studio.height} pixels, the flash photograph {flash.width} x "
            f"{flash.height}; lock the camera's picture size and orientation, and take it again"
        )


def _check_light(numbers: dict[str, dict[str, float]]) -> Iterator[str]:
    if numbers["studio"]["bright"] < _STUDIO_LIT:
        yield "the studio photograph is dark; check that the lamps light up and the camera's exposure, and take it again"
    if numbers["flash"]["bright"] < _FLASH_LIT:
        yield "the flash photograph is dark; check that the flash is up and charged, and take it again"


def _check_exif(take: Take) -> Iterator[str]:
    studio, flash = _read_exif(take.studio.path), _read_exif(take.flash.path)
    if studio.flash_fired is True:
        yield "the flash fired in the studio photograph; set the camera's flash mode, and take it again"
    if flash.flash_fired is False:
        yield "the flash did not fire in the flash photograph; let it charge or switch it on, and take it again"
    if studio.taken is not None and flash.taken is not None:
        apart_s = (flash.taken - studio.taken).total_seconds()
        if abs(apart_s - take.times.spacing_s) > _EXIF_TIME_S:
            yield (
                f"by the camera's own clock the two photographs are {apart_s:.1f} s apart, {take.times.spacing_s:.1f} s were "
                "measured: they may not belong together; take it again"
            )


@dataclass(frozen=True)
class _Exif:
    """What the camera wrote into a photograph; None where it wrote nothing."""

    flash_fired: bool | None
    taken: datetime | None
    exposure: float | None  # seconds x ISO / aperture squared


def _read_exif(path: Path) -> _Exif:
    with Image.open(path) as image:
        tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
    flash = tags.get(ExifTags.Base.Flash)
    return _Exif(bool(flash & 1) if isinstance(flash, int) else None, _taken(tags), _exposure(tags))


def _exposure(tags: dict[int, Any]) -> float | None:
    base = ExifTags.Base
    try:
        exposure = float(tags[base.ExposureTime]) * float(tags[base.ISOSpeedRatings]) / float(tags[base.FNumber]) ** 2
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return exposure if 0 < exposure < float("inf") else None


def _taken(tags: dict[int, Any]) -> datetime | None:
    text = f"{tags.get(ExifTags.Base.DateTimeOriginal)}.{tags.get(ExifTags.Base.SubsecTimeOriginal, '0')}"
    try:
        return datetime.strptime(text.strip(), "%Y:%m:%d %H:%M:%S.%f")
    except ValueError:
        return None


def _decode(path: Path) -> Picture:
    """Decode wholly, strictly (OpenCV would fill a truncated JPEG with grey); return a small upright copy."""
    read_header(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # read_header has decided
            with Image.open(path) as image:
                image.load()
                scale = min(1.0, WORKING_SIDE_PX / max(image.size))
                size = tuple(max(1, round(side * scale)) for side in image.size)
                small = cv2.resize(np.asarray(image.convert("RGB")), size, interpolation=cv2.INTER_AREA)
                return np.asarray(ImageOps.exif_transpose(_with_orientation(small, image)), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{path.name} does not decode ({error})") from error


def _with_orientation(small: Any, image: Image.Image) -> Image.Image:
    copy = Image.fromarray(small)
    copy.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return copy


def _measure(picture: Picture) -> dict[str, float]:
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = luma.shape
    scale = min(1.0, _WORKING_WIDTH / width)
    small = cv2.resize(luma, (round(width * scale), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    return {
        "sharpness": round(float(cv2.Laplacian(small, cv2.CV_32F).var()), 2),
        "clipped": round(float(np.mean(small >= _CLIPPED)), 5),
        "bright": round(float(np.percentile(small, 90)), 1),
    }
