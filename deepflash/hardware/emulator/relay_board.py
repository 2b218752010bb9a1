"""An emulated relay board: a process behind a pseudo-terminal that pyserial opens like `/dev/ttyUSB0`, or behind a socket.

    python -m deepflash.hardware.emulator.relay_board --link STUDIO/relay --log STUDIO/lamps.jsonl [--board waveshare]

It plays any board of `relay_codecs`. Each switching is a line of the log: `{"at_s": ..., "channel": 1, "on": true,
"cause": "command"}`, the cause being `timer` when a timer in the board ran out, and `power` when the board comes up or
loses its power. Its faults are ordered in the log's folder, see `faults`: deaf, mute, unplugged; a board that was
unplugged comes back under a new terminal with the same link.

With `--listen PORT` it stands behind a terminal server on loopback instead, for `socket://127.0.0.1:PORT`.

The process ends when its standard input does, so that it never outlives the studio that started it; but while a
relay is on it waits up to 2 s for somebody (the lamp guard) to switch it off, as a real board would still be there.
"""

import argparse
import os
import select
import signal
import socket
import sys
import time
import tty
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from deepflash.errors import HardwareError
from deepflash.hardware.emulator.faults import Fault, Faults
from deepflash.hardware.emulator.journal import Journal
from deepflash.hardware.emulator.relay_codecs import KINDS, AskStatus, Codec, Command, Kind, Switch, SwitchAll, Toggle

GRACE_S = 2.0
_BACKLOG_BYTES = 1024  # what waits on the modelled line before the board stops reading its port
_LOOK_S = 0.02  # how often the board looks whether it has been unplugged

Strikes = Callable[[str], Fault | None]


class Board:
    """The relays, their timers, the log of their switching and the board's gap. Knows nothing of ports; time is told to it.

    Parameters
    ----------
    journal
        Where each switching is written; coming up writes all channels off.
    codec
        What the board understands and says.
    channels
        How many relays it has.
    min_gap_s
        A command sooner than this after the last obeyed one is lost.
    strikes
        Tells whether a fault strikes now, see `Faults.strikes`.
    """

    def __init__(
        self, journal: Journal, codec: Codec, *, channels: int, min_gap_s: float, strikes: Strikes, now_s: float
    ) -> None:
        self._journal = journal
        self._codec = codec
        self._min_gap_s = min_gap_s
        self._strikes = strikes
        self._gap_until_s = float("-inf")
        self._on = dict.fromkeys(range(1, channels + 1), True)
        self._timers: dict[int, float] = {}
        self.cut_power(now_s)

    @property
    def is_lit(self) -> bool:
        return any(self._on.values())

    @property
    def next_s(self) -> float:
        """When the next timer runs out."""
        return min(self._timers.values(), default=float("inf"))

    def take(self, byte: int, now_s: float) -> bytes:
        """Take a byte that has arrived at `now_s`; return what the board says to it (mostly nothing)."""
        command = self._codec.feed(byte)
        if command is None or self._strikes("deaf") is not None:
            return b""
        if not isinstance(command, AskStatus):
            if now_s < self._gap_until_s or not self._channels_of(command):
                return b""
            self._gap_until_s = now_s + self._min_gap_s
            self._carry_out(command, now_s)
        answer = self._codec.answer(command, tuple(self._on.values()))
        return b"" if not answer or self._strikes("mute") is not None else answer

    def run_timers(self, now_s: float) -> None:
        """Switch off what is due."""
        for channel, due_s in sorted(self._timers.items(), key=lambda item: item[1]):
            if due_s <= now_s:
                self._switch(channel, False, due_s, "timer")

    def cut_power(self, now_s: float) -> None:
        """Let all relays that are on fall open."""
        for channel in self._on:
            self._switch(channel, False, now_s, "power")

    def _channels_of(self, command: Command) -> list[int]:
        if isinstance(command, Switch | Toggle) and command.channel != 0:
            return [command.channel] if command.channel in self._on else []
        return list(self._on)

    def _carry_out(self, command: Command, now_s: float) -> None:
        channels = self._channels_of(command)
        match command:
            case Switch(_, on, for_s):
                for channel in channels:
                    self._switch(channel, on, now_s, "command")
                    if for_s is not None:
                        self._timers[channel] = now_s + for_s
            case Toggle():
                for channel in channels:
                    self._switch(channel, not self._on[channel], now_s, "command")
            case SwitchAll(states):
                for channel, on in zip(channels, states, strict=False):
                    self._switch(channel, on, now_s, "command")

    def _switch(self, channel: int, on: bool, now_s: float, cause: str) -> None:
        self._timers.pop(channel, None)
        if self._on[channel] != on:
            self._on[channel] = on
            self._journal.append({"at_s": now_s, "channel": channel, "on": on, "cause": cause})


