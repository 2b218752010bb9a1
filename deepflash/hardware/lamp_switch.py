"""The relay channel that carries all lamps: what is written to the board, when, and whether it was obeyed."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from deepflash.errors import RelayError
from deepflash.hardware.ports import PORT_ERRORS, SerialPort
from deepflash.hardware.relay import find_board, switch_frame, timed_on_frame

OFF_REPEATS = 2
HOLD_S = 0.7  # what a timer in the board is set to: off within a second of the last refresh
REFRESH_EVERY_S = 0.3

_OPEN_LIMIT_S = 2.0  # a guard of a killed session needs its repeats before it lets go of the port
_REOPEN_EVERY_S = 0.2
_ANSWER_LIMIT_S = 0.3
_LISTEN_EVERY_S = 0.004
_WATCH_EVERY_S = 1.0  # how often a board that needs nothing is asked all the same
_TOUCH_EVERY_S = 0.2  # how often its port is touched while the lamps are on
_INSIST_EVERY_S = 0.1
_LAST_LOOK_S = 1.0
_NEVER = float("inf")

Tell = Callable[[dict[str, Any]], None]
R = TypeVar("R")


class Switch:
    """The one place that writes to the board.

    After a switching the board is asked for its state, if it can tell. An off that it does not confirm is insisted
    on until it does; boards that cannot tell get every off three times. Events: `switched` for every write of a
    command; `seen` for every answer, with None once for a board that gives none; `unconfirmed` when something else
    had to be written before the board had confirmed a command; `fault` when something is wrong with the board or its
    port, and again, empty, when it is mended.

    Where the board has a timer, lamps are switched on for `HOLD_S` only, and again every `REFRESH_EVERY_S`: they go
    off also if this process is killed together with everything else.
    """

    def __init__(self, port: str, board: str, channel: int, tell: Tell) -> None:
        self._board = find_board(board)
        self._channel = channel
        self._name = port
        self._port = SerialPort(port, self._board.baud_rate)
        self._tell = tell
        timed_on = timed_on_frame(board, channel, HOLD_S)
        self._is_timed = timed_on is not None
        self._frames = {False: switch_frame(board, channel, False), True: timed_on or switch_frame(board, channel, True)}
        self._can_answer = self._board.read_back is not None  # until a board that need not answer has not
        self._has_answered = self._can_answer and self._board.read_back is not None and self._board.read_back.is_sure
        self._written_s = -1.0  # the last write, questions included
        self._commanded_s: float | None = None  # the last command
        self._on_written_s = 0.0
        self._repeats = 0
        self._look_at_s = _NEVER
        self._asked_s: float | None = None
        self._answer = b""
        self._misses = 0
        self._insists = False
        self._is_confirmed = False
        self._fault = ""
        self._fault_stays = False
        self._reopen_at_s = 0.0
        self.on_since_s: float | None = None

    def open(self) -> None:
        """Open the port, for this process alone.

        Raises
        ------
        RelayError
            if it is missing, not allowed, not a serial port, or in use.
        """
        self._port.open_within(_OPEN_LIMIT_S)
        if not self._can_answer:
            self._tell({"event": "seen", "on": None, "at_s": time.monotonic()})

    def set(self, on: bool, why: str) -> float:
        """Switch; return the CLOCK_MONOTONIC time at which the command had been written.

        Raises
        ------
        RelayError
            if the port fails. It is then got back, and the lamps switched off.
        """
        self._write(self._frames[on])
        if self._is_unsure() and self._has_answered and self._commanded_s is not None:
            self._tell({"event": "unconfirmed", "of_s": self._commanded_s})
        self._commanded_s = self._written_s
        self._note_hold(on)
        self.on_since_s = (self.on_since_s or self._written_s) if on else None
        self._repeats = self._repeats_after(on, why)
        self._asked_s = None  # an answer that is under way may tell of the time before
        self._insists = self._is_confirmed = False
        self._look_at_s = _NEVER if self._repeats else self._written_s + self._board.min_gap_s
        self._tell(
            {"event": "switched", "on": on, "at_s": self._written_s, "why": why, "bytes": self._frames[on].hex(" ")},
        )
        if not self._can_answer:
            self._set_fault("")
        return self._written_s

    def _repeats_after(self, on: bool, why: str) -> int:
        """Return how often an off is repeated blindly: not at all where the board is asked instead."""
        if on or self._has_answered:
            return 0
        return self._repeats - 1 if why == "repeat" else OFF_REPEATS

    def next_due_s(self) -> float:
        """Return when `tend` next has something to do."""
        if not self._port.is_open:
            return self._reopen_at_s
        if self._repeats:
            return self._written_s + self._board.min_gap_s
        return min(self._refresh_at_s(), self._look_at_s)

    def tend(self) -> None:
        """Do what is due: repeat an off, refresh a timer, ask the board, hear its answer, get a lost port back.

        Raises
        ------
        RelayError
            if the port fails; a `fault` event has told of it.
        """
        now_s = time.monotonic()
        if now_s < self.next_due_s():
            return
        if not self._port.is_open:
            self._reopen()
        elif self._repeats:
            self.set(False, "repeat")
        elif now_s >= self._refresh_at_s():
            self.set(True, "refresh")
        elif self._insists:
            self.set(False, "insisting")
        elif self._asked_s is not None:
            self._listen(now_s)
        else:
            self._look()

    def off_for_good(self, why: str) -> None:
        """Switch off, repeat it, insist for a second where the board does not confirm it, and let the port go.

        Raises
        ------
        RelayError
            if the port fails.
        """
        self.set(False, why)
        until_s = time.monotonic() + OFF_REPEATS * self._board.min_gap_s + _LAST_LOOK_S
        while (self._repeats or self._is_unsure()) and time.monotonic() < until_s:
            time.sleep(max(0.0, min(self.next_due_s(), until_s) - time.monotonic()))
            self.tend()
        self._port.close()

    def _is_unsure(self) -> bool:
        """Whether the board has still to say that the lamps are off."""
        return self._can_answer and not self._is_confirmed

    def _refresh_at_s(self) -> float:
        return self._on_written_s + REFRESH_EVERY_S if self._is_timed and self.on_since_s is not None else _NEVER

    def _note_hold(self, on: bool) -> None:
        """Note when the board's timer was set, and whether it had run out before."""
        was_on = self.on_since_s is not None
        if on and was_on and self._is_timed and self._written_s > self._on_written_s + HOLD_S:
            self._set_fault(
                "the relay board's timer switched the lamps off, as this computer was too busy to refresh it; take it again"
            )
            self._fault_stays = True
        if not on:
            self._fault_stays = False
        self._on_written_s = self._written_s

    def _look(self) -> None:
        """Ask the board for its state, or at least touch its port: a question could hold up the off that comes next."""
        self._on_port(self._port.read)  # echoes and what else it said unasked; raises if it is unplugged
        is_on = self.on_since_s is not None
        if self._can_answer and self._board.read_back is not None and not (is_on and self._is_confirmed):
            self._write(self._board.read_back.question(self._channel))
            self._asked_s, self._answer = self._written_s, b""
            self._look_at_s = self._written_s + _LISTEN_EVERY_S
        else:
            self._look_at_s = time.monotonic() + (_TOUCH_EVERY_S if is_on else _WATCH_EVERY_S)

    def _listen(self, now_s: float) -> None:
        if self._asked_s is None or self._board.read_back is None:
            return
        self._answer += self._on_port(self._port.read)
        state = self._board.read_back.state(self._answer, self._channel)
        if state is None and now_s < self._asked_s + _ANSWER_LIMIT_S:
            self._look_at_s = now_s + _LISTEN_EVERY_S
            return
        self._asked_s = None
        if state is None:
            self._miss(now_s)
        else:
            self._judge(state, now_s)

    def _miss(self, now_s: float) -> None:
        """Ask once more; then a board that must answer, or has, is at fault, and another one is not asked again."""
        self._misses += 1
        self._look_at_s = now_s
        if self._misses < 2:
            self._insists = self._has_answered and self.on_since_s is None  # it may have been deaf to the off as well
            return
        if self._has_answered:
            self._doubt(f"the relay board on {self._name} does not answer; check its cable and power: the lamps may be on")
        else:
            self._can_answer = False
            self._tell({"event": "seen", "on": None, "at_s": now_s})
            self._set_fault("")

    def _judge(self, state: bool, now_s: float) -> None:
        self._misses, self._has_answered = 0, True
        wanted = self.on_since_s is not None
        self._tell({"event": "seen", "on": state, "at_s": now_s, "of_s": self._commanded_s, "obeyed": state == wanted})
        if state == wanted:
            if not self._fault_stays:
                self._set_fault("")
            self._is_confirmed = True
            self._look_at_s = now_s + (_TOUCH_EVERY_S if wanted else _WATCH_EVERY_S)
        elif wanted:
            self._doubt(f"the relay board on {self._name} says that the lamps stay off when switched on; check the board")
        else:
            self._doubt(f"the relay board on {self._name} says that the lamps stay on; switch them off by hand")

    def _doubt(self, fault: str) -> None:
        """Tell a fault and look again soon; switch off again before that if off is what is wanted."""
        self._set_fault(fault)
        self._is_confirmed = False
        self._insists = self.on_since_s is None
        self._look_at_s = time.monotonic() + _INSIST_EVERY_S

    def _set_fault(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self._tell({"event": "fault", "error": fault})

    def _write(self, content: bytes) -> None:
        if not self._port.is_open:
            raise RelayError(self._fault)  # and let `tend` get it back in its own time
        time.sleep(max(0.0, self._written_s + self._board.min_gap_s - time.monotonic()))
        self._on_port(lambda: self._port.write(content))
        self._written_s = time.monotonic()

    def _on_port(self, act: Callable[[], R]) -> R:
        """Do something with the port; give it up if it fails."""
        try:
            return act()
        except PORT_ERRORS as error:
            self._port.close()
            self.on_since_s = None  # unknown from here on; the first act on a port that is back is off
            self._repeats, self._asked_s, self._insists, self._fault_stays = 0, None, False, False
            self._look_at_s = _NEVER
            self._is_confirmed = False
            self._reopen_at_s = time.monotonic() + _REOPEN_EVERY_S
            fault = self._port.sentence(error)
            self._set_fault(fault)
            raise RelayError(fault) from error

    def _reopen(self) -> None:
        try:
            self._port.open()
        except PORT_ERRORS:
            self._reopen_at_s = time.monotonic() + _REOPEN_EVERY_S  # until it is back; whoever asks for lamps is told
        else:
            self.set(False, "port is back")
