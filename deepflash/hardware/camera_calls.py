"""Calls to libgphoto2 with a deadline, and what can go wrong in them. Only the camera's worker process uses this.

libgphoto2 has calls that never return, some of them holding Python's global lock. An interval timer interrupts them: a
signal makes the select() inside return. Error codes of libgphoto2 cannot be trusted further than this: busy means
asking again, unknown parameters mean that the camera lacks something, all else that the connection is suspect.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import gphoto2 as gp

from deepflash.files import write_durably

CALL_LIMIT_S = 5.0

_AT_ONCE_S = 1.0  # what a camera lacks it says at once; libgphoto2 says so too when there was no answer
_ALWAYS_ASK = "ptp2=cachetime=0"

P = ParamSpec("P")
R = TypeVar("R")


class ShootingError(Exception):
    """The camera failed; says so to the parent, who reconnects."""


class BusyError(ShootingError):
    """The camera is busy; it may be asked again."""


class CardFullError(ShootingError):
    """The card has no room for another photograph."""


class SettingsError(ShootingError):
    """A setting is not what the rig file says, and only a person can change it."""


class LacksError(ShootingError):
    """The camera does not have what was asked for."""


def within(limit_s: float, what: str, call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call libgphoto2 with a deadline; its errors become ShootingError. SIGALRM must have a handler."""
    start_s = time.monotonic()
    try:
        with _deadline(limit_s):
            return call(*arguments, **options)
    except gp.GPhoto2Error as error:
        if error.code == gp.GP_ERROR_CAMERA_BUSY:
            raise BusyError(f"the camera was busy when {what}; wait until it has stored its photographs") from error
        took_s = time.monotonic() - start_s
        if error.code in {gp.GP_ERROR_BAD_PARAMETERS, gp.GP_ERROR_NOT_SUPPORTED} and took_s < _AT_ONCE_S:
            raise LacksError(f"the camera cannot do this: {what} ({error})") from error
        reason = f"no answer within {limit_s:.0f} s" if took_s >= limit_s else str(error)
        raise ShootingError(f"the camera failed when {what} ({reason})") from error


def forbid_stale_settings() -> None:
    """Have libgphoto2 ask the camera whenever a setting is read, instead of remembering it for 2 s.

    It can be told so only by its own settings file. The user's stays as it is: a copy of our own is used, with the
    identity by which a paired camera knows this machine. Call this before anything else of libgphoto2.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    users, ours = (folder / ".gphoto" / "settings" for folder in (Path.home(), state / "deepflash" / "camera"))
    with suppress(OSError, UnicodeDecodeError):  # without it, a turned dial is noticed at the next take
        source = next((path for path in (ours, users) if path.exists()), None)
        lines = source.read_text(encoding="utf-8").splitlines() if source else []
        if _ALWAYS_ASK not in lines or source == users:
            write_durably(ours, "\n".join([*(line for line in lines if line != _ALWAYS_ASK), _ALWAYS_ASK]) + "\n")
        os.environ["HOME"] = str(ours.parent.parent)


@contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    """Interrupt the call inside after `limit_s`, and again every 50 ms: some calls wait many times over."""
    signal.setitimer(signal.ITIMER_REAL, limit_s, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