class Line:
    """The serial line: tells when a byte that was written has arrived."""

    def __init__(self, byte_s: float) -> None:
        self.byte_s = byte_s
        self._free_s = 0.0
        self._incoming: deque[tuple[float, int]] = deque()

    @property
    def is_backed_up(self) -> bool:
        return len(self._incoming) >= _BACKLOG_BYTES

    @property
    def next_s(self) -> float:
        """When the next byte arrives."""
        return self._incoming[0][0] if self._incoming else float("inf")

    def write(self, content: bytes, now_s: float) -> None:
        """Put bytes on the line at `now_s`, behind those already on it."""
        for byte in content:
            self._free_s = max(self._free_s, now_s) + self.byte_s
            self._incoming.append((self._free_s, byte))

    def arrived(self, now_s: float) -> bytes:
        """Return the bytes that have arrived by `now_s`."""
        content = bytearray()
        while self._incoming and self._incoming[0][0] <= now_s:
            content.append(self._incoming.popleft()[1])
        return bytes(content)

    def clear(self) -> None:
        """Lose what is under way."""
        self._incoming.clear()


class Port(Protocol):
    """Where the computer's end of the line is."""

    address: str

    def plug_in(self) -> None:
        """Appear."""
        ...

    def unplug(self) -> None:
        """Vanish."""
        ...

    def sources(self) -> list[int]:
        """Return the descriptors to wait for."""
        ...

    def receive(self, source: int) -> bytes:
        """Read from a descriptor that is ready."""
        ...

    def send(self, content: bytes) -> None:
        """Say something to whoever listens; like a UART, it does not keep what nobody reads."""
        ...


