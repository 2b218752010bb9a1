"""The emulated relay boards, spoken to in bytes taken from their data sheets (reference/hardware.md, section 3)."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.emulator.relay_codecs import KINDS, AskStatus, Command, Switch, SwitchAll, Toggle

ON_1 = bytes.fromhex("A0 01 01 A2")
OFF_1 = bytes.fromhex("A0 01 00 A1")
ON_2 = bytes.fromhex("A0 02 01 A3")
STATUS = b"\xff"
PATIENCE_S = 10.0
GAP_S = 0.06  # well above the board's 20 ms


def decoded(content: bytes, board: str = "lcus") -> list[Command]:
    decoder = KINDS[board].codec()
    return [command for byte in content if (command := decoder.feed(byte)) is not None]


def answered(board: str, question: bytes, states: tuple[bool, ...]) -> bytes:
    """Return what a board in these states says to some bytes."""
    codec = KINDS[board].codec()
    return b"".join(codec.answer(command, states) for byte in question if (command := codec.feed(byte)) is not None)


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


@pytest.mark.parametrize(
    ("board", "written", "commands"),
    [
        ("hw-667", b"\xaa\xbb", [Switch(1, on=True), Switch(1, on=False)]),
        ("hw-667", b"\xcc", [Switch(1, on=True, for_s=1.0)]),
        ("kmtronic-2", bytes.fromhex("FF 01 01 FF 01 00 FF 02 03"), [Switch(1, on=True), Switch(1, on=False), AskStatus(2)]),
        ("kmtronic-8", bytes.fromhex("00 FF FF 01 01 FF 09 00"), [Switch(1, on=True), AskStatus()]),
        ("numato", b"relay on 0\rrelay off A\r", [Switch(1, on=True), Switch(11, on=False)]),
        ("numato", b"relay read V\rrelay readall\r", [AskStatus(32), AskStatus()]),
        ("numato", b"relay writeall 81\r", [SwitchAll((True, *6 * [False], True))]),
        ("numato", b"reset\r", [Switch(0, on=False)]),
        ("sainsmart-16", b":FE050000FF00FE\r\n:FE0500000000FD\r\n", [Switch(1, on=True), Switch(1, on=False)]),
        ("sainsmart-16", b":FE05000FFF00FF\r\n", [Switch(16, on=True)]),  # as in the vendor's table, whose check is wrong
        ("sainsmart-16", b":FE0F0000001002FFFFE3\r\n", [SwitchAll(16 * (True,))]),
        ("sainsmart-16", b":FE0F00000010020000E1\r\n", [SwitchAll(16 * (False,))]),
        (
            "waveshare",
            bytes.fromhex("01 05 00 00 FF 00 8C 3A 01 05 00 00 00 00 CD CA"),
            [Switch(1, on=True), Switch(1, on=False)],
        ),
        (
            "waveshare",
            bytes.fromhex("01 05 00 FF FF 00 BC 0A 01 05 00 FF 00 00 FD FA"),
            [Switch(0, on=True), Switch(0, on=False)],
        ),
        ("waveshare", bytes.fromhex("01 05 02 00 00 07 8D B0"), [Switch(1, on=True, for_s=0.7)]),
        ("waveshare", bytes.fromhex("01 05 00 00 FF 00 8C 3B 01 01 00 00 00 08 3D CC"), [AskStatus()]),  # a wrong CRC before
        ("waveshare", bytes.fromhex("01 05 00 00 55 00 F2 9A"), [Toggle(1)]),
        ("devantech", b"\x64\x65\x6c\x6e\x6f\x76", [Switch(n, on=on) for on in (True, False) for n in (0, 1, 8)]),
        ("devantech", b"\x5c\x81\x5b", [SwitchAll((True, *6 * [False], True)), AskStatus()]),
        ("denkovi-16", b"01+//16-//", [Switch(1, on=True), Switch(16, on=False)]),
        ("denkovi-16", b"x//on//off//ask//", [Switch(0, on=True), Switch(0, on=False), AskStatus()]),
        (
            "enttec-dmx",
            bytes.fromhex("55 7E 0A 00 00 E7 7E 06 19 00 00 FF" + 23 * "00" + "E7"),
            [SwitchAll((True, *23 * [False]))],
        ),
    ],
)
def test_every_board_understands_the_bytes_of_its_data_sheet(board: str, written: bytes, commands: list[Command]) -> None:
    assert decoded(written, board) == commands


@pytest.mark.parametrize(
    ("board", "question", "states", "answer"),
    [
        ("lcus", b"\xff", (True, False), b"CH1: ON \r\nCH2: OFF\r\n"),
        ("lcus", b"\xff", (True,), b""),
        ("kmtronic-2", bytes.fromhex("FF 02 03"), (False, True), bytes.fromhex("FF 02 01")),
        ("kmtronic-8", bytes.fromhex("FF 09 00"), (False, True, False, False), bytes.fromhex("00 01 00 00")),
        ("numato", b"relay read 0\r", 8 * (True,), b"relay read 0\n\ron\n\r>"),
        ("numato", b"relay readall\r", (True, *7 * (False,)), b"relay readall\n\r01\n\r>"),
        ("sainsmart-16", b":FE050000FF00FE\r\n", 16 * (True,), b":FE050000FF00FE\r\n"),
        ("sainsmart-16", b":FE0100000010F1\r\n", (True, *14 * (False,), True), b":FE010201807E\r\n"),
        ("waveshare", bytes.fromhex("01 05 00 00 FF 00 8C 3A"), 8 * (True,), bytes.fromhex("01 05 00 00 FF 00 8C 3A")),
        ("waveshare", bytes.fromhex("01 01 00 00 00 08 3D CC"), (True, *7 * (False,)), bytes.fromhex("01 01 01 01 90 48")),
        ("devantech", b"\x5b", (True, *6 * (False,), True), b"\x81"),
        ("denkovi-16", b"ask//", (True, *14 * (False,), True), b"\x80\x01"),
    ],
)
def test_every_board_that_can_answer_does_so_in_its_own_way(
    board: str, question: bytes, states: tuple[bool, ...], answer: bytes
) -> None:
    assert answered(board, question, states) == answer


@given(board=st.sampled_from(sorted(KINDS)), noise=st.binary(max_size=60))
def test_no_board_chokes_on_noise(board: str, noise: bytes) -> None:
    codec, states = KINDS[board].codec(), KINDS[board].channels[0] * (False,)
    for byte in noise:
        command = codec.feed(byte)
        if command is not None:
            codec.answer(command, states)


class HandBoard:
    """A board's process, written to as a plain file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.link, self.log = folder / "relay", folder / "lamps.jsonl"
        command = [sys.executable, "-m", "deepflash.hardware.emulator.relay_board"]
        self.process = subprocess.Popen(
            [*command, "--link", self.link, "--log", self.log, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address == str(self.link)
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


def test_a_timer_in_the_board_switches_off_by_itself_and_is_put_off_by_a_new_command(tmp_path: Path) -> None:
    board = HandBoard(tmp_path, "--board", "waveshare")
    flash_on = bytes.fromhex("01 05 02 00 00 07 8D B0")  # 700 ms
    board.write(flash_on)
    assert board.read(8) == flash_on  # every write is echoed
    time.sleep(0.4)
    board.write(flash_on)
    wait_until(lambda: any(record["cause"] == "timer" for record in read_journal(board.log)))

    first, last = [record for record in read_journal(board.log) if record["channel"] == 1 and record["cause"] != "power"]
    assert (first["on"], last["on"]) == (True, False)
    assert last["at_s"] - first["at_s"] >= 0.4 + 0.7
    board.end()


def test_a_deaf_board_obeys_nothing_and_a_mute_one_obeys_silently(board: HandBoard) -> None:
    order_fault(board.log.parent, Fault("relay", "deaf"))
    board.write(ON_1)
    time.sleep(GAP_S)
    assert board.commands() == []

    order_fault(board.log.parent, Fault("relay", "mute"))
    board.write(ON_2 + STATUS)
    wait_until(lambda: len(board.commands()) == 1)
    time.sleep(GAP_S)
    assert select.select([board.terminal], [], [], 0)[0] == []
    board.write(STATUS)
    assert board.read(20) == b"CH1: OFF\r\nCH2: ON \r\n"
    assert [strike["kind"] for strike in read_journal(strikes_of(board))] == ["deaf", "mute"]


def strikes_of(board: HandBoard) -> Path:
    return board.log.parent / "strikes-relay.jsonl"


@pytest.mark.parametrize(("kind", "stays_lit"), [("lcus", False), ("waveshare", True)])
def test_an_unplugged_board_vanishes_and_comes_back_under_the_same_link(tmp_path: Path, kind: str, stays_lit: bool) -> None:
    board = HandBoard(tmp_path, "--board", kind)
    first = board.link.readlink()
    on = {"lcus": ON_1, "waveshare": bytes.fromhex("01 05 00 00 FF 00 8C 3A")}[kind]
    board.write(on)
    wait_until(lambda: len(board.commands()) == 1)
    order_fault(tmp_path, Fault("relay", "unplugged", for_s=0.3))

    wait_until(lambda: not board.link.is_symlink())
    with pytest.raises(OSError, match="Input/output error"):
        board.write(on)
    wait_until(board.link.is_symlink)
    assert board.link.readlink() != first

    lit = [record["on"] for record in read_journal(board.log) if record["channel"] == 1][-1]
    assert lit == stays_lit  # what is fed by the cable falls open with it
    board.end()


def test_a_board_behind_a_terminal_server_serves_the_latest_caller(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepflash.hardware.emulator.relay_board", "--listen", "0", "--log", tmp_path / "log"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        host, port = address.removeprefix("socket://").split(":")
        for _ in range(2):
            with socket.create_connection((host, int(port)), PATIENCE_S) as caller, caller.makefile("rb") as said:
                caller.sendall(STATUS)
                assert said.read(20) == b"CH1: OFF\r\nCH2: OFF\r\n"
        process.terminate()
