"""The clock of a pair: lamps on, studio shot, lamps off, settle, flash shot.

Everything is stamped on CLOCK_MONOTONIC, which all processes of a machine share: lamps by the guard that
writes to the relay board, triggers by the worker that speaks with the camera.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deepflash.errors import RelayError
from deepflash.hardware.camera import CardFile, Shot, Trigger
from deepflash.hardware.cameras import CameraDevice
from deepflash.hardware.lamps import Lamps, Switching
from deepflash.hardware.rig import Rig

_OVERTIME_S = 0.6  # the camera may be busy for so long when the studio shot is due; then the lamps do not wait for it
_PREPARATION_S = 0.1  # for the worker to drain old events and set the flash before the first trigger


@dataclass(frozen=True)
class Times:
    """What was measured in a take, in seconds after `t0`, the start of the studio shot's trigger call.

    Attributes
    ----------
    t0_monotonic_s
        `t0` on CLOCK_MONOTONIC.
    lamps_on_s, lamps_off_s
        When the commands had been written to the relay board.
    studio_trigger_s, flash_trigger_s, studio_returned_s, flash_returned_s
        When the camera's trigger calls began and returned.
    studio_exposure_s, flash_exposure_s
        When the exposures began, as best known: the trigger and the rig's `camera_lag_s`.
    spacing_s
        From the studio exposure to the flash exposure.
    spacing_of_returns_s
        The same, from the return of the trigger calls; differs where a trigger was held up on its way.
    settle_s
        From lamps off to the flash exposure.
    planned_spacing_s, planned_settle_s
        What the rig asked for.
    """

    t0_monotonic_s: float
    lamps_on_s: float
    studio_trigger_s: float
    studio_returned_s: float
    studio_exposure_s: float
    lamps_off_s: float
    flash_trigger_s: float
    flash_returned_s: float
    flash_exposure_s: float
    spacing_s: float
    spacing_of_returns_s: float
    settle_s: float
    planned_spacing_s: float
    planned_settle_s: float

    def rounded(self) -> dict[str, float]:
        """Return the times for `pair.json`, to the microsecond."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Take:
    """Two photographs, fetched but not committed, and how they were made."""

    studio: CardFile
    flash: CardFile
    times: Times
    relay_log: tuple[Switching, ...]


def photograph_pair(rig: Rig, lamps: Lamps, camera: CameraDevice, folder: Path) -> Take:
    """Photograph a pair; the lamps are off afterwards, however this ends.

    The flash shot is triggered a fixed time after the studio shot's *measured* trigger. The lamps go
    off `rig.lamps_hold_s` after it, which leaves `rig.settle_s` for their light to decay.

    Parameters
    ----------
    rig, lamps, camera
        Opened devices.
    folder
        Where the fetched photographs go.

    Raises
    ------
    RelayError, CameraError
        if a device fails. Nothing in `folder` is then to be used; reconnect the camera.
    """
    triggers: dict[int, Trigger] = {}
    in_time = threading.Event()
    off_s = 0.0

    def on_trigger(number: int, trigger: Trigger) -> None:
        nonlocal off_s
        triggers[number] = trigger
        if number == 0:
            in_time.set()
            time.sleep(max(0.0, trigger.before_s + rig.camera_lag_s + rig.lamps_hold_s - time.monotonic()))
            off_s = lamps.off()

    camera.make_ready()
    try:
        on_s = lamps.on()
        at_s = on_s + max(_PREPARATION_S, rig.warm_up_s - rig.camera_lag_s)
        with _lamps_off_unless(in_time, at_s + rig.camera_lag_s + rig.lamps_hold_s + _OVERTIME_S, lamps):
            studio, flash = camera.shoot(
                [Shot(0.0, flash=False), Shot(rig.spacing_s, flash=True)], at_s=at_s, folder=folder, on_trigger=on_trigger
            )
    finally:
        lamps.off()
    times = _measured(rig, on_s, off_s, triggers[0], triggers[1])
    return Take(studio, flash, times, tuple(lamps.switchings(on_s)))


@contextmanager
def _lamps_off_unless(in_time: threading.Event, at_s: float, lamps: Lamps) -> Iterator[None]:
    """Switch the lamps off at `at_s` unless the event is set by then: a camera that hangs must not keep them on."""

    def wait() -> None:
        if not in_time.wait(max(0.0, at_s - time.monotonic())):
            with suppress(RelayError):  # the guard is being replaced, and switches off by itself
                lamps.off()

    watch = threading.Thread(target=wait, name="lamps off in time", daemon=True)
    watch.start()
    try:
        yield
    finally:
        in_time.set()
        watch.join()


def _measured(rig: Rig, on_s: float, off_s: float, studio: Trigger, flash: Trigger) -> Times:
    t0_s = studio.before_s
    flash_exposure_s = flash.before_s + rig.camera_lag_s
    return Times(
        t0_monotonic_s=t0_s,
        lamps_on_s=on_s - t0_s,
        studio_trigger_s=0.0,
        studio_returned_s=studio.after_s - t0_s,
        studio_exposure_s=rig.camera_lag_s,
        lamps_off_s=off_s - t0_s,
        flash_trigger_s=flash.before_s - t0_s,
        flash_returned_s=flash.after_s - t0_s,
        flash_exposure_s=flash_exposure_s - t0_s,
        spacing_s=flash.before_s - studio.before_s,
        spacing_of_returns_s=flash.after_s - studio.after_s,
        settle_s=flash_exposure_s - off_s,
        planned_spacing_s=rig.spacing_s,
        planned_settle_s=rig.settle_s,
    )
