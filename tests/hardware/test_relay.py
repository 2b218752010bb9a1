"""The codecs of the relay boards, against the vectors of their data sheets (reference/hardware.md, section 3)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.errors import RelayError
from deepflash.hardware.relay import BOARDS, boards_with_chip, find_board, switch_frame, timed_on_frame


@pytest.mark.parametrize(
    ("board", "channel", "on", "frame"),
    [
        ("lcus", 1, True, "A0 01 01 A2"),
        ("lcus", 1, False, "A0 01 00 A1"),
        ("lcus", 2, True, "A0 02 01 A3"),
        ("lcus", 2, False, "A0 02 00 A2"),
        ("lcus", 3, True, "A0 03 01 A4"),
        ("lcus", 4, True, "A0 04 01 A5"),
        ("lcus", 4, False, "A0 04 00 A4"),
        ("hw-667", 1, True, "AA"),
        ("hw-667", 1, False, "BB"),
        ("kmtronic-2", 1, True, "FF 01 01"),
        ("kmtronic-2", 1, False, "FF 01 00"),
        ("kmtronic-8", 1, True, "FF 01 01"),
        ("kmtronic-8", 1, False, "FF 01 00"),
        ("waveshare", 1, True, "01 05 00 00 FF 00 8C 3A"),
        ("waveshare", 1, False, "01 05 00 00 00 00 CD CA"),
        ("devantech", 1, True, "65"),
        ("devantech", 8, True, "6C"),
        ("devantech", 1, False, "6F"),
        ("devantech", 8, False, "76"),
    ],
)
def test_binary_frames_are_those_of_the_data_sheets(board: str, channel: int, on: bool, frame: str) -> None:
    assert switch_frame(board, channel, on) == bytes.fromhex(frame)


@pytest.mark.parametrize(
    ("board", "channel", "on", "frame"),
    [
        ("numato", 1, True, b"relay on 0\r"),
        ("numato", 1, False, b"relay off 0\r"),
        ("numato", 11, True, b"relay on A\r"),
        ("numato", 32, True, b"relay on V\r"),
        ("sainsmart-16", 1, True, b":FE050000FF00FE\r\n"),
        ("sainsmart-16", 1, False, b":FE0500000000FD\r\n"),
        ("sainsmart-16", 16, True, b":FE05000FFF00EF\r\n"),  # the check that follows from the rule, see the reference
        ("sainsmart-16", 16, False, b":FE05000F0000EE\r\n"),
        ("denkovi-16", 1, True, b"01+//"),
        ("denkovi-16", 1, False, b"01-//"),
        ("denkovi-16", 16, True, b"16+//"),
    ],
)
def test_text_frames_are_those_of_the_data_sheets(board: str, channel: int, on: bool, frame: bytes) -> None:
    assert switch_frame(board, channel, on) == frame


@pytest.mark.parametrize(("on", "level"), [(True, "FF"), (False, "00")])
def test_a_dimmer_gets_a_whole_dmx_packet(on: bool, level: str) -> None:
    # 7E, label 6, the length 25 low byte first, start code 0, 24 slots, E7
    assert switch_frame("enttec-dmx", 3, on) == bytes.fromhex(f"7E 06 19 00 00 00 00 {level}" + 21 * "00" + "E7")


def test_a_dmx_packet_is_as_long_as_the_channel_needs() -> None:
    frame = switch_frame("enttec-dmx", 512, on=True)
    assert (frame[:5], len(frame), frame[-2:]) == (bytes.fromhex("7E 06 01 02 00"), 4 + 513 + 1, b"\xff\xe7")


def test_only_waveshares_board_holds_lamps_by_a_timer_of_its_own() -> None:
    assert timed_on_frame("waveshare", 1, 0.7) == bytes.fromhex("01 05 02 00 00 07 8D B0")
    assert [name for name in BOARDS if timed_on_frame(name, 1, 0.7) is not None] == ["waveshare"]


@pytest.mark.parametrize(
    ("board", "channel", "question"),
    [
        ("lcus", 1, b"\xff"),
        ("kmtronic-2", 2, bytes.fromhex("FF 02 03")),
        ("kmtronic-8", 3, bytes.fromhex("FF 09 00")),
        ("numato", 1, b"relay read 0\r"),
        ("sainsmart-16", 1, b":FE0100000010F1\r\n"),
        ("waveshare", 1, bytes.fromhex("01 01 00 00 00 08 3D CC")),
        ("devantech", 1, b"\x5b"),
        ("denkovi-16", 1, b"ask//"),
    ],
)
def test_the_state_is_asked_for_as_the_data_sheets_say(board: str, channel: int, question: bytes) -> None:
    read_back = find_board(board).read_back
    assert read_back is not None
    assert read_back.question(channel) == question


@pytest.mark.parametrize(
    ("board", "answer", "states"),
    [
        ("lcus", b"CH1: ON \r\nCH2: OFF\r\n", {1: True, 2: False}),
        ("lcus", b"CH1: OFF\r\nCH2: ON \r\nCH3: ON \r\nCH4: OFF\r\n", {1: False, 3: True, 4: False}),
        ("lcus", bytes.fromhex("00 01"), {1: False, 2: True}),
        ("kmtronic-2", bytes.fromhex("FF 01 01"), {1: True}),
        ("kmtronic-2", bytes.fromhex("FF 02 00"), {2: False}),
        ("kmtronic-8", bytes.fromhex("00 00 01 00"), {1: False, 3: True, 4: False}),
        ("numato", b"relay read 0\n\ron\n\r>", {1: True}),
        ("numato", b"relay off 0\n\r>relay read 0\n\roff\n\r>", {1: False}),
        ("sainsmart-16", b":FE010201807E\r\n", {1: True, 2: False, 9: False, 16: True}),  # FE+01+02+01+80+7E = 200
        ("waveshare", bytes.fromhex("01 01 01 01 90 48"), {1: True, 2: False}),
        ("waveshare", bytes.fromhex("01 05 00 00 00 00 CD CA 01 01 01 00 51 88"), {1: False, 8: False}),
        ("devantech", b"\x81", {1: True, 2: False, 8: True}),
        ("denkovi-16", b"\x80\x01", {1: True, 2: False, 15: False, 16: True}),
    ],
)
def test_answers_are_read_among_echoes(board: str, answer: bytes, states: dict[int, bool]) -> None:
    read_back = find_board(board).read_back
    assert read_back is not None
    assert {channel: read_back.state(answer, channel) for channel in states} == states


@pytest.mark.parametrize(
    ("board", "answer"),
    [
        ("lcus", b"CH1: O"),
        ("lcus", b""),
        ("kmtronic-2", bytes.fromhex("FF 01")),
        ("kmtronic-8", b""),
        ("numato", b"relay read 0\n\ro"),
        ("sainsmart-16", b":FE01020180"),
        ("sainsmart-16", b":FE0102018000\r\n"),  # a wrong check
        ("waveshare", bytes.fromhex("01 05 00 00 FF 00 8C 3A")),  # the echo of a command
        ("waveshare", bytes.fromhex("01 01 01 01 90 49")),  # a wrong CRC
        ("devantech", b""),
        ("denkovi-16", b"\x80"),
    ],
)
def test_what_is_no_whole_answer_tells_nothing(board: str, answer: bytes) -> None:
    read_back = find_board(board).read_back
    assert read_back is not None
    assert read_back.state(answer, 1) is None


@given(board=st.sampled_from(sorted(BOARDS)), noise=st.binary(max_size=60))
def test_no_noise_on_the_line_is_an_exception(board: str, noise: bytes) -> None:
    read_back = BOARDS[board].read_back
    if read_back is not None:
        assert read_back.state(noise, 1) in {None, False, True}


@pytest.mark.parametrize("channel", [0, 9, -1])
def test_a_channel_that_the_board_does_not_have_is_refused(channel: int) -> None:
    with pytest.raises(RelayError, match=f"no channel {channel}; use 1 to 8"):
        switch_frame("lcus", channel, on=True)


def test_an_unknown_board_is_refused_with_a_list_of_the_known_ones() -> None:
    with pytest.raises(RelayError, match=re.escape(f"'abacus' is not known; use one of {', '.join(BOARDS)}")):
        find_board("abacus")


def test_every_board_tells_on_from_off_on_its_last_channel_too_and_leaves_time_between_commands() -> None:
    for board in BOARDS.values():
        assert board.min_gap_s > 0
        assert len({board.frame(channel, on) for channel in {1, board.channels} for on in (False, True)}) in {2, 4}


def test_a_usb_chip_tells_which_boards_it_may_be() -> None:
    assert "lcus" in boards_with_chip(0x1A86, 0x7523)
    assert boards_with_chip(0x1234, 0x5678) == boards_with_chip(None, None) == ()
