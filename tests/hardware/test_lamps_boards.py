"""The lamp guard on every kind of emulated board: obeyed, asked, held by timers, unplugged, deaf, mute, far away."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import serial
from serial.rfc2217 import PortManager

from deepflash.errors import RelayError
from deepflash.hardware.emulator.faults import Fault, clear_faults, order_fault
from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.lamp_switch import HOLD_S, Switch
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.relay import BOARDS
from deepflash.hardware.rig import Rig
from tests.hardware.test_lamps import ON_FOR_EVER, eventually

LIMIT_S = 1.0  # the promise: off within a second


@dataclass
class Emulated:
    """A running emulated board."""

    rig: Rig
    folder: Path
    process: subprocess.Popen[bytes]

    def switchings(self) -> list[dict[str, Any]]:
        """Return what the relay of the lamps really did since the board came up."""
        log = [line for line in read_journal(self.folder / "lamps.jsonl") if line["channel"] == self.rig.relay_channel]
        return log[1:]

    def is_lit(self) -> bool:
        log = self.switchings()
        return bool(log) and bool(log[-1]["on"])


Start = Callable[..., Emulated]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts an emulated board of a kind."""
    with ExitStack() as stack:

        def start(kind: str, *options: str) -> Emulated:
            where = [] if "--listen" in options else ["--link", tmp_path / "relay"]
            command = [sys.executable, "-m", "deepflash.hardware.emulator.relay_board", "--board", kind]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, *where, "--log", tmp_path / "lamps.jsonl", *options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            return Emulated(Rig(process.stdout.readline().decode().strip(), "no camera", relay_board=kind), tmp_path, process)

        yield start


READABLE = sorted(name for name, board in BOARDS.items() if board.read_back)
BLIND = sorted(set(BOARDS) - set(READABLE))


@pytest.mark.parametrize("kind", READABLE)
def test_every_board_that_can_tell_confirms_on_and_off(start: Start, kind: str) -> None:
    board = start(kind)
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)
        lamps.off()
        assert lamps.wait_until_seen(on=False, limit_s=10) is False
        assert lamps.state().fault == ""
    assert [line["on"] for line in board.switchings()] == [True, False]


@pytest.mark.parametrize("kind", BLIND)
def test_boards_that_tell_nothing_are_switched_all_the_same(start: Start, kind: str) -> None:
    board = start(kind)
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=0.3) is None
        assert eventually(board.is_lit)
        lamps.off()
        assert eventually(lambda: not board.is_lit())
        assert (lamps.state().on, lamps.state().seen_on, lamps.state().fault) == (False, None, "")


def test_a_one_channel_lcus_that_never_answers_is_not_at_fault(start: Start) -> None:
    board = start("lcus", "--channels", "1")
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=1.0) is None
        lamps.off()
        assert lamps.state().fault == ""
    assert [line["on"] for line in board.switchings()] == [True, False]


def test_a_timer_in_the_board_is_refreshed_for_as_long_as_the_lamps_shall_be_on(start: Start) -> None:
    board = start("waveshare")
    with Lamps(board.rig) as lamps:
        on_s = lamps.on()
        time.sleep(1.6)  # more than two times what the timer is set to
        assert board.is_lit()
        lamps.off()
        assert lamps.wait_until_seen(on=False, limit_s=10) is False
        refreshes = [switching for switching in lamps.switchings(on_s) if switching.on]
    assert {switching.frame for switching in refreshes} == {"01 05 02 00 00 07 8d b0"}
    assert [(line["on"], line["cause"]) for line in board.switchings()] == [(True, "command"), (False, "command")]


def test_lamps_held_by_a_timer_go_off_after_the_rigs_longest_time_too(start: Start) -> None:
    board = start("waveshare")
    with Lamps(replace(board.rig, max_on_s=1.0)) as lamps:
        lamps.on()
        assert eventually(lambda: len(board.switchings()) == 2)
        time.sleep(0.5)
    on, off = board.switchings()
    assert off["at_s"] - on["at_s"] > 0.9


def test_the_board_itself_switches_off_when_guard_and_program_are_killed_together(start: Start) -> None:
    board = start("waveshare")
    program = ON_FOR_EVER.replace('print("on"', 'print("on", lamps.guard_pid')
    with subprocess.Popen([sys.executable, "-c", program, json.dumps(asdict(board.rig))], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        guard_pid = int(user.stdout.readline().split()[1])
        time.sleep(0.8)  # past the first refresh
        assert board.is_lit()

        killed_s = time.monotonic()
        os.kill(guard_pid, signal.SIGSTOP)  # or it might write once more between the two blows
        user.kill()
        os.kill(guard_pid, signal.SIGKILL)

        assert eventually(lambda: not board.is_lit())
    off = board.switchings()[-1]
    assert off["cause"] == "timer"
    assert off["at_s"] - killed_s < LIMIT_S


def test_a_timer_that_ran_out_because_this_computer_was_held_up_is_told_of_until_the_next_off(start: Start) -> None:
    board = start("waveshare")
    told: list[dict[str, Any]] = []
    switch = Switch(board.rig.relay_port, "waveshare", 1, told.append)
    switch.open()
    switch.set(True, "command")
    time.sleep(HOLD_S + 0.2)
    switch.tend()

    assert [event["why"] for event in told if event["event"] == "switched"] == ["command", "refresh"]
    assert "the relay board's timer switched the lamps off" in told[-2]["error"]
    switch.off_for_good("end of test")
    assert [event["error"] for event in told if event["event"] == "fault"][-1] == ""


def test_a_board_that_did_not_obey_is_told_of_and_nothing_begins_until_it_is_mended(start: Start) -> None:
    board = start("lcus")
    with Lamps(board.rig) as lamps:
        assert eventually(lambda: lamps.state().seen_on is False)
        order_fault(board.folder, Fault("relay", "deaf", times=1))
        lamps.on()
        assert eventually(lambda: lamps.state().fault != "")

        with pytest.raises(RelayError, match="says that the lamps stay off when switched on; check the board"):
            lamps.off()
        lamps.wait_until_ready(10)
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)


