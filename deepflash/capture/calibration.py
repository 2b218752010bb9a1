"""Calibration: how long the lamps glow and how late the shutter opens, measured in photographs.

A series of photographs without flash is taken around the lamps' switching off. The share of full light in each,
against the time from the switching to the trigger, falls from 1 to 0: where it begins to fall tells the shutter's
lag, how fast it falls the lamps' decay (`decay`). Photographs are compared in linear light by the sRGB curve; a
camera whose JPEGs follow another curve makes the decay seem faster or slower.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from deepflash.capture.decay import Fit, Measurement, fit_decay, mean_light, settle_for
from deepflash.errors import CaptureError
from deepflash.files import write_durably
from deepflash.hardware.camera import CardFile, Shot, Trigger
from deepflash.hardware.cameras import CameraDevice, open_camera
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig, load_rig
from deepflash.pictures import Picture, read_rgb
from deepflash.progress import Report, silent

DARK_ENOUGH = 0.01
"""The fraction of the lamps' full light that may be left at the flash exposure."""

_DARK_AFTER_S = 2.5  # lamps are taken for dark so long after they were switched off
_COARSE_S = (-1.6, -0.8, -0.4, -0.2, -0.1, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_FINE = 12
_PREPARATION_S = 0.2  # for the camera to set its flash before the trigger
_FULL = (0.05, 0.9)  # a block is compared if full light makes it so bright, in linear light
_BLOCKS = 24  # columns
_ROUGH_FIT = 0.03  # of full light; above it the decay is not exponential enough to be trusted
_UNSURE = 0.1  # of the settle time


@dataclass(frozen=True)
class Calibration:
    """What was measured, and what follows for the rig.

    Attributes
    ----------
    settle_s, settle_error_s
        When the lamps' light has fallen to `fraction`, and the error of one standard deviation.
    lag_s, lag_error_s
        The shutter's lag, less the relay's.
    exposure_s
        The exposure time of the measuring photographs.
    confident
        Whether the light decays as the model says and the settle time is known to 10 % at two standard deviations.
    doubts
        Why not, one sentence each.
    """

    settle_s: float
    settle_error_s: float
    lag_s: float
    lag_error_s: float
    fraction: float
    exposure_s: float
    fit: Fit
    measurements: tuple[Measurement, ...]
    doubts: tuple[str, ...]

    @property
    def confident(self) -> bool:
        return not self.doubts

    @property
    def changes(self) -> dict[str, float]:
        """Return the rig's keys that change, and their new values."""
        return {"settle_s": round(self.settle_s, 3), "camera_lag_s": round(max(0.0, self.lag_s), 4)}

    def as_dict(self) -> dict[str, object]:
        """Return everything, ready for JSON."""
        return {**asdict(self), "confident": self.confident, "changes": self.changes}


def calibrate(rig: Rig, *, fraction: float = DARK_ENOUGH, report: Report = silent) -> Calibration:
    """Measure a rig's lamps and shutter with about 28 photographs; the lamps are off afterwards.

    Nobody need sit there, but something bright must, at one place, and other light must stay as it is. The camera's
    exposure must be manual, its flash off or set by us.

    Parameters
    ----------
    fraction
        How much of the lamps' full light may be left at the flash exposure.
    report
        Called after every photograph.

    Raises
    ------
    HardwareError
        if a device fails.
    CaptureError
        if the photographs do not show lamps that go out.
    """
    if not 0 < fraction < 0.5:
        raise CaptureError(f"{fraction} is no small fraction of light; use for example 0.01")
    planned = 4 + len(_COARSE_S) + _FINE
    with Lamps(rig) as lamps, open_camera(rig) as camera, tempfile.TemporaryDirectory() as folder:
        bench = _Bench(rig, lamps, camera, Path(folder), lambda done: report(done, planned, ""))
        full, dark = [bench.photograph(None) for _ in range(2)], [bench.photograph(_DARK_AFTER_S) for _ in range(2)]
        meter = _Meter(full, dark)
        coarse = [meter.measure(bench.photograph(delay_s)) for delay_s in _COARSE_S]
        rough = fit_decay(coarse, bench.exposure_s)
        fine = [meter.measure(bench.photograph(delay_s)) for delay_s in _fine_delays(rough, bench.exposure_s)]
        return conclude([*coarse, *fine], bench.exposure_s, fraction)


def conclude(measurements: Sequence[Measurement], exposure_s: float, fraction: float = DARK_ENOUGH) -> Calibration:
    """Return what follows from the measurements; they are stored in the order of their delays."""
    fit = fit_decay(measurements, exposure_s)
    settle_s, error_s = settle_for(fit.tau_s, fraction), settle_for(fit.tau_error_s, fraction)
    doubts = []
    if fit.residual > _ROUGH_FIT:
        doubts.append(
            f"the light does not decay as expected (off by {fit.residual:.1%} of full light); keep other light constant, "
            "set the camera's exposure by hand, and measure again"
        )
    if 2 * error_s > _UNSURE * settle_s:
        doubts.append(f"the settle time is known only to +/- {2 * error_s * 1000:.0f} ms; measure again in a darker room")
    if fit.lag_s < -0.02:
        doubts.append(f"the lamps went out {-fit.lag_s * 1000:.0f} ms after the relay was told: a slow relay or lamp driver")
    ordered = tuple(sorted(measurements, key=lambda measurement: measurement.delay_s))
    return Calibration(settle_s, error_s, fit.lag_s, fit.lag_error_s, fraction, exposure_s, fit, ordered, tuple(doubts))


def update_rig_file(path: Path, changes: dict[str, float]) -> Rig:
    """Write new times into a rig file, durably; every other line of it stays. Return the rig.

    Raises
    ------
    HardwareError
        if the file is none, or the rig would not be one.
    """
    wanted = replace(load_rig(path), **changes)  # type: ignore[arg-type]  # the keys are of times
    lines = path.read_text(encoding="utf-8").splitlines()
    table = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    for key, value in changes.items():
        places = [number for number in range(table) if lines[number].split("=")[0].strip() == key]
        if places:
            comment = "".join(lines[places[0]].partition("#")[1:])
            lines[places[0]] = f"{key} = {value}" + (f"  {comment}" if comment else "")
        else:
            lines.insert(table, f"{key} = {value}")
            table += 1
    write_durably(path, "\n".join(lines) + "\n")
    if load_rig(path) != wanted:
        raise CaptureError(f"{path} could not be changed line by line; write {changes} into it by hand")
    return wanted


def save_plot(calibration: Calibration, path: Path) -> None:
    """Draw the measured light, the fit and the recommended settle time as PNG (or what the name's ending says)."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load, and only needed here

    fit, measurements = calibration.fit, calibration.measurements
    delays = np.array([measurement.delay_s for measurement in measurements])
    curve = np.linspace(delays.min(), delays.max(), 2000)
    shape = mean_light(curve + fit.lag_s, calibration.exposure_s, fit.tau_s)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot((curve + fit.lag_s) * 1000, 100 * (fit.floor + (1 - fit.floor) * shape), color="tab:orange", label="fit")
    light = [100 * measurement.light for measurement in measurements]
    axes.plot((delays + fit.lag_s) * 1000, light, "o", color="tab:blue", markersize=4, label="photographs")
    two_sigma_s = 2 * calibration.settle_error_s
    axes.axvspan(*((calibration.settle_s + side * two_sigma_s) * 1000 for side in (-1, 1)), color="tab:green", alpha=0.3)
    settle_ms = calibration.settle_s * 1000
    axes.axvline(settle_ms, color="tab:green", label=f"settle {settle_ms:.0f} ms: {calibration.fraction:.1%} left")
    axes.set(
        xlabel="from lamps off to the shutter's opening, ms",
        ylabel="lamps' light, % of full",
        xlim=(-300, max(600, 1.5 * settle_ms)),
        title=f"decay {fit.tau_s * 1000:.1f} ms, shutter lag {fit.lag_s * 1000:.1f} ms",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


@dataclass(frozen=True)
class _Photograph:
    delay_s: float
    picture: Picture


class _Bench:
    """Photographs the lamps as they go out, one cycle of lamps on, off and a shot after the other."""

    def __init__(self, rig: Rig, lamps: Lamps, camera: CameraDevice, folder: Path, report: Callable[[int], None]) -> None:
        self._rig = rig
        self._lamps = lamps
        self._camera = camera
        self._folder = folder
        self._report = report
        self._done = 0
        self.exposure_s = 0.0

    def photograph(self, delay_s: float | None) -> _Photograph:
        """Trigger the camera `delay_s` after the lamps were switched off (None: while they are on)."""
        triggers: list[Trigger] = []
        self._camera.make_ready()
        ready_s = self._lamps.on() + self._rig.warm_up_s + max(0.0, -(delay_s or 0.0))
        off = _Switch(self._lamps, ready_s if delay_s is not None else None)
        try:
            at_s = max(ready_s + (delay_s or 0.0), time.monotonic() + _PREPARATION_S)
            off.at_s = None if delay_s is None else at_s - delay_s
            off.start()
            shots = [Shot(0.0, flash=False)]
            (file,) = self._camera.shoot(
                shots, at_s=at_s, folder=self._folder, on_trigger=lambda _number, trigger: triggers.append(trigger)
            )
        finally:
            off.join()
            self._lamps.off()
        self._note(file)
        if off.error is not None:
            raise off.error
        measured_s = -np.inf if off.done_s is None else triggers[0].before_s - off.done_s
        return _Photograph(float(measured_s), self._fetched(file))

    def _fetched(self, file: CardFile) -> Picture:
        reduce = 4 if file.size_bytes > 1_000_000 else 1
        picture = read_rgb(file.path, reduce=reduce)
        self._camera.delete([file])
        return picture

    def _note(self, file: CardFile) -> None:
        exposure_s = _exposure_time(file.path)
        if self.exposure_s and abs(exposure_s - self.exposure_s) > 0.01 * self.exposure_s:
            raise CaptureError(
                f"the camera changed its exposure time from {self.exposure_s:g} to {exposure_s:g} s; set it to manual exposure"
            )
        self.exposure_s = exposure_s
        self._done += 1
        self._report(self._done)


class _Switch(threading.Thread):
    """Switches the lamps off at a time, while the camera is being waited for."""

    def __init__(self, lamps: Lamps, at_s: float | None) -> None:
        super().__init__(name="switch-off", daemon=True)
        self._lamps = lamps
        self.at_s = at_s
        self.done_s: float | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        if self.at_s is None:
            return
        time.sleep(max(0.0, self.at_s - time.monotonic()))
        try:
            self.done_s = self._lamps.off()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for this one
            self.error = error


class _Meter:
    """Compares photographs with those of full light and of none, block by block, where full light makes a difference.

    The median of the blocks does not mind if something moved in some of them.
    """

    def __init__(self, full: Sequence[_Photograph], dark: Sequence[_Photograph]) -> None:
        bright, black = (np.mean([_linear(shot.picture) for shot in shots], axis=0) for shots in (full, dark))
        gain = bright - black
        self._seen = (bright < _FULL[1]) & (gain > _FULL[0])
        if self._seen.mean() < 0.02:
            raise CaptureError(
                "the lamps make no difference in the photographs, or burn them out; point the camera at something bright, "
                "and set its exposure by hand"
            )
        self._black, self._gain = black[self._seen], gain[self._seen]

    def measure(self, shot: _Photograph) -> Measurement:
        linear = _linear(shot.picture)
        if linear.shape != self._seen.shape:
            raise CaptureError("the camera changed the size of its pictures during the calibration; lock it")
        return Measurement(shot.delay_s, float(np.median((linear[self._seen] - self._black) / self._gain)))


def _fine_delays(rough: Fit, exposure_s: float) -> list[float]:
    """Return delays where the light changes: from the shutter's closing at the switching off to four time constants."""
    first_s, last_s = -rough.lag_s - 1.5 * exposure_s, -rough.lag_s + 4 * rough.tau_s
    return [float(delay_s) for delay_s in np.linspace(first_s, last_s, _FINE)]


def _linear(picture: Picture) -> NDArray[np.float32]:
    """Return blocks of a photograph in linear light by the sRGB curve (IEC 61966-2-1)."""
    code = np.arange(256) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    size = (_BLOCKS, max(1, round(_BLOCKS * picture.shape[0] / picture.shape[1])))
    return np.asarray(cv2.resize(table[picture], size, interpolation=cv2.INTER_AREA), np.float32)


def _exposure_time(path: Path) -> float:
    with Image.open(path) as image:
        told = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ExposureTime)
    try:
        exposure_s = float(told)  # type: ignore[arg-type]  # None is caught
    except (TypeError, ValueError, ZeroDivisionError):
        exposure_s = 0.0
    if not 0 < exposure_s < 10:
        raise CaptureError(f"the photograph {path.name} does not say its exposure time, which the calibration needs")
    return exposure_s
