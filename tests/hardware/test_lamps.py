"""The lamps go off: the guard and its client, against a pty whose other end is read by hand."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

from deepflash.errors import RelayError
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

ON = bytes.fromhex("A0 01 01 A2")
OFF = bytes.fromhex("A0 01 00 A1")
LIMIT_S = 1.0  # the promise: off within a second
BUSY_S = 1.0  # and what a shared machine may need to start a process

ON_FOR_EVER = """
import json, sys, time
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
with Lamps(Rig(**json.loads(sys.argv[1]))) as lamps:
    lamps.on()
    print("on", flush=True)
    time.sleep(60)
"""


class Board:
    """A pty behind a symlink; notes every frame that arrives with its time."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.frames: list[tuple[float, bytes]] = []
        self.plug_in()

    def plug_in(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self._slave))
        self._plugged_in = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def unplug(self) -> None:
        self._plugged_in = False
        self._reader.join()  # a read in progress would keep the pty alive
        self.link.unlink()
        os.close(self._slave)
        os.close(self._master)

    def wait_for(self, frame: bytes, since_s: float) -> float:
        """Return after how many seconds a frame arrived."""
        while time.monotonic() < since_s + 20:
            for at_s, arrived in list(self.frames):
                if at_s >= since_s and arrived == frame:
                    return at_s - since_s
            time.sleep(0.01)
        raise AssertionError(f"{frame.hex(' ')} never came; there came {self.frames}")

    def _read(self) -> None:
        received = b""
        while self._plugged_in:
            if select.select([self._master], [], [], 0.02)[0]:
                received += os.read(self._master, 100).replace(b"\xff", b"")  # asked for its state, this LCUS-1 says nothing
            while len(received) >= 4:
                self.frames.append((time.monotonic(), received[:4]))
                received = received[4:]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path / "relay")
    yield board
    with suppress(OSError):
        board.unplug()


@pytest.fixture
def rig(board: Board) -> Rig:
    return Rig(str(board.link), "no camera")


@pytest.fixture
def user(rig: Rig) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has switched the lamps on and then sleeps."""
    command = [sys.executable, "-c", ON_FOR_EVER, json.dumps(asdict(rig))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        yield process
        process.kill()


def eventually(condition: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + 20
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    return condition()


def test_on_and_off_write_the_frames_and_return_the_time_of_writing(board: Board, rig: Rig) -> None:
    with Lamps(rig) as lamps:
        before_s = time.monotonic()
        on_s = lamps.on()
        off_s = lamps.off()
        after_s = time.monotonic()

        assert before_s <= on_s <= off_s <= after_s
        assert board.wait_for(ON, before_s) < board.wait_for(OFF, on_s) + on_s - before_s


def test_the_first_act_of_a_guard_is_off_and_so_is_its_last(board: Board, rig: Rig) -> None:
    began_s = time.monotonic()
    with Lamps(rig) as lamps:
        board.wait_for(OFF, began_s)
        assert board.frames[0][1] == OFF
        lamps.on()
        on_s = time.monotonic()

    board.wait_for(OFF, on_s)
    assert board.frames[-1][1] == OFF


def test_an_off_is_repeated_and_no_two_commands_come_within_the_boards_gap(rig: Rig) -> None:
    with Lamps(rig) as lamps:
        on_s = lamps.on()
        off_s = lamps.off()
        assert eventually(lambda: len(lamps.switchings(off_s)) == 3)
        log = lamps.switchings(on_s)

    assert [(switching.on, switching.why) for switching in log] == [
        (True, "command"),
        (False, "command"),
        (False, "repeat"),
        (False, "repeat"),
    ]
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(log)]
    assert min(gaps) >= 0.1


def test_lamps_go_off_when_the_program_that_uses_them_is_killed(board: Board, user: subprocess.Popen[bytes]) -> None:
    killed_s = time.monotonic()
    user.kill()

    assert board.wait_for(OFF, killed_s) < LIMIT_S


def test_lamps_go_off_when_the_program_that_uses_them_is_stopped(board: Board, user: subprocess.Popen[bytes]) -> None:
    stopped_s = time.monotonic()
    user.send_signal(signal.SIGSTOP)

    assert board.wait_for(OFF, stopped_s) < LIMIT_S


def test_ctrl_c_in_the_terminal_does_not_reach_the_guard_before_the_lamps_are_off(
    board: Board, rig: Rig, user: subprocess.Popen[bytes]
) -> None:
    interrupted_s = time.monotonic()
    user.send_signal(signal.SIGINT)

    assert board.wait_for(OFF, interrupted_s) < LIMIT_S + BUSY_S
    assert user.wait(20) == -signal.SIGINT
    with Lamps(rig) as lamps:
        assert lamps.guard_pid is not None
        assert os.getsid(lamps.guard_pid) != os.getsid(0)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_a_guard_that_is_lost_is_replaced_by_one_that_switches_off(board: Board, rig: Rig, blow: signal.Signals) -> None:
    with Lamps(rig) as lamps:
        lamps.on()
        guard_pid = lamps.guard_pid
        assert guard_pid is not None

        struck_s = time.monotonic()
        os.kill(guard_pid, blow)

        assert board.wait_for(OFF, struck_s) < LIMIT_S + BUSY_S
        assert eventually(lambda: lamps.guard_pid not in {None, guard_pid})
        lamps.wait_until_ready()
        assert lamps.on() > struck_s


def test_lamps_that_are_on_for_too_long_are_switched_off_although_the_program_lives(board: Board, rig: Rig) -> None:
    with Lamps(replace(rig, max_on_s=0.6)) as lamps:
        on_s = lamps.on()
        assert board.wait_for(OFF, on_s) >= 0.6
        assert eventually(lambda: "on for too long" in [switching.why for switching in lamps.switchings(on_s)])


def test_a_missing_port_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(RelayError, match=r"relay port .*/nothing does not exist; plug the board in"),
        Lamps(Rig(str(tmp_path / "nothing"), "no camera")),
    ):
        pass


@pytest.mark.parametrize("port", ["file", ".", "/dev/null", "nonsense://1"])
def test_a_port_that_is_no_serial_port_is_one_sentence(tmp_path: Path, port: str) -> None:
    (tmp_path / "file").write_text("not a board")
    path = port if ":" in port else str(tmp_path / port)
    with pytest.raises(RelayError, match=r"relay port '.*' is no serial port; name"), Lamps(Rig(path, "no camera")):
        pass


def test_a_port_has_one_owner(rig: Rig) -> None:
    with Lamps(rig), pytest.raises(RelayError, match="is in use by another program"), Lamps(rig):
        pass


def test_an_unplugged_board_is_an_error_and_is_switched_off_when_it_is_back(board: Board, rig: Rig) -> None:
    with Lamps(rig) as lamps:
        lamps.on()
        board.unplug()
        with pytest.raises(RelayError, match="relay port"):
            lamps.off()

        back_s = time.monotonic()
        board.plug_in()

        board.wait_for(OFF, back_s)
        lamps.wait_until_ready()
        assert lamps.on() > back_s