class Terminal:
    """A pseudo-terminal behind a symbolic link, as udev would make one for a USB adapter."""

    def __init__(self, link: Path) -> None:
        self.address = str(link)
        self._link = link
        self._name = ""

    def plug_in(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # else the terminal echoes and rewrites line ends; it stays open, or the master reads EIO
        os.set_blocking(self._master, False)
        self._name = os.ttyname(self._slave)
        self._link.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._link.with_name(f".{self._link.name}.{os.getpid()}")
        temporary.symlink_to(self._name)
        temporary.replace(self._link)  # replaces what a killed board left there

    def unplug(self) -> None:
        if not self._name:
            return
        if self._link.is_symlink() and str(self._link.readlink()) == self._name:
            self._link.unlink()
        self._name = ""
        os.close(self._slave)
        os.close(self._master)

    def sources(self) -> list[int]:
        return [self._master] if self._name else []

    def receive(self, source: int) -> bytes:
        return os.read(source, 4096)

    def send(self, content: bytes) -> None:
        if self._name:
            with suppress(BlockingIOError):
                os.write(self._master, content)


class Socket:
    """A terminal server on loopback; serves one client, the latest."""

    def __init__(self, port: int) -> None:
        self._place = ("127.0.0.1", port)
        self._server: socket.socket | None = None
        self._client: socket.socket | None = None
        self.address = ""

    def plug_in(self) -> None:
        self._server = socket.create_server(self._place)
        self._place = self._server.getsockname()
        self.address = f"socket://{self._place[0]}:{self._place[1]}"

    def unplug(self) -> None:
        for end in (self._client, self._server):
            if end is not None:
                end.close()
        self._client = self._server = None

    def sources(self) -> list[int]:
        return [end.fileno() for end in (self._server, self._client) if end is not None]

    def receive(self, source: int) -> bytes:
        if self._server is not None and source == self._server.fileno():
            self._hang_up()
            self._client = self._server.accept()[0]
            self._client.setblocking(False)
            return b""
        if self._client is None or source != self._client.fileno():
            return b""  # hung up a moment ago
        with suppress(ConnectionError):
            content = self._client.recv(4096)
            if content:
                return content
        self._hang_up()
        return b""

    def send(self, content: bytes) -> None:
        if self._client is not None:
            with suppress(BlockingIOError, ConnectionError):
                self._client.send(content)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the board until standard input ends, or SIGTERM or SIGINT comes; return the exit code."""
    options = _parse(arguments)
    for cause in (signal.SIGTERM, signal.SIGINT):
        signal.signal(cause, lambda *_: sys.exit(0))
    kind = KINDS[options.board]
    channels = options.channels or kind.channels[0]
    min_gap_s = kind.min_gap_s if options.min_gap_ms is None else options.min_gap_ms / 1000
    try:
        journal = Journal(options.log)
        faults = Faults(options.log.parent, "relay")
    except HardwareError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    board = Board(journal, kind.codec(), channels=channels, min_gap_s=min_gap_s, strikes=faults.strikes, now_s=time.monotonic())
    port: Port = Terminal(options.link) if options.listen is None else Socket(options.listen)
    port.plug_in()
    sys.stdout.write(f"{port.address}\n")  # the board is ready
    sys.stdout.flush()
    try:
        _serve(board, port, kind, faults)
    finally:
        board.cut_power(time.monotonic())
        port.unplug()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relay_board", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--link", type=Path, help="symbolic link that names the board's terminal")
    where.add_argument("--listen", type=int, metavar="PORT", help="TCP port on loopback instead of a terminal; 0: any")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, one for each switching of a relay")
    parser.add_argument("--board", choices=KINDS, default="lcus", help="kind of board (default lcus)")
    parser.add_argument("--channels", type=int, help="number of relays (default: as sold, see relay_codecs)")
    parser.add_argument("--min-gap-ms", type=float, help="a command sooner than this is lost (default: see relay_codecs)")
    options = parser.parse_args(arguments)
    sold = KINDS[options.board].channels
    if options.channels not in (None, *sold):
        parser.error(f"a {options.board} has {', '.join(map(str, sold))} channels")
    return options


def _serve(board: Board, port: Port, kind: Kind, faults: Faults) -> None:
    """Carry bytes between the port, the modelled line and the board until the lifeline (standard input) ends."""
    line = Line(kind.byte_s)
    lifeline: int | None = sys.stdin.fileno()
    end_s = float("inf")
    unplugged = False
    while (now_s := time.monotonic()) < end_s and (lifeline is not None or board.is_lit):
        if unplugged != (faults.lasting("unplugged") is not None):
            unplugged = not unplugged
            _plug(board, port, line, kind, faults, unplugged)
        sources = [*port.sources()] if not line.is_backed_up else []
        sources += [] if lifeline is None else [lifeline]
        due_s = min(end_s, line.next_s, board.next_s, now_s + _LOOK_S)
        ready, _, _ = select.select(sources, [], [], max(0.0, due_s - now_s))
        for source in ready:
            if source != lifeline:
                line.write(port.receive(source), time.monotonic())
            elif not os.read(source, 4096):
                lifeline, end_s = None, time.monotonic() + GRACE_S
        board.run_timers(time.monotonic())
        for byte in line.arrived(time.monotonic()):
            answer = board.take(byte, time.monotonic())
            if answer:
                time.sleep(len(answer) * kind.byte_s)
                port.send(answer)


def _plug(board: Board, port: Port, line: Line, kind: Kind, faults: Faults, out: bool) -> None:
    """Pull the board's cable out or put it back."""
    if not out:
        port.plug_in()
        return
    faults.strikes("unplugged")
    port.unplug()
    line.clear()
    if kind.bus_powered:
        board.cut_power(time.monotonic())


if __name__ == "__main__":
    sys.exit(main())
