"""What emulated relay boards understand and say: one small codec a board, fed byte by byte, without I/O or time.

Written from the boards' data sheets (reference/hardware.md, section 3) and from nothing else: our driver's codecs are
tested against these, and so must not share a line with them. A codec finds its way back after noise.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

_ALL = 0


@dataclass(frozen=True)
class Switch:
    """The command to switch a channel (from 1; 0 is all) on or off; `for_s` is a time set in the board's own timer."""

    channel: int
    on: bool
    for_s: float | None = None


@dataclass(frozen=True)
class Toggle:
    """The command to change a channel (0 is all)."""

    channel: int


@dataclass(frozen=True)
class SwitchAll:
    """The command that gives every channel its state, from the first on; channels without one stay."""

    on: tuple[bool, ...]


@dataclass(frozen=True)
class AskStatus:
    """A question; for the state of all channels (0) or one, unless it says what else."""

    channel: int = _ALL
    what: str = "state"


Command = Switch | Toggle | SwitchAll | AskStatus
States = Sequence[bool]


class Codec(Protocol):
    """A board's side of the line."""

    def feed(self, byte: int) -> Command | None:
        """Take one byte; return the command that it completes, if any."""
        ...

    def answer(self, command: Command, states: States) -> bytes:
        """Return what the board says once it has carried out the command fed last; `states[0]` is channel 1."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of board.

    Attributes
    ----------
    codec
        Makes its codec.
    channels
        How many relays the boards sold have; the first is the emulator's usual one.
    byte_s
        How long a byte takes on its line.
    min_gap_s
        A command sooner than this after the last obeyed one is lost. Data sheets seldom tell it. It is set below
        what clients in the field wait, since a busy machine may hold the emulator up as no real board is held up.
    bus_powered
        Whether its relays fall open when the USB cable is pulled.
    """

    codec: Callable[[], Codec]
    channels: tuple[int, ...]
    byte_s: float
    min_gap_s: float
    bus_powered: bool


class Lcus:
    """`A0 n s (A0+n+s)&FF` switches; `FF` asks a board of two or more channels for its state as text.

    >>> codec = Lcus()
    >>> [codec.feed(byte) for byte in bytes.fromhex("A0 01 01 A2")][-1]
    Switch(channel=1, on=True, for_s=None)
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, byte: int) -> Command | None:
        self._held.append(byte)
        while self._held:
            if self._held[0] == 0xFF:
                del self._held[0]
                return AskStatus()
            if self._held[0] == 0xA0:
                if len(self._held) < 4:
                    return None
                _, channel, state, check = self._held
                if state in (0, 1) and check == (0xA0 + channel + state) & 0xFF:
                    self._held.clear()
                    return Switch(channel, on=bool(state))
            del self._held[0]  # noise: look for a command from the next byte on
        return None

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus) or len(states) == 1:
            return b""  # "many boards return nothing": the LCUS-1
        return "".join(f"CH{channel}: {'ON ' if on else 'OFF'}\r\n" for channel, on in enumerate(states, start=1)).encode()


class Hw667:
    """`AA` on, `BB` off, `CC` on for a second."""

    def feed(self, byte: int) -> Command | None:
        return {0xAA: Switch(1, on=True), 0xBB: Switch(1, on=False), 0xCC: Switch(1, on=True, for_s=1.0)}.get(byte)

    def answer(self, command: Command, states: States) -> bytes:  # noqa: ARG002 - it never says anything
        return b""


class Kmtronic:
    """`FF n 01` and `FF n 00` switch; `FF n 03` asks (1 and 2 channels), `FF 09 00` asks for all (4 and 8)."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, byte: int) -> Command | None:
        self._held.append(byte)
        while self._held and self._held[0] != 0xFF:
            del self._held[0]
        if len(self._held) < 3:
            return None
        _, channel, what = self._held
        if channel == 0xFF or what > 3:
            del self._held[0]
            return None
        self._held.clear()
        if (channel, what) == (9, 0):
            return AskStatus()
        if what == 3:
            return AskStatus(channel)
        return Switch(channel, on=bool(what)) if what < 2 else None

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus):
            return b""
        if command.channel == _ALL:
            return bytes(states) if len(states) > 2 else b""
        one_asked = len(states) <= 2 and command.channel <= len(states)
        return bytes([0xFF, command.channel, states[command.channel - 1]]) if one_asked else b""


