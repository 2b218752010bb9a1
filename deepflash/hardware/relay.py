"""Byte codecs of relay boards, without I/O: what to write so that a channel switches, and what the answers mean.

Boards are rows of a table; the port belongs to the lamp guard alone. Sources of the frames: the
boards' data sheets, as quoted in the project's hardware reference, section 3. Channels count from 1
here, whatever the board calls them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from deepflash.errors import RelayError

_MODBUS_RTU_ADDRESS = 1
_MODBUS_ASCII_ADDRESS = 0xFE
_NUMATO_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_DMX_SHORTEST = 24  # slots; the widget ignores shorter frames


@dataclass(frozen=True)
class ReadBack:
    """How a board is asked for the state of a channel.

    Attributes
    ----------
    question
        `question(channel)` returns the bytes to write.
    state
        `state(answer, channel)` returns whether the channel is on; None while the answer, to which echoes
        of commands may belong, is not whole.
    is_sure
        Whether every board of this kind answers.
    """

    question: Callable[[int], bytes]
    state: Callable[[bytes, int], bool | None]
    is_sure: bool = True


@dataclass(frozen=True)
class Board:
    """What the lamp guard has to know of a kind of relay board.

    Attributes
    ----------
    baud_rate
        Of the serial line; 8 data bits, no parity, 1 stop bit.
    min_gap_s
        Shortest time between two commands; boards drop what comes sooner.
    channels
        Highest channel number; the first is 1.
    frame
        `frame(channel, on)` returns the bytes that switch one channel.
    title
        What the board is sold as.
    usb_ids
        Vendor and product number of its USB chip, where that tells something; chips serve many boards.
    read_back
        How its state is read; None if it cannot be.
    timed_on
        `timed_on(channel, duration_s)` returns the bytes that switch a channel on for so long, by a timer in
        the board; None if it has none.
    """

    baud_rate: int
    min_gap_s: float
    channels: int
    frame: Callable[[int, bool], bytes]
    title: str
    usb_ids: tuple[tuple[int, int], ...] = ()
    read_back: ReadBack | None = None
    timed_on: Callable[[int, float], bytes] | None = None


def switch_frame(board: str, channel: int, on: bool) -> bytes:
    """Return the bytes that switch one channel of a board.

    Raises
    ------
    RelayError
        if the board is unknown or has no such channel.

    >>> switch_frame("lcus", 1, on=True).hex(" ")
    'a0 01 01 a2'
    """
    return _checked(board, channel).frame(channel, on)


def timed_on_frame(board: str, channel: int, duration_s: float) -> bytes | None:
    """Return the bytes that switch a channel on for a while, by the board's own timer; None if it has none.

    Errors as `switch_frame`.

    >>> timed_on_frame("waveshare", 1, 0.7).hex(" ")
    '01 05 02 00 00 07 8d b0'
    """
    known = _checked(board, channel)
    return None if known.timed_on is None else known.timed_on(channel, duration_s)


def find_board(name: str) -> Board:
    """Return the board of that name.

    Raises
    ------
    RelayError
        if there is none; the sentence lists those that there are.
    """
    if name not in BOARDS:
        raise RelayError(f"relay board {name!r} is not known; use one of {', '.join(BOARDS)}")
    return BOARDS[name]


def boards_with_chip(vendor: int | None, product: int | None) -> tuple[str, ...]:
    """Return the names of the boards that are sold with a USB chip.

    >>> boards_with_chip(0x1A86, 0x7523)
    ('lcus', 'hw-667', 'sainsmart-16')
    """
    return tuple(name for name, board in BOARDS.items() if (vendor, product) in board.usb_ids)


def _checked(name: str, channel: int) -> Board:
    board = find_board(name)
    if not 1 <= channel <= board.channels:
        raise RelayError(f"relay board {name!r} has no channel {channel}; use 1 to {board.channels}")
    return board


def _lcus_frame(channel: int, on: bool) -> bytes:
    start, state = 0xA0, int(on)
    return bytes([start, channel, state, (start + channel + state) & 0xFF])


def _lcus_state(answer: bytes, channel: int) -> bool | None:
    """Read a line `CH1: ON` or `CH1: OFF` for each channel; some boards are said to send a byte 00 or 01 for each."""
    line = re.search(rb"CH%d: ?(ON|OFF)\s*\r\n" % channel, answer)
    if line:
        return line[1] == b"ON"
    return _state_of_bytes(answer, channel)


def _state_of_bytes(answer: bytes, channel: int) -> bool | None:
    """Read a byte 00 or 01 for each channel."""
    if len(answer) < channel or any(byte > 1 for byte in answer):
        return None
    return bool(answer[channel - 1])


def _hw667_frame(_channel: int, on: bool) -> bytes:
    return b"\xaa" if on else b"\xbb"


def _kmtronic_frame(channel: int, on: bool) -> bytes:
    return bytes([0xFF, channel, int(on)])


def _kmtronic_state(answer: bytes, channel: int) -> bool | None:
    """Read `FF n state`, of boards with one or two channels."""
    found = re.search(rb"\xff%c([\x00\x01])" % channel, answer, re.DOTALL)
    return None if found is None else found[1] == b"\x01"


def _numato_frame(channel: int, on: bool) -> bytes:
    return b"relay %s %s\r" % (b"on" if on else b"off", _numato_name(channel))


def _numato_question(channel: int) -> bytes:
    return b"relay read %s\r" % _numato_name(channel)


def _numato_state(answer: bytes, channel: int) -> bool | None:
    """Find the answer between the echo of the question and the prompt `>`."""
    found = re.search(rb"relay read %s\s+(on|off)\s+>" % _numato_name(channel), answer)
    return None if found is None else found[1] == b"on"


def _numato_name(channel: int) -> bytes:
    return _NUMATO_DIGITS[channel - 1].encode()


def _sainsmart_frame(channel: int, on: bool) -> bytes:
    return _modbus_ascii(bytes([_MODBUS_ASCII_ADDRESS, 5, 0, channel - 1, 0xFF if on else 0, 0]))


def _sainsmart_question(_channel: int) -> bytes:
    return _modbus_ascii(bytes([_MODBUS_ASCII_ADDRESS, 1, 0, 0, 0, 16]))


def _sainsmart_state(answer: bytes, channel: int) -> bool | None:
    for line in re.findall(rb":([0-9A-Fa-f]{12})\r\n", answer):
        content = bytes.fromhex(line.decode())
        if content[:3] == bytes([_MODBUS_ASCII_ADDRESS, 1, 2]) and sum(content) & 0xFF == 0:
            return _coil(content[3:5], channel)
    return None


def _modbus_ascii(content: bytes) -> bytes:
    """Frame a Modbus ASCII message: hexadecimal text and its longitudinal redundancy check."""
    check = -sum(content) & 0xFF
    return b":" + (content + bytes([check])).hex().upper().encode() + b"\r\n"


def _waveshare_frame(channel: int, on: bool) -> bytes:
    return _modbus_rtu(bytes([_MODBUS_RTU_ADDRESS, 5, 0, channel - 1, 0xFF if on else 0, 0]))


def _waveshare_timed_on(channel: int, duration_s: float) -> bytes:
    """Return the "flash on" command, whose unit is 100 ms."""
    tenths = max(1, min(round(duration_s * 10), 0x7FFF))
    return _modbus_rtu(bytes([_MODBUS_RTU_ADDRESS, 5, 2, channel - 1, *tenths.to_bytes(2, "big")]))


def _waveshare_question(_channel: int) -> bytes:
    return _modbus_rtu(bytes([_MODBUS_RTU_ADDRESS, 1, 0, 0, 0, 8]))


def _waveshare_state(answer: bytes, channel: int) -> bool | None:
    head = bytes([_MODBUS_RTU_ADDRESS, 1, 1])
    for start in range(len(answer) - 5):
        content = answer[start : start + 6]
        if content[:3] == head and content == _modbus_rtu(content[:4]):
            return _coil(content[3:4], channel)
    return None


def _modbus_rtu(content: bytes) -> bytes:
    """Frame a Modbus RTU message: CRC-16 with the polynomial A001 (reflected), low byte first."""
    crc = 0xFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return content + crc.to_bytes(2, "little")


def _coil(mask: bytes, channel: int) -> bool:
    """Read a bit of a Modbus coil mask: coils 0 to 7 in the first byte, the lowest bit first."""
    return bool(mask[(channel - 1) // 8] >> (channel - 1) % 8 & 1)


def _devantech_frame(channel: int, on: bool) -> bytes:
    return bytes([(0x64 if on else 0x6E) + channel])


def _devantech_state(answer: bytes, channel: int) -> bool | None:
    return bool(answer[0] >> (channel - 1) & 1) if answer else None


def _denkovi_frame(channel: int, on: bool) -> bytes:
    return b"%02d%s//" % (channel, b"+" if on else b"-")


def _denkovi_state(answer: bytes, channel: int) -> bool | None:
    """Read the mask of two bytes, whose highest bit is relay 1."""
    return None if len(answer) < 2 else bool(int.from_bytes(answer[:2], "big") >> (16 - channel) & 1)


def _dmx_frame(channel: int, on: bool) -> bytes:
    """Frame a whole DMX packet (label 6, start code 0): the lamps' slot full or dark, all others dark."""
    slots = bytearray(max(channel, _DMX_SHORTEST))
    slots[channel - 1] = 255 if on else 0
    return b"\x7e\x06" + (len(slots) + 1).to_bytes(2, "little") + b"\x00" + bytes(slots) + b"\xe7"


