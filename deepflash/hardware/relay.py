"""Byte codecs of relay boards, without I/O: what to write so that a channel switches.

Boards are rows of a table; the port belongs to the lamp guard alone. Sources of the frames: the
boards' data sheets, as quoted in the project's hardware reference, section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deepflash.errors import RelayError


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
    """

    baud_rate: int
    min_gap_s: float
    channels: int
    frame: Callable[[int, bool], bytes]


def switch_frame(board: str, channel: int, on: bool) -> bytes:
    """Return the bytes that switch one channel of a board.

    Raises
    ------
    RelayError
        if the board is unknown or has no such channel.

    >>> switch_frame("lcus", 1, on=True).hex(" ")
    'a0 01 01 a2'
    """
    known = find_board(board)
    if not 1 <= channel <= known.channels:
        raise RelayError(f"relay board {board!r} has no channel {channel}; use 1 to {known.channels}")
    return known.frame(channel, on)


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


def _lcus_frame(channel: int, on: bool) -> bytes:
    start, state = 0xA0, int(on)
    return bytes([start, channel, state, (start + channel + state) & 0xFF])


BOARDS = {
    # LCUS-1/2/4/8 (CH340). Clients in the wild sleep 10 or 100 ms between commands; the longer one is sure.
    "lcus": Board(baud_rate=9600, min_gap_s=0.1, channels=8, frame=_lcus_frame),
}
