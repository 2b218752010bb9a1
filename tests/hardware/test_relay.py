"""The codec of the relay boards, against the vectors of their data sheets."""

import pytest

from deepflash.errors import RelayError
from deepflash.hardware.relay import BOARDS, find_board, switch_frame


@pytest.mark.parametrize(
    ("channel", "on", "frame"),
    [
        (1, True, "A0 01 01 A2"),
        (1, False, "A0 01 00 A1"),
        (2, True, "A0 02 01 A3"),
        (2, False, "A0 02 00 A2"),
        (3, True, "A0 03 01 A4"),
        (4, True, "A0 04 01 A5"),
        (4, False, "A0 04 00 A4"),
    ],
)
def test_lcus_frames_are_those_of_the_data_sheet(channel: int, on: bool, frame: str) -> None:
    assert switch_frame("lcus", channel, on) == bytes.fromhex(frame)


@pytest.mark.parametrize("channel", [0, 9, -1])
def test_a_channel_that_the_board_does_not_have_is_refused(channel: int) -> None:
    with pytest.raises(RelayError, match=f"no channel {channel}; use 1 to 8"):
        switch_frame("lcus", channel, on=True)


def test_an_unknown_board_is_refused_with_a_list_of_the_known_ones() -> None:
    with pytest.raises(RelayError, match="'abacus' is not known; use one of lcus"):
        find_board("abacus")


def test_every_board_leaves_time_between_commands_and_tells_on_from_off() -> None:
    for board in BOARDS.values():
        assert board.min_gap_s >= 0
        assert board.frame(1, True) != board.frame(1, False)
