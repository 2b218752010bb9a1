"""The emulated studio as a whole: both devices share one light, start and end together, and leave nobody behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deepflash.errors import CameraError, HardwareError
from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.emulator.sitters import SitterChoice
from deepflash.hardware.emulator.studio import emulated_studio, studio_with_camera
from deepflash.hardware.rig import Rig
from tests.hardware.hand_client import OK, HandClient

PATIENCE_S = 20.0
ON_1 = bytes.fromhex("A0 01 01 A2")
OFF_1 = bytes.fromhex("A0 01 00 A1")
FAKE_CAMERA = Path(__file__).with_name("fake_camera.py")


def fake_camera(folder: Path) -> list[str]:
    return [sys.executable, str(FAKE_CAMERA), str(folder), "64", "48", "0", "1000000000"]


def client_of(rig: Rig) -> HandClient:
    return HandClient(int(rig.camera_port.rpartition(":")[2]))


def switch(rig: Rig, command: bytes) -> None:
    """Write a command to the board, and wait as long as the line needs."""
    terminal = os.open(rig.relay_port, os.O_RDWR | os.O_NOCTTY)
    os.write(terminal, command)
    time.sleep(0.06)
    os.close(terminal)


def photograph(client: HandClient) -> int:
    assert client.ask(0x100E, 0, 0).code == OK
    (handle,) = client.event()[1]
    client.event()
    return handle


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def processes_that_mention(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if text in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def test_the_camera_sees_the_lamps_that_the_board_switches(tmp_path: Path) -> None:
    with studio_with_camera(tmp_path, fake_camera(tmp_path)) as rig:
        client = client_of(rig)
        photograph(client)
        switch(rig, ON_1)
        time.sleep(0.5)
        photograph(client)
        switch(rig, OFF_1)  # 60 ms; the exposure comes far too early
        photograph(client)
        client.close()
    dark, lit, early = (record["lamp_light"] for record in read_journal(tmp_path / "truth.jsonl"))
    assert dark == 0
    assert lit > 0.99
    assert 0 < early < 0.7


def test_when_the_studio_closes_both_devices_are_gone(tmp_path: Path) -> None:
    with studio_with_camera(tmp_path, fake_camera(tmp_path)):
        assert len(processes_that_mention(str(tmp_path))) >= 2
    assert processes_that_mention(str(tmp_path)) == []
    assert not (tmp_path / "relay").is_symlink()


def test_a_second_visit_finds_the_card_and_the_logs_of_the_first(tmp_path: Path) -> None:
    handles = []
    for _ in range(2):
        with studio_with_camera(tmp_path, fake_camera(tmp_path)) as rig:
            client = client_of(rig)
            handles.append(photograph(client))
            client.close()
    assert len(set(handles)) == 2
    assert [record["shot"] for record in read_journal(tmp_path / "truth.jsonl")] == [0, 1]
    assert sorted(path.name for path in tmp_path.glob("card/DCIM/100DEEPF/*")) == ["IMG_0001.JPG", "IMG_0002.JPG"]


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family[1:]


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


SESSION_SCRIPT = """
import json, os, sys
from pathlib import Path
from deepflash.hardware.emulator.studio import studio_with_camera
with studio_with_camera(Path(sys.argv[1]), sys.argv[2:]) as rig:
    print(rig.relay_port, flush=True)
    sys.stdin.read()
"""


def test_a_killed_session_leaves_no_device_behind_and_can_be_taken_up_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SESSION_SCRIPT, tmp_path, *fake_camera(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        relay_port = session.stdout.readline().decode().strip()
        terminal = os.open(relay_port, os.O_RDWR | os.O_NOCTTY)
        os.write(terminal, ON_1)
        wait_until(lambda: read_journal(tmp_path / "lamps.jsonl")[-1]["on"])
        family = descendants(session.pid)
        assert len(family) >= 3  # board, camera, darkroom
        session.send_signal(signal.SIGKILL)
    os.close(terminal)
    with studio_with_camera(tmp_path, fake_camera(tmp_path)) as rig:  # at once, while the old devices are still ending
        client = client_of(rig)
        photograph(client)
        client.close()
    lamp = [record["on"] for record in read_journal(tmp_path / "lamps.jsonl") if record["channel"] == 1]
    assert lamp == [False, True, False, False]  # up, on, off by the old board's end, up again
    wait_until(lambda: not any(is_running(pid) for pid in family))
    assert processes_that_mention(str(tmp_path)) == []


def test_a_folder_of_sitters_that_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    choice = SitterChoice("S001", tmp_path / "nobody")
    sentence = r"the emulated camera ended by itself: .*nobody is not a folder of portraits"
    with pytest.raises(HardwareError, match=sentence), emulated_studio(tmp_path / "studio", choice):
        pass


def test_a_sitter_who_cannot_be_used_explains_the_camera_errors_that_follow(tmp_path: Path) -> None:
    (tmp_path / "sitters").mkdir()

    def until_the_camera_fails() -> None:
        with emulated_studio(tmp_path / "studio", SitterChoice("S001", tmp_path / "sitters"), size=(312, 416)) as rig:
            port = int(rig.camera_port.rpartition(":")[2])
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                try:
                    HandClient(port).close()
                except (OSError, EOFError) as error:
                    raise CameraError("the camera does not answer") from error
                time.sleep(0.05)

    with pytest.raises(HardwareError, match="emulated camera ended by itself"):
        until_the_camera_fails()


def test_a_camera_that_dies_at_start_gives_its_last_words(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", "import sys; sys.exit('no film')"]
    sentence = "the emulated camera ended by itself: no film"
    with pytest.raises(HardwareError, match=sentence), studio_with_camera(tmp_path, dying):
        pass
    assert processes_that_mention(str(tmp_path)) == []


def test_the_real_scene_is_photographed_with_a_built_in_sitter(tmp_path: Path) -> None:
    """Lamps on and no flash, then dark and flash: two pictures of the size asked for, with their truth."""
    with emulated_studio(tmp_path, SitterChoice("S001"), size=(312, 416), seed=3) as rig:
        client = client_of(rig)
        switch(rig, ON_1)
        time.sleep(0.3)
        assert client.ask(0x1016, 0x500C, data=b"\x02\x00").code == OK
        photograph(client)
        switch(rig, OFF_1)
        time.sleep(0.5)
        assert client.ask(0x1016, 0x500C, data=b"\x03\x00").code == OK
        photograph(client)
        client.close()
    studio, flash = read_journal(tmp_path / "truth.jsonl")
    assert studio["lamp_light"] > 0.99
    assert flash["lamp_light"] < 0.01
    assert (studio["flash"], flash["flash"]) == (False, True)
    assert json.dumps(studio["picture_from_head"]) != json.dumps(flash["picture_from_head"])
    assert (tmp_path / "camera_body.err").read_text() == ""