class Numato:
    """Lines of text ended by a carriage return, echoed, with a prompt `>` after each answer; relays count 0 to 9, A to V."""

    _NAMES = "0123456789ABCDEFGHIJKLMNOPQRSTUV"

    def __init__(self) -> None:
        self._held = bytearray()
        self._line = ""

    def feed(self, byte: int) -> Command | None:
        if byte != ord("\r"):
            self._held = self._held[-80:] + bytes([byte])
            return None
        self._line = self._held.decode("latin-1").lstrip("\n")
        self._held.clear()
        words = self._line.split(" ")
        if words == ["reset"]:
            return Switch(_ALL, on=False)
        if words[0] != "relay" or len(words) < 2:
            return AskStatus(what="nothing")  # it still prompts
        return self._relay_command(words[1], words[2] if len(words) > 2 else "")

    def answer(self, command: Command, states: States) -> bytes:
        said = ""
        if command == AskStatus():
            mask = sum(on << bit for bit, on in enumerate(states))
            said = f"{mask:0{max(1, len(states) // 4)}x}\n\r"
        elif isinstance(command, AskStatus) and command.what == "state" and command.channel <= len(states):
            said = ("on" if states[command.channel - 1] else "off") + "\n\r"
        return f"{self._line}\n\r{said}>".encode("latin-1")

    def _relay_command(self, verb: str, what: str) -> Command:
        if verb == "readall":
            return AskStatus()
        if verb == "writeall" and re.fullmatch("[0-9a-fA-F]{1,8}", what):
            mask = int(what, 16)
            return SwitchAll(tuple(bool(mask >> bit & 1) for bit in range(4 * len(what))))
        if len(what) == 1 and what in self._NAMES:
            channel = self._NAMES.index(what) + 1
            if verb in ("on", "off"):
                return Switch(channel, on=verb == "on")
            if verb == "read":
                return AskStatus(channel)
        return AskStatus(what="nothing")


class SainSmart16:
    """Modbus ASCII, slave FE: function 05 switches a coil, 0F all sixteen, 01 reads them; the check is not looked at.

    The vendor's own table has wrong checks, so the board seems to ignore them.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._line = b""

    def feed(self, byte: int) -> Command | None:
        self._held = bytearray(b":") if byte == ord(":") else self._held[-80:] + bytes([byte])
        if not self._held.endswith(b"\r\n"):
            return None
        self._line = bytes(self._held)
        self._held.clear()
        found = re.fullmatch(rb":FE(05|0F|01)([0-9A-F]{4})([0-9A-F]{4})([0-9A-F]*)\r\n", self._line)
        if found is None:
            return None
        function, first, value = found[1], int(found[2], 16), int(found[3], 16)
        if function == b"01":
            return AskStatus()
        if function == b"05":
            return {0xFF00: Switch(first + 1, on=True), 0: Switch(first + 1, on=False)}.get(value)
        masks = bytes.fromhex(found[4].decode()[2:6])
        return SwitchAll(tuple(bool(masks[coil // 8] >> coil % 8 & 1) for coil in range(value))) if len(masks) == 2 else None

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus):
            return self._line
        content = bytes([0xFE, 0x01, 0x02]) + _coil_mask(states)
        check = (0x100 - sum(content) % 0x100) % 0x100
        return f":{content.hex()}{check:02x}\r\n".upper().encode()


class WaveshareRtu:
    """Modbus RTU, address 1: `05 00` on a coil (FF is all), `05 02` "flash on" for N x 0.1 s, `01` reads; writes are echoed."""

    _FRAME_BYTES = 8

    def __init__(self) -> None:
        self._held = bytearray()
        self._frame = b""

    def feed(self, byte: int) -> Command | None:
        self._held.append(byte)
        if len(self._held) < self._FRAME_BYTES:
            return None
        if self._held[0] != 1 or crc16(self._held) != 0:
            del self._held[0]
            return None
        self._frame = bytes(self._held)
        self._held.clear()
        if self._frame[1] == 1:
            return AskStatus()
        return self._switching(self._frame) if self._frame[1] == 5 else None

    @staticmethod
    def _switching(frame: bytes) -> Command | None:
        kind, coil, value = frame[2], frame[3], frame[4] << 8 | frame[5]
        channel = _ALL if coil == 0xFF else coil + 1
        if kind == 2:
            return Switch(channel, on=True, for_s=value / 10)
        commands: dict[int, Command] = {
            0xFF00: Switch(channel, on=True),
            0x0000: Switch(channel, on=False),
            0x5500: Toggle(channel),
        }
        return commands.get(value) if kind == 0 else None

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus):
            return self._frame
        content = bytes([1, 1, (len(states) + 7) // 8]) + _coil_mask(states)
        check = crc16(content)
        return content + bytes([check & 0xFF, check >> 8])


class Devantech:
    """Single bytes: `64` all on, `65`-`6C` on, `6E` all off, `6F`-`76` off, `5C mask`; `5B` mask, `5A` id, `5D` volts."""

    def __init__(self) -> None:
        self._awaits_mask = False

    def feed(self, byte: int) -> Command | None:
        if self._awaits_mask:
            self._awaits_mask = False
            return SwitchAll(tuple(bool(byte >> bit & 1) for bit in range(8)))
        if byte == 0x5C:
            self._awaits_mask = True
            return None
        if 0x64 <= byte <= 0x6C:
            return Switch(byte - 0x64, on=True)
        if 0x6E <= byte <= 0x76:
            return Switch(byte - 0x6E, on=False)
        return {0x5A: AskStatus(what="id"), 0x5B: AskStatus(), 0x5D: AskStatus(what="volts")}.get(byte)

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus):
            return b""
        return {"id": b"\x09\x01", "volts": b"\x78", "state": _coil_mask(states)}[command.what]


class Denkovi16:
    """`01+//` and `01-//` switch, `on//` and `off//` all; `ask//` is answered by two bytes, relay 1 the highest bit."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, byte: int) -> Command | None:
        self._held = (self._held + bytes([byte]))[-16:]
        found = re.search(rb"(\d\d)([+-])//$|(on|off|ask)//$", self._held)
        if found is None:
            return None
        self._held = b""
        if found[3] == b"ask":
            return AskStatus()
        if found[3]:
            return Switch(_ALL, on=found[3] == b"on")
        return Switch(int(found[1]), on=found[2] == b"+") if int(found[1]) else None

    def answer(self, command: Command, states: States) -> bytes:
        if not isinstance(command, AskStatus):
            return b""
        bits = "".join("1" if on else "0" for on in states)
        return bytes([int(bits[:8], 2), int(bits[8:], 2)])