def test_an_off_that_is_not_obeyed_is_insisted_on(start: Start) -> None:
    board = start("lcus")
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)
        order_fault(board.folder, Fault("relay", "deaf", for_s=1.2))
        lamps.off()
        assert eventually(lambda: lamps.state().fault != "")
        assert board.is_lit()
        with pytest.raises(RelayError, match="does not answer; check its cable and power: the lamps may be on"):
            lamps.on()

        assert eventually(lambda: not board.is_lit())
        lamps.wait_until_ready(10)
        assert lamps.state().fault == ""


def test_a_board_that_falls_silent_is_noticed_between_takes_and_trusted_again_when_it_answers(start: Start) -> None:
    board = start("devantech")
    with Lamps(board.rig) as lamps:
        assert eventually(lambda: lamps.state().seen_on is False)
        order_fault(board.folder, Fault("relay", "mute", for_s=600))
        assert eventually(lambda: "does not answer" in lamps.state().fault)
        with pytest.raises(RelayError, match="does not answer"):
            lamps.wait_until_ready(0.5)
        clear_faults(board.folder)
        lamps.wait_until_ready(10)
        assert lamps.on() > 0


def test_an_unplugged_board_is_noticed_at_once_and_switched_off_under_its_new_terminal(start: Start) -> None:
    board = start("sainsmart-16")  # keeps its relays, as it has a supply of its own
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)
        terminal = Path(board.rig.relay_port).readlink()
        held = os.open(terminal, os.O_RDWR | os.O_NOCTTY)  # so that its number is not free when the board comes back
        order_fault(board.folder, Fault("relay", "unplugged", for_s=1.0))
        assert eventually(lambda: not os.path.lexists(board.rig.relay_port))
        with pytest.raises(RelayError, match="relay port"):
            lamps.off()
        assert board.is_lit()

        assert eventually(lambda: not board.is_lit())
        assert Path(board.rig.relay_port).readlink() != terminal
        os.close(held)
        lamps.wait_until_ready(10)
        assert lamps.on() > 0
    assert not board.is_lit()


@pytest.mark.parametrize("kind", ["lcus", "hw-667", "waveshare"])
def test_a_board_that_is_unplugged_while_lit_is_told_of_although_nobody_asks_anything_of_it(start: Start, kind: str) -> None:
    board = start(kind)
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert eventually(board.is_lit)
        order_fault(board.folder, Fault("relay", "unplugged", for_s=0.5))
        assert eventually(lambda: lamps.state().fault.startswith("relay port"))
        assert eventually(lambda: lamps.switchings(0)[-1].why in {"port is back", "repeat"})
        lamps.wait_until_ready(10)


def test_a_board_that_is_unplugged_while_dark_is_told_of_before_the_next_take(start: Start) -> None:
    board = start("hw-667")  # of which nothing can be asked
    with Lamps(board.rig) as lamps:
        order_fault(board.folder, Fault("relay", "unplugged", for_s=600))
        assert eventually(lambda: lamps.state().fault != "")
        clear_faults(board.folder)
        lamps.wait_until_ready(10)


def test_a_board_behind_a_terminal_server_is_used_by_its_url_and_found_again(start: Start) -> None:
    board = start("waveshare", "--listen", "0")
    assert board.rig.relay_port.startswith("socket://127.0.0.1:")
    with Lamps(board.rig) as lamps:
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)
        order_fault(board.folder, Fault("relay", "unplugged", for_s=0.5))
        assert eventually(lambda: not board.is_lit())  # its timer ran out, or the guard found it again
        lamps.wait_until_ready(10)
        lamps.on()
        assert lamps.wait_until_seen(on=True, limit_s=10)
    assert not board.is_lit()


def test_nobody_at_a_url_and_an_unknown_kind_of_url_are_sentences(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free_port = server.getsockname()[1]
    for url, sentence in (
        (f"socket://127.0.0.1:{free_port}", f"relay port socket://127.0.0.1:{free_port} failed"),
        ("pigeon://loft", "relay port 'pigeon://loft' is no serial port"),
    ):
        with pytest.raises(RelayError, match=sentence), Lamps(Rig(url, "no camera")):
            pass


def test_a_port_of_another_computer_is_used_by_rfc_2217() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        written = bytearray()
        far = threading.Thread(target=_serve_rfc2217, args=(server, written))
        far.start()
        port = server.getsockname()[1]
        with Lamps(Rig(f"rfc2217://127.0.0.1:{port}", "no camera", relay_board="hw-667")) as lamps:
            lamps.on()
            lamps.off()
        far.join()
    on, *offs = written.lstrip(b"\xbb")
    assert on == 0xAA
    assert set(offs) == {0xBB}
    assert len(offs) >= 4  # off, perhaps its repeats, and at the end off with two repeats


def _serve_rfc2217(server: socket.socket, written: bytearray) -> None:
    """Play the far end with pyserial's own server; note what it would write to its port."""
    caller = server.accept()[0]
    with caller, caller.makefile("wb", buffering=0) as back, serial.serial_for_url("loop://", timeout=0) as far:
        manager = PortManager(far, back)
        while some := caller.recv(1024):
            written += b"".join(manager.filter(some))