_CH340, _FT232R = (0x1A86, 0x7523), (0x0403, 0x6001)

BOARDS = {
    # Clients in the wild sleep 10 or 100 ms between commands; the longer one is sure. The LCUS-1 never answers.
    "lcus": Board(
        9600,
        0.1,
        8,
        _lcus_frame,
        "LCUS-1, -2, -4, -8",
        (_CH340,),
        ReadBack(lambda _: b"\xff", _lcus_state, is_sure=False),
    ),
    # No data on the gap: that of the LCUS, which has the same chip.
    "hw-667": Board(9600, 0.1, 1, _hw667_frame, 'HW-667 "E-3"', (_CH340,)),
    "kmtronic-2": Board(
        9600,
        0.05,
        2,
        _kmtronic_frame,
        "KMTronic USB, 1 or 2 channels",
        (_FT232R,),
        ReadBack(lambda channel: bytes([0xFF, channel, 3]), _kmtronic_state),
    ),
    "kmtronic-8": Board(
        9600,
        0.05,
        8,
        _kmtronic_frame,
        "KMTronic USB, 4 or 8 channels",
        (_FT232R,),
        ReadBack(lambda _: b"\xff\x09\x00", _state_of_bytes),
    ),
    "numato": Board(
        19200, 0.02, 32, _numato_frame, "Numato USB, up to 32 channels", (), ReadBack(_numato_question, _numato_state)
    ),
    "sainsmart-16": Board(
        9600,
        0.06,  # a command of 17 characters takes 18 ms, and so does its echo
        16,
        _sainsmart_frame,
        "SainSmart 16-channel USB (CH341)",
        (_CH340,),
        ReadBack(_sainsmart_question, _sainsmart_state),
    ),
    "waveshare": Board(
        9600,
        0.03,  # a command and its echo take 8.3 ms each, the silences between frames 4 ms
        8,
        _waveshare_frame,
        "Waveshare Modbus RTU Relay (address 1)",
        (),
        ReadBack(_waveshare_question, _waveshare_state),
        _waveshare_timed_on,
    ),
    "devantech": Board(
        19200, 0.01, 8, _devantech_frame, "Devantech USB-RLY16, -08, -02", (), ReadBack(lambda _: b"\x5b", _devantech_state)
    ),
    # 5 ms by the documents; users needed 50.
    "denkovi-16": Board(
        9600,
        0.05,
        16,
        _denkovi_frame,
        "Denkovi USB 16 relays, virtual COM port",
        (_FT232R,),
        ReadBack(lambda _: b"ask//", _denkovi_state),
    ),
    # The widget repeats the last packet for ever, also when this computer has died: a DMX dimmer has no dead-man.
    "enttec-dmx": Board(57600, 0.025, 512, _dmx_frame, "Enttec DMX USB Pro with a dimmer", (_FT232R,)),
}