class EnttecDmx:
    """`7E label lenL lenH data E7`: label 6 with start code 0 sets the dimmers; more than half light counts as on."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, byte: int) -> Command | None:
        self._held.append(byte)
        while self._held:
            if self._held[0] == 0x7E:
                if len(self._held) < 4:
                    return None
                size = self._held[2] | self._held[3] << 8
                if size <= 600 and len(self._held) < size + 5:
                    return None
                if size <= 600 and self._held[size + 4] == 0xE7:
                    label, content = self._held[1], bytes(self._held[4:-1])
                    self._held.clear()
                    is_light = label == 6 and len(content) >= 25 and content[0] == 0
                    return SwitchAll(tuple(level > 127 for level in content[1:])) if is_light else None
            del self._held[0]
        return None

    def answer(self, command: Command, states: States) -> bytes:  # noqa: ARG002 - it never says anything
        return b""


def crc16(content: bytes | bytearray) -> int:
    """Return the CRC-16/MODBUS of some bytes; 0 over a whole frame, whose CRC stands at its end, low byte first.

    >>> hex(crc16(bytes.fromhex("01 05 00 00 FF 00")))
    '0x3a8c'
    """
    crc = 0xFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


def _coil_mask(states: States) -> bytes:
    """Pack states as Modbus and Devantech do: the first channel is the lowest bit of the first byte."""
    return sum(on << bit for bit, on in enumerate(states)).to_bytes((len(states) + 7) // 8, "little")


_CRC_TABLE = [_crc_entry(value) for value in range(256)]
_AT_9600_S = 10 / 9600  # a start bit, eight bits, a stop bit
_AT_USB_S = 1e-5

KINDS = {
    "lcus": Kind(Lcus, (2, 1, 4, 8), _AT_9600_S, 0.02, bus_powered=True),
    "hw-667": Kind(Hw667, (1,), _AT_9600_S, 0.02, bus_powered=True),
    "kmtronic-2": Kind(Kmtronic, (2, 1), _AT_9600_S, 0.01, bus_powered=True),
    "kmtronic-8": Kind(Kmtronic, (8, 4), _AT_9600_S, 0.01, bus_powered=True),
    "numato": Kind(Numato, (8, 1, 2, 4, 16, 32), _AT_USB_S, 0.002, bus_powered=True),
    "sainsmart-16": Kind(SainSmart16, (16,), _AT_9600_S, 0.02, bus_powered=False),
    "waveshare": Kind(WaveshareRtu, (8, 1, 4), _AT_9600_S, 0.005, bus_powered=False),
    "devantech": Kind(Devantech, (8, 2), _AT_USB_S, 0.001, bus_powered=True),
    "denkovi-16": Kind(Denkovi16, (16,), _AT_9600_S, 0.02, bus_powered=False),
    "enttec-dmx": Kind(EnttecDmx, (512,), _AT_USB_S, 0.0, bus_powered=True),
}
