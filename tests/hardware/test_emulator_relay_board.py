"""The emulated LCUS board, spoken to in bytes taken from its product text (reference/hardware.md, section 3)."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.emulator.relay_codecs import AskStatus, Command, Lcus, Switch

ON_1 = bytes.fromhex("A0 01 01 A2")
OFF_1 = bytes.fromhex("A0 01 00 A1")
ON_2 = bytes.fromhex("A0 02 01 A3")
STATUS = b"\xff"
PATIENCE_S = 10.0
GAP_S = 0.06  # well above the board's 20 ms


def decoded(content: bytes) -> list[Command]:
    decoder = Lcus()
    return [command for byte in content if (command := decoder.feed(byte)) is not None]


@pytest.mark.parametrize(
    ("written", "commands"),
    [
        ("A0 01 01 A2", [Switch(1, on=True)]),
        ("A0 01 00 A1", [Switch(1, on=False)]),
        ("A0 08 01 A9", [Switch(8, on=True)]),
        ("FF", [AskStatus()]),
        ("A0 01 01 A2 A0 01 00 A1", [Switch(1, on=True), Switch(1, on=False)]),
        ("A0 01 01 A3", []),  # wrong sum
        ("A0 01 02 A3", []),  # no such state
        ("00 13 A0 01 01 A2", [Switch(1, on=True)]),  # noise before
        ("A0 01 A0 01 01 A2", [Switch(1, on=True)]),  # a frame cut short
        ("A0 A0 01 01 A2", [Switch(1, on=True)]),  # a start byte doubled
        ("A0 01 01 A0 01 01 A2", [Switch(1, on=True)]),  # a lost check byte
    ],
)
def test_commands_are_found_and_noise_is_survived(written: str, commands: list[Command]) -> None:
    assert decoded(bytes.fromhex(written)) == commands


@given(st.binary(max_size=40))
def test_after_any_noise_the_board_obeys_again_within_two_frames(noise: bytes) -> None:
    assert decoded(noise + OFF_1 + OFF_1)[-1] == Switch(1, on=False)


class HandBoard:
    """A board's process, written to as a plain file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.link, self.log = folder / "relay", folder / "lamps.jsonl"
        command = [sys.executable, "-m", "deepflash.hardware.emulator.relay_board"]
        self.process = subprocess.Popen(
            [*command, "--link", self.link, "--log", self.log, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == bytes(self.link)
        self.terminal = os.open(self.link, os.O_RDWR | os.O_NOCTTY)

    def write(self, content: bytes) -> None:
        os.write(self.terminal, content)

    def read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            ready, _, _ = select.select([self.terminal], [], [], PATIENCE_S)
            assert ready, f"the board said only {content!r}"
            content += os.read(self.terminal, count - len(content))
        return content

    def commands(self) -> list[dict[str, Any]]:
        """Return what the log says of switchings that were commanded."""
        return [record for record in read_journal(self.log) if record["cause"] == "command"]

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()  # else it would wait for somebody to switch the lamps off
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        os.close(self.terminal)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[HandBoard]:
    board = HandBoard(tmp_path)
    yield board
    board.end()


def test_hand_written_bytes_switch_and_are_logged_after_the_line_time(board: HandBoard) -> None:
    before_s = time.monotonic()
    board.write(ON_1)
    wait_until(lambda: len(board.commands()) == 1)
    (switching,) = board.commands()
    assert (switching["channel"], switching["on"]) == (1, True)
    assert 4 * 10 / 9600 <= switching["at_s"] - before_s < PATIENCE_S


def test_a_two_channel_board_tells_its_state(board: HandBoard) -> None:
    board.write(ON_2 + STATUS)
    assert board.read(20) == b"CH1: OFF\r\nCH2: ON \r\n"


def test_a_one_channel_board_tells_nothing(tmp_path: Path) -> None:
    board = HandBoard(tmp_path, "--channels", "1")
    board.write(STATUS + ON_1)
    wait_until(lambda: len(board.commands()) == 1)
    assert select.select([board.terminal], [], [], 0)[0] == []
    time.sleep(GAP_S)
    board.write(OFF_1)
    board.end()


def test_a_command_that_follows_too_soon_is_lost(board: HandBoard) -> None:
    board.write(ON_1 + OFF_1)  # 4 ms apart
    time.sleep(GAP_S)
    board.write(ON_2 + STATUS)
    assert board.read(20) == b"CH1: ON \r\nCH2: ON \r\n"
    assert [(record["channel"], record["on"]) for record in board.commands()] == [(1, True), (2, True)]


def test_a_channel_that_the_board_has_not_is_ignored(board: HandBoard) -> None:
    board.write(bytes.fromhex("A0 03 01 A4") + ON_1 + STATUS)
    assert board.read(20) == b"CH1: ON \r\nCH2: OFF\r\n"


def test_a_flood_of_noise_is_slowed_by_the_line_and_survived(board: HandBoard) -> None:
    board.write(b"\x55" * 200 + ON_1 + STATUS)
    before_s = time.monotonic()
    board.read(20)
    assert time.monotonic() - before_s > 0.1  # 225 bytes take 234 ms


def test_when_its_studio_is_gone_the_board_waits_for_the_lamps_to_be_switched_off(board: HandBoard) -> None:
    board.write(ON_1)
    wait_until(lambda: len(board.commands()) == 1)
    assert board.process.stdin is not None
    time.sleep(GAP_S)
    board.process.stdin.close()
    board.write(OFF_1)
    assert board.process.wait(PATIENCE_S) == 0
    assert [record["on"] for record in board.commands()] == [True, False]
    assert not board.link.is_symlink()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_board_that_lost_its_power_comes_up_dark_on_the_same_name(tmp_path: Path, how: signal.Signals) -> None:
    board = HandBoard(tmp_path)
    board.write(ON_1)
    wait_until(lambda: len(board.commands()) == 1)
    board.process.send_signal(how)
    board.end()
    again = HandBoard(tmp_path)
    last = [record for record in read_journal(again.log) if record["channel"] == 1][-1]
    assert (last["on"], last["cause"]) == (False, "power")
    again.write(STATUS)
    assert again.read(20) == b"CH1: OFF\r\nCH2: OFF\r\n"
    again.end()
