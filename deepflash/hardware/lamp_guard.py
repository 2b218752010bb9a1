"""The process that owns the lamps' serial port and switches them off, whatever happens to the others.

Run as `python -m deepflash.hardware.lamp_guard PORT BOARD CHANNEL MAX_ON_S`. It reads JSON lines on
its input, `{"id": 7, "do": "on" | "off"}` and `{"do": "beat"}`, and answers each with a line; it tells
of every write to the port, with its time on CLOCK_MONOTONIC, in lines `{"event": "switched", ...}`.

The lamps go off, and the off is repeated because a board may drop a command,

- at the start, before anything else;
- when the input ends, as it does when the parent is killed;
- 0.5 s after the last beat, as when the parent is stopped or hangs;
- when they have been on for the rig's `max_on_s`;
- at SIGTERM, SIGINT and SIGHUP;
- when the port works again after a failure.

What it cannot do: switch lamps off while it is itself killed *and* its parent with it, or through a
cable that has been pulled. Only a board with a timer of its own covers that.
"""

import errno
import json
import os
import selectors
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import serial

from deepflash.errors import RelayError
from deepflash.hardware.relay import find_board, switch_frame

BEAT_LIMIT_S = 0.5
OFF_REPEATS = 2

_PORT_ERRORS = (serial.SerialException, OSError, termios.error, ValueError)  # ValueError: an unknown kind of URL
_OPEN_LIMIT_S = 2.0  # a guard of a killed session needs its repeats before it lets go of the port
_REOPEN_EVERY_S = 0.2
_WRITE_LIMIT_S = 0.3
_IDLE_S = 60.0

Tell = Callable[[dict[str, Any]], None]


class Switch:
    """The relay channel that carries all lamps: the one place that writes to the port."""

    def __init__(self, path: str, board: str, channel: int, tell: Tell) -> None:
        self._path = path
        self._board = find_board(board)
        self._frames = {on: switch_frame(board, channel, on) for on in (False, True)}
        self._tell = tell
        self._port: serial.SerialBase | None = None
        self._written_s = -1.0
        self._repeats = 0
        self._reopen_at_s = 0.0
        self.on_since_s: float | None = None

    def open(self) -> None:
        """Open the port, for this process alone.

        Raises
        ------
        RelayError
            if it is missing, not allowed, not a serial port, or in use.
        """
        until_s = time.monotonic() + _OPEN_LIMIT_S
        while True:
            try:
                self._open_once()
                return
            except _PORT_ERRORS as error:
                in_use = isinstance(error, OSError) and error.errno in {11, 16}
                if not in_use or time.monotonic() > until_s:
                    raise RelayError(_sentence(self._path, error)) from error
                time.sleep(0.05)

    def set(self, on: bool, why: str) -> float:
        """Switch; return the CLOCK_MONOTONIC time at which the command had been written.

        Raises
        ------
        RelayError
            if the port fails. The guard then tries to get it back, and switches off.
        """
        time.sleep(max(0.0, self._written_s + self._board.min_gap_s - time.monotonic()))
        try:
            self._write(self._frames[on])
        except _PORT_ERRORS as error:
            self._lose_port()
            raise RelayError(_sentence(self._path, error)) from error
        self._written_s = time.monotonic()
        self.on_since_s = (self.on_since_s or self._written_s) if on else None
        self._repeats = 0 if on else self._repeats - 1 if why == "repeat" else OFF_REPEATS
        self._tell(
            {"event": "switched", "on": on, "at_s": self._written_s, "why": why, "bytes": self._frames[on].hex(" ")},
        )
        return self._written_s

    def next_due_s(self) -> float:
        """Return when `tend` next has something to do."""
        if self._port is None:
            return self._reopen_at_s
        return self._written_s + self._board.min_gap_s if self._repeats else float("inf")

    def tend(self) -> None:
        """Repeat an off whose time has come, or get a lost port back and switch off."""
        now_s = time.monotonic()
        if now_s < self.next_due_s():
            return
        if self._port is not None:
            self.set(False, "repeat")
            return
        try:
            self._open_once()
        except _PORT_ERRORS:
            self._reopen_at_s = now_s + _REOPEN_EVERY_S  # until it is back; whoever asks for lamps is told
        else:
            self.set(False, "port is back")

    def off_for_good(self, why: str) -> None:
        """Switch off and repeat it, then let the port go.

        Raises
        ------
        RelayError
            if the port fails.
        """
        self.set(False, why)
        for _ in range(OFF_REPEATS):
            self.set(False, "repeat")
        if self._port is not None:
            self._port.close()

    def _open_once(self) -> None:
        self._port = serial.serial_for_url(
            self._path, self._board.baud_rate, timeout=0, write_timeout=_WRITE_LIMIT_S, exclusive=True
        )

    def _write(self, frame: bytes) -> None:
        if self._port is None:
            raise OSError("the port is gone")
        self._port.write(frame)
        self._port.flush()

    def _lose_port(self) -> None:
        if self._port is not None:
            with suppress(*_PORT_ERRORS):  # an unplugged port may refuse even this; it is given up anyway
                self._port.close()
        self._port = None
        self.on_since_s = None  # unknown from here on; the first act on a port that is back is off
        self._reopen_at_s = time.monotonic() + _REOPEN_EVERY_S


