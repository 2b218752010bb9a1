"""The lamps switched by hand: to place them, to see that the rig file names the right channel, to get them off."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from deepflash.errors import RelayError
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

_CONFIRM_LIMIT_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Switched:
    """What became of an order.

    Attributes
    ----------
    on
        What was asked for.
    confirmed
        Whether the board said so itself; False only for boards that cannot.
    held_s
        How long the lamps were on.
    """

    on: bool
    confirmed: bool
    held_s: float = 0.0


def lamps_off(rig: Rig) -> Switched:
    """Switch the lamps off.

    Raises
    ------
    RelayError
        if the board cannot be reached, or says that they stay on.
    """
    with Lamps(rig) as lamps:
        lamps.wait_until_ready()
        return Switched(False, _is_confirmed(lamps, on=False))


def lamps_on(
    rig: Rig, duration_s: float | None, *, tell: Callable[[Switched], None], stop: Callable[[], bool] = lambda: False
) -> Switched:
    """Hold the lamps on for a while, then switch them off; they go off also if this program is killed.

    Parameters
    ----------
    rig
        Where the board is.
    duration_s
        How long; None is as long as the rig lets lamps be on.
    tell
        Called once they are on.
    stop
        Asked some times a second whether to end earlier.

    Raises
    ------
    RelayError
        if the board cannot be reached or does not obey, also while they are on.
    """
    with Lamps(rig) as lamps:
        lamps.wait_until_ready()
        on_s = lamps.on()
        until_s = on_s + min(rig.max_on_s, duration_s if duration_s is not None else rig.max_on_s)
        confirmed = _is_confirmed(lamps, on=True)
        tell(Switched(True, confirmed))
        while time.monotonic() < until_s and not stop():
            _refuse_fault(lamps)
            time.sleep(_POLL_S)
        return Switched(True, confirmed, lamps.off() - on_s)


def _is_confirmed(lamps: Lamps, *, on: bool) -> bool:
    """Wait for the board's word, where it has one."""
    seen = lamps.wait_until_seen(on, _CONFIRM_LIMIT_S)
    _refuse_fault(lamps)
    return seen is on


def _refuse_fault(lamps: Lamps) -> None:
    fault = lamps.state().fault
    if fault:
        raise RelayError(fault)
