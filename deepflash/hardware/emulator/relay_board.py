"""An emulated LCUS relay board: a process behind a pseudo-terminal that pyserial opens like `/dev/ttyUSB0`.

    python -m deepflash.hardware.emulator.relay_board --link STUDIO/relay --log STUDIO/lamps.jsonl

What it knows of the board comes from its product text (reference/hardware.md, section 3), not from our driver:
9600 baud 8N1; `A0 n s (A0+n+s)&FF` switches channel n to s; `FF` asks a board of two or more channels for its state as
text; nothing is acknowledged; a command that follows too soon is lost. Each switching is a line of the log:
`{"at_s": ..., "channel": 1, "on": true, "cause": "command"}`, the cause being `power` when the board comes up or goes.

The process ends when its standard input does, so that it never outlives the studio that started it; but while a
relay is on it waits up to 2 s for somebody (the lamp guard) to switch it off, as a real board would still be there.
"""

import argparse
import os
import select
import signal
import sys
import time
import tty
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepflash.errors import HardwareError
from deepflash.hardware.emulator.journal import Journal

BYTE_S = 10 / 9600  # a start bit, eight bits, a stop bit
GRACE_S = 2.0
_START = 0xA0
_STATUS = 0xFF
_FRAME_BYTES = 4
_BACKLOG_BYTES = 1024  # what waits on the modelled line before the board stops reading the pty


@dataclass(frozen=True)
class Switch:
    """The command to switch a channel (1 to 255) on or off."""

    channel: int
    on: bool


@dataclass(frozen=True)
class AskStatus:
    """The question for the state of all channels."""


class Decoder:
    """Finds commands in a stream of bytes, and finds its way back after noise.

    >>> decoder = Decoder()
    >>> [decoder.feed(byte) for byte in bytes.fromhex("A0 01 01 A2")][-1]
    Switch(channel=1, on=True)
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, byte: int) -> Switch | AskStatus | None:
        """Take one byte; return the command that it completes, if any."""
        self._held.append(byte)
        while self._held:
            if self._held[0] == _STATUS:
                del self._held[0]
                return AskStatus()
            if self._held[0] == _START:
                if len(self._held) < _FRAME_BYTES:
                    return None
                if self._is_frame():
                    command = Switch(self._held[1], on=bool(self._held[2]))
                    self._held.clear()
                    return command
            del self._held[0]  # noise: look for a command from the next byte on
        return None

    def _is_frame(self) -> bool:
        start, channel, state, check = self._held
        return state in (0, 1) and check == (start + channel + state) & 0xFF


class Board:
    """The relays, the log of their switching and the board's deaf time. Knows nothing of ptys; time is told to it.

    Parameters
    ----------
    journal
        Where each switching is written; coming up writes all channels off.
    channels
        1, 2, 4 or 8 on the boards sold.
    min_gap_s
        A command sooner than this after the last obeyed one is lost. The true value is not in the data sheet;
        clients in the field wait 10 to 100 ms. Far below what our driver waits, since a busy machine may hold
        this process up between two commands as no real board is held up.
    """

    def __init__(self, journal: Journal, *, channels: int, min_gap_s: float, now_s: float) -> None:
        self._journal = journal
        self._min_gap_s = min_gap_s
        self._deaf_until_s = float("-inf")
        self._on = dict.fromkeys(range(1, channels + 1), True)
        self.cut_power(now_s)

    @property
    def is_lit(self) -> bool:
        return any(self._on.values())

    def obey(self, command: Switch | AskStatus, now_s: float) -> bytes:
        """Carry out a command that has arrived at `now_s`; return the board's answer (mostly none).

        Faults of the board (issue: chaos) belong here.
        """
        if isinstance(command, AskStatus):
            return self._status()
        if command.channel in self._on and now_s >= self._deaf_until_s:
            self._deaf_until_s = now_s + self._min_gap_s
            self._switch(command.channel, command.on, now_s, "command")
        return b""

    def cut_power(self, now_s: float) -> None:
        """Let all relays that are on fall open."""
        for channel, on in self._on.items():
            if on:
                self._switch(channel, False, now_s, "power")

    def _switch(self, channel: int, on: bool, now_s: float, cause: str) -> None:
        if self._on[channel] != on:
            self._on[channel] = on
            self._journal.append({"at_s": now_s, "channel": channel, "on": on, "cause": cause})

    def _status(self) -> bytes:
        if len(self._on) == 1:
            return b""  # "many boards return nothing": the LCUS-1
        return "".join(f"CH{channel}: {'ON ' if on else 'OFF'}\r\n" for channel, on in self._on.items()).encode()


class Line:
    """The serial line at 9600 baud: tells when a byte that was written has arrived."""

    def __init__(self) -> None:
        self._free_s = 0.0
        self._incoming: deque[tuple[float, int]] = deque()

    @property
    def is_backed_up(self) -> bool:
        return len(self._incoming) >= _BACKLOG_BYTES

    @property
    def next_s(self) -> float | None:
        return self._incoming[0][0] if self._incoming else None

    def write(self, content: bytes, now_s: float) -> None:
        """Put bytes on the line at `now_s`, behind those already on it."""
        for byte in content:
            self._free_s = max(self._free_s, now_s) + BYTE_S
            self._incoming.append((self._free_s, byte))

    def arrived(self, now_s: float) -> bytes:
        """Return the bytes that have arrived by `now_s`."""
        content = bytearray()
        while self._incoming and self._incoming[0][0] <= now_s:
            content.append(self._incoming.popleft()[1])
        return bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the board until standard input ends, or SIGTERM or SIGINT comes; return the exit code."""
    options = _parse(arguments)
    for cause in (signal.SIGTERM, signal.SIGINT):
        signal.signal(cause, lambda *_: sys.exit(0))
    try:
        journal = Journal(options.log)
    except HardwareError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    board = Board(journal, channels=options.channels, min_gap_s=options.min_gap_ms / 1000, now_s=time.monotonic())
    master, slave = os.openpty()
    tty.setraw(slave)  # else the terminal echoes and rewrites line ends; the slave stays open, or the master reads EIO
    os.set_blocking(master, False)
    name = os.ttyname(slave)
    _publish(name, options.link)
    sys.stdout.write(f"{options.link}\n")  # the board is ready
    sys.stdout.flush()
    try:
        _serve(board, master)
    finally:
        board.cut_power(time.monotonic())
        _withdraw(name, options.link)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relay_board", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--link", type=Path, required=True, help="symbolic link that names the board's terminal")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, one for each switching of a relay")
    parser.add_argument("--channels", type=int, choices=(1, 2, 4, 8), default=2, help="number of relays (default 2)")
    parser.add_argument("--min-gap-ms", type=float, default=20.0, help="a command sooner than this is lost (default 20)")
    return parser.parse_args(arguments)


