"""The studio's lamps: the client of the lamp guard."""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from deepflash.errors import HardwareError, RelayError
from deepflash.hardware.child import Child, ChildGoneError, ChildSilentError
from deepflash.hardware.rig import Rig

_BEAT_EVERY_S = 0.1
_SILENCE_LIMIT_S = 0.5  # a guard that has not answered a beat for so long is replaced
_START_LIMIT_S = 10.0
_ANSWER_LIMIT_S = 1.0
_RESTART_EVERY_S = 0.3
_CLOSE_GRACE_S = 3.0
_REMEMBERED = 1000


@dataclass(frozen=True)
class Switching:
    """One write to the relay board, as the guard logged it.

    Attributes
    ----------
    at_s
        CLOCK_MONOTONIC time at which the command had been written.
    on
        What the command asked for.
    why
        `command`, or the guard's own reason: `start`, `repeat`, `refresh`, `no beat`, `on for too long`, ...
    frame
        The bytes written, as hexadecimal text.
    confirmed
        Whether the board said, before anything else was written, that it had obeyed. None where it cannot tell, or
        has not been asked yet.
    """

    at_s: float
    on: bool
    why: str
    frame: str
    confirmed: bool | None = None


@dataclass(frozen=True)
class LampState:
    """What is known of the lamps at a moment.

    Attributes
    ----------
    on
        What was last written to the board; None before anything was.
    seen_on
        What the board itself said last; None where it cannot tell.
    fault
        One sentence on what is wrong with the board or the guard; empty if nothing is.
    heard_s
        When the guard was last heard, on CLOCK_MONOTONIC; it should be some tenths of a second ago.
    """

    on: bool | None
    seen_on: bool | None
    fault: str
    heard_s: float


