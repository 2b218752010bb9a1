"""The process that owns the lamps' serial port and switches them off, whatever happens to the others.

Run as `python -m deepflash.hardware.lamp_guard PORT BOARD CHANNEL MAX_ON_S`. It reads JSON lines on
its input, `{"id": 7, "do": "on" | "off"}` and `{"do": "beat"}`, and answers each with a line; it tells
of every command written to the board, with its time on CLOCK_MONOTONIC, in lines `{"event": "switched", ...}`,
of what the board says of itself (`seen`) and of what is wrong (`fault`), see `lamp_switch`.

The lamps go off, and the off is confirmed by the board or else repeated, because a board may drop a command,

- at the start, before anything else;
- when the input ends, as it does when the parent is killed;
- 0.5 s after the last beat, as when the parent is stopped or hangs;
- when they have been on for the rig's `max_on_s`;
- at SIGTERM, SIGINT and SIGHUP;
- when the port works again after a failure;
- again and again while the board says that they are on although they were switched off.

What it cannot do: switch lamps off while it is itself killed *and* its parent with it, or through a
cable that has been pulled. Only a board with a timer of its own covers that; where the board has one, lamps are
never switched on for longer than `lamp_switch.HOLD_S`.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from deepflash.errors import RelayError
from deepflash.hardware.lamp_switch import Switch, Tell

BEAT_LIMIT_S = 0.5

_IDLE_S = 60.0


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
            with suppress(RelayError):  # told of by the switch, which gets its port back
                self._check_limits()
                self._switch.tend()

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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