def _serve(board: Board, master: int) -> None:
    """Carry bytes between the pty, the modelled line and the board until the lifeline (standard input) ends."""
    decoder, line = Decoder(), Line()
    lifeline: int | None = sys.stdin.fileno()
    end_s = float("inf")
    while (now_s := time.monotonic()) < end_s and (lifeline is not None or board.is_lit):
        sources = [fd for fd in (lifeline, None if line.is_backed_up else master) if fd is not None]
        due_s = min(end_s, line.next_s if line.next_s is not None else float("inf"))
        ready, _, _ = select.select(sources, [], [], None if due_s == float("inf") else max(0.0, due_s - now_s))
        if lifeline in ready and lifeline is not None and not os.read(lifeline, 4096):
            lifeline, end_s = None, time.monotonic() + GRACE_S
        if master in ready:
            line.write(os.read(master, 4096), time.monotonic())
        for byte in line.arrived(time.monotonic()):
            command = decoder.feed(byte)
            if command is not None:
                _answer(master, board.obey(command, time.monotonic()))


def _answer(master: int, content: bytes) -> None:
    if content:
        time.sleep(len(content) * BYTE_S)
        try:
            os.write(master, content)
        except BlockingIOError:
            return  # nobody reads: like a UART, the board does not keep what it has said


def _publish(name: str, link: Path) -> None:
    """Make `link` lead to the terminal, replacing what a killed board left there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(name)
    temporary.replace(link)


def _withdraw(name: str, link: Path) -> None:
    if link.is_symlink() and str(link.readlink()) == name:
        link.unlink()


if __name__ == "__main__":
    sys.exit(main())