class Lamps:
    """The lamps of a rig, in the care of a guard process; a context manager that leaves them off.

    A thread of this object beats for the guard and watches it: a guard that is killed or stopped is
    replaced within a second, and a new guard's first act is to switch off.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._switchings: deque[Switching] = deque(maxlen=_REMEMBERED)
        self._number = 0
        self._fault = ""  # why there is no guard
        self._board_fault = ""
        self._seen_on: bool | None = None
        self._seen_s = -1.0
        self._can_see: bool | None = None  # None until the board has answered, or has not
        self._heard_s = time.monotonic()
        self._guard: Child | None = None
        self._closing = False
        self._watch = threading.Thread(target=self._beat_and_watch, name="lamps", daemon=True)

    def __enter__(self) -> Self:
        self._guard = self._start_guard()
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let the guard switch off and end."""
        with self._changed:
            self._closing = True
        self._watch.join()
        if self._guard is not None:
            self._guard.close(_CLOSE_GRACE_S)

    @property
    def guard_pid(self) -> int | None:
        """The guard's process id; None while it is being replaced."""
        guard = self._guard
        return None if guard is None else guard.pid

    def on(self) -> float:
        """Switch the lamps on; return the CLOCK_MONOTONIC time of the serial write.

        Raises
        ------
        RelayError
            if the board or the guard fails; the lamps are then off or being switched off.
        """
        if self._board_fault:
            raise RelayError(self._board_fault)
        return self._ask("on")

    def off(self) -> float:
        """Switch the lamps off; return the CLOCK_MONOTONIC time of the serial write.

        Raises
        ------
        RelayError
            if the board or the guard fails, or the board has said by now that it did not obey; the lamps are
            then off or being switched off.
        """
        off_s = self._ask("off")
        if self._board_fault:
            raise RelayError(self._board_fault)
        return off_s

    def state(self) -> LampState:
        """Return what is known of the lamps now, for people to see."""
        with self._changed:
            on = self._switchings[-1].on if self._switchings else None
            return LampState(on, self._seen_on, self._current_fault(), self._heard_s)

    def wait_until_seen(self, on: bool, limit_s: float = 2.0) -> bool | None:
        """Wait for the board to say that the lamps are as they were switched last; return what it said.

        Returns
        -------
        bool or None
            `on` once the board confirms it; the contrary, or None if it says nothing, after the time.
        """
        with self._changed:
            since_s = self._switchings[-1].at_s if self._switchings else 0.0
            self._changed.wait_for(lambda: self._can_see is False or (self._seen_on == on and self._seen_s >= since_s), limit_s)
            return self._seen_on if self._seen_s >= since_s else None

    def wait_until_ready(self, limit_s: float = 5.0) -> None:
        """Wait for a lost guard or board to be back, and switch the lamps off.

        Raises
        ------
        RelayError
            if it is not back in time, or the board does not confirm that the lamps are off.
        """
        until_s = time.monotonic() + limit_s
        while True:
            try:
                off_s = self._ask("off")
                break
            except RelayError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(_BEAT_EVERY_S)
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_surely_off(off_s), max(0.0, until_s - time.monotonic())):
                raise RelayError(self._current_fault() or "the relay board has not confirmed that the lamps are off")

    def _is_surely_off(self, since_s: float) -> bool:
        """Whether the board has said so, or cannot say anything, and nothing is wrong with it."""
        is_seen = self._can_see is False or (self._seen_on is False and self._seen_s >= since_s)
        return is_seen and not self._board_fault

    def switchings(self, since_s: float) -> list[Switching]:
        """Return what the guard has written to the board since `since_s` on CLOCK_MONOTONIC."""
        with self._changed:
            return [switching for switching in self._switchings if switching.at_s >= since_s]

    def _current_fault(self) -> str:
        return self._fault if self._guard is None else self._board_fault

    def _ask(self, action: str) -> float:
        with self._changed:
            guard = self._guard
            if guard is None:
                raise RelayError(self._fault)
            self._number += 1
            number = self._number
            try:
                guard.send({"id": number, "do": action})
            except ChildGoneError as error:
                raise RelayError(f"the lamp guard has ended; a new one switches the lamps off ({error})") from error
            answered = self._changed.wait_for(lambda: number in self._answers or self._guard is not guard, _ANSWER_LIMIT_S)
            answer = self._answers.pop(number, None)
        if answer is None:
            what = "was lost" if answered else "did not answer"
            raise RelayError(f"the lamp guard {what} when asked to switch {action}; a new one switches the lamps off")
        if "error" in answer:
            raise RelayError(answer["error"])
        return float(answer["at_s"])

    def _beat_and_watch(self) -> None:
        heard_s = time.monotonic()
        while not self._closing:
            if self._guard is None:
                self._restart_guard()
                heard_s = time.monotonic()
                continue
            try:
                heard_s = max(heard_s, self._beat_once(self._guard))
                if time.monotonic() - heard_s > _SILENCE_LIMIT_S:
                    raise ChildSilentError("the lamp guard did not answer its beat")
            except (ChildGoneError, ChildSilentError) as error:
                self._give_up_guard(str(error))

    def _beat_once(self, guard: Child) -> float:
        """Beat, then listen until the next beat is due; return when the guard was last heard."""
        with self._changed:
            guard.send({"do": "beat"})
        until_s = time.monotonic() + _BEAT_EVERY_S
        heard_s = 0.0
        try:
            while not self._closing:
                self._hear(guard.receive(until_s))
                self._heard_s = heard_s = time.monotonic()
        except ChildSilentError:
            return heard_s
        return heard_s

    def _hear(self, message: dict[str, Any]) -> None:
        with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
            elif message["event"] == "switched":
                self._switchings.append(Switching(message["at_s"], message["on"], message["why"], message["bytes"]))
            elif message["event"] == "seen":
                self._seen_on, self._seen_s = message["on"], message["at_s"]
                self._can_see = self._seen_on is not None
                self._confirm(message.get("of_s"), message.get("obeyed", False))
            elif message["event"] == "unconfirmed":
                self._confirm(message["of_s"], False)
            elif message["event"] == "fault":
                self._board_fault = message["error"]
            self._changed.notify_all()

    def _confirm(self, at_s: float | None, obeyed: bool) -> None:
        """Note of a command whether it was obeyed; what was found out first stays."""
        for place, switching in enumerate(self._switchings):
            if switching.at_s == at_s and switching.confirmed is None:
                self._switchings[place] = replace(switching, confirmed=obeyed)

    def _start_guard(self) -> Child:
        rig = self._rig
        arguments = [rig.relay_port, rig.relay_board, str(rig.relay_channel), str(rig.max_on_s)]
        try:
            guard = Child("deepflash.hardware.lamp_guard", arguments)
        except ChildGoneError as error:
            raise RelayError(str(error)) from error
        try:
            self._await_ready(guard)
        except HardwareError as error:
            guard.kill()
            raise RelayError(str(error)) from error
        return guard

    def _await_ready(self, guard: Child) -> None:
        until_s = time.monotonic() + _START_LIMIT_S
        with self._changed:
            self._board_fault, self._seen_on, self._can_see = "", None, None
        while True:
            message = guard.receive(until_s)
            if message["event"] == "ready":
                return
            if message["event"] == "failed":
                raise RelayError(message["error"])
            self._hear(message)

    def _give_up_guard(self, reason: str) -> None:
        with self._changed:
            guard, self._guard = self._guard, None
            self._fault = f"the lamp guard was lost ({reason}); a new one is being started and switches the lamps off"
            self._changed.notify_all()
        if guard is not None:
            guard.kill()

    def _restart_guard(self) -> None:
        try:
            guard = self._start_guard()
        except RelayError as error:
            with self._changed:
                self._fault = str(error)
            time.sleep(_RESTART_EVERY_S)  # until the board is back: the lamps may be on
        else:
            with self._changed:
                self._guard = guard
                self._changed.notify_all()