class Guard:
    """Serves commands until the input ends, a signal comes or the parent's ear is gone."""

    def __init__(self, switch: Switch, max_on_s: float, tell: Tell) -> None:
        self._switch = switch
        self._max_on_s = max_on_s
        self._tell = tell
        self._beat_s = time.monotonic()
        self._input = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._read_commands)
        self._selector.register(_signal_socket(), selectors.EVENT_READ, lambda: "signal")

    def serve(self) -> str:
        """Serve; return why it ended."""
        while True:
            for key, _ in self._selector.select(min(max(0.0, self._next_due_s() - time.monotonic()), _IDLE_S)):
                ending = key.data()
                if ending:
                    return str(ending)
            try:
                self._check_limits()
                self._switch.tend()
            except RelayError as error:
                self._tell({"event": "fault", "error": str(error)})

    def _next_due_s(self) -> float:
        on_since_s = self._switch.on_since_s
        if on_since_s is None:
            return self._switch.next_due_s()
        return min(self._beat_s + BEAT_LIMIT_S, on_since_s + self._max_on_s, self._switch.next_due_s())

    def _check_limits(self) -> None:
        on_since_s = self._switch.on_since_s
        if on_since_s is None:
            return
        now_s = time.monotonic()
        if now_s >= self._beat_s + BEAT_LIMIT_S:
            self._switch.set(False, "no beat")
        elif now_s >= on_since_s + self._max_on_s:
            self._switch.set(False, "on for too long")

    def _read_commands(self) -> str | None:
        some = os.read(sys.stdin.fileno(), 4096)
        if not some:
            return "end of input"
        self._beat_s = time.monotonic()
        *lines, self._input = (self._input + some).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return None

    def _obey(self, command: dict[str, Any]) -> None:
        if command["do"] == "beat":
            self._tell({"event": "beat", "on": self._switch.on_since_s is not None})
            return
        try:
            at_s = self._switch.set(command["do"] == "on", "command")
        except RelayError as error:
            self._tell({"id": command["id"], "error": str(error)})
        else:
            self._tell({"id": command["id"], "at_s": at_s})


def main(arguments: list[str]) -> int:
    """Guard the lamps until told to end; return the exit status."""
    path, board, channel, max_on_s = arguments
    switch = Switch(path, board, int(channel), _tell)
    try:
        switch.open()
        switch.set(False, "start")
    except RelayError as error:
        _tell({"event": "failed", "error": str(error)})
        return 1
    guard = Guard(switch, float(max_on_s), _tell)
    _tell({"event": "ready"})
    why = "crash"
    try:
        why = guard.serve()
    finally:
        try:
            switch.off_for_good(why)
        except RelayError as error:
            _tell({"event": "failed", "error": str(error)})
    return 0


def _tell(message: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # the parent has died: the end of our input says so too, and the lamps go off
        os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


def _signal_socket() -> socket.socket:
    """Return a socket that becomes readable at a signal that asks us to end."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reader


def _sentence(path: str, error: BaseException) -> str:
    number = _error_number(error)
    if number == 2:
        return f"relay port {path} does not exist; plug the board in, or name another port in the rig file"
    if number == 13:
        return f"relay port {path} may not be opened by this user; join the group that owns it (often dialout)"
    if number in {errno.EISDIR, errno.ENOTTY} or isinstance(error, ValueError):  # a folder, an ordinary file, foo://
        return f"relay port {path!r} is no serial port; name the board's in the rig file, best as /dev/serial/by-id/..."
    if number in {11, 16}:
        return f"relay port {path} is in use by another program; end that program"
    return f"relay port {path} failed ({error}); check the cable and the power of the relay board"


def _error_number(error: BaseException) -> int | None:
    """Return the system's number of an error; pyserial drops that of a port which cannot be configured."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    cause = error if isinstance(error, termios.error) else error.__context__
    return int(cause.args[0]) if isinstance(cause, termios.error) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
