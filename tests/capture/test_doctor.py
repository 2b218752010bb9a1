"""The doctor: it finds what is wrong with a rig that was spoilt, and says how to mend it."""

import json
import os
import socket
import subprocess
import sys
import tty
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from deepflash.capture import doctor
from deepflash.capture.doctor import Finding, Holder, examine, holders_of
from deepflash.cli import cli
from deepflash.hardware.rig import Rig, save_rig
from tests.capture.conftest import Studio

NOBODY = Rig("/dev/no-such-port", "ptpip:127.0.0.1:9:9")


@pytest.fixture
def quick_camera(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what replaces the camera by one that says what a test wants of itself."""

    def replace_camera(**facts: object) -> None:
        known = {"settings": {}, "flash_settable": True, "card_free_bytes": None, "clock_ahead_s": None, **facts}

        class Told:
            def __enter__(self) -> SimpleNamespace:
                return SimpleNamespace(facts=SimpleNamespace(**known))

            def __exit__(self, *_: object) -> None: ...

        monkeypatch.setattr(doctor, "open_camera", lambda _rig: Told())

    replace_camera()
    return replace_camera


def found(rig: Rig, raw: Path, what: str, proc: Path = Path("/proc")) -> list[Finding]:
    return [finding for finding in examine(rig, raw, proc=proc) if finding.what == what]


def test_a_sound_emulated_rig_has_no_fault(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()

    findings = {finding.what: finding for finding in examine(rig, tmp_path / "raw")}

    assert [finding for finding in findings.values() if finding.state == "fault"] == []
    assert findings.keys() >= {"relay port", "lamps", "camera", "battery", "card", "camera clock", "disk", "clock"}
    assert findings["battery"].sentence == "the camera's battery says 100%"
    assert "about 83 pairs" in findings["card"].sentence, "the card of 1 GB was asked"
    assert not (tmp_path / "raw").exists()


def test_a_program_that_holds_the_port_is_named(quick_camera: Callable[..., None], tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    port = os.ttyname(slave)
    code = f"import sys; held = open({port!r}, 'rb', buffering=0); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (held,) = found(replace(NOBODY, relay_port=port), tmp_path, "relay port")
        lamps = found(replace(NOBODY, relay_port=port), tmp_path, "lamps")
        holder.communicate()
    os.close(master)
    os.close(slave)

    assert held.state == "fault"
    assert f"{port} is held by {Path(sys.executable).name}" in held.sentence
    assert f"kill {holder.pid}" in held.mend
    assert lamps == [], "a port that another program uses is left alone"


def fake_process(proc: Path, pid: int, program: str, *open_files: str) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_bytes(program.encode() + b"\0--flag\0")
    for number, target in enumerate(open_files):
        (proc / str(pid) / "fd" / str(number)).symlink_to(target)


def test_holders_are_told_by_their_open_files(tmp_path: Path) -> None:
    fake_process(tmp_path, 101, "/usr/bin/modem-manager", "/dev/null", "/dev/ttyUSB7")
    fake_process(tmp_path, 102, "/usr/bin/other", "/dev/ttyUSB8")
    fake_process(tmp_path, 103, "/usr/bin/board-emulator", "/dev/ttyUSB7", "/dev/ptmx")

    assert holders_of(Path("/dev/ttyUSB7"), tmp_path) == [Holder(101, "modem-manager")]


def test_the_desktops_camera_service_is_a_warning_with_the_command_that_ends_it(
    quick_camera: Callable[..., None], tmp_path: Path
) -> None:
    fake_process(tmp_path, 202, "/usr/libexec/gvfs-gphoto2-volume-monitor")

    (rival,) = found(NOBODY, tmp_path, "rivals", tmp_path)

    assert rival.state == "warning"
    assert "gvfs-gphoto2-volume-monitor (process 202) takes cameras" in rival.sentence
    assert rival.mend.startswith("systemctl --user stop gvfs-gphoto2-volume-monitor")


@pytest.mark.parametrize(
    ("port", "sentence"),
    [("/dev/no-such-port", "/dev/no-such-port does not exist"), ("socket://127.0.0.1:1", "127.0.0.1:1 cannot be reached")],
)
def test_a_relay_port_that_is_not_there_is_a_fault(
    quick_camera: Callable[..., None], tmp_path: Path, port: str, sentence: str
) -> None:
    (finding,) = found(replace(NOBODY, relay_port=port), tmp_path, "relay port")

    assert finding.state == "fault"
    assert sentence in finding.sentence
    assert finding.mend


def test_a_relay_board_on_the_network_is_reached(quick_camera: Callable[..., None], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = f"socket://127.0.0.1:{listener.getsockname()[1]}"
        (finding,) = found(replace(NOBODY, relay_port=port), tmp_path, "relay port")

    assert finding.state == "ok"


def test_a_camera_that_does_not_answer_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    (finding,) = found(NOBODY, tmp_path, "camera")

    assert finding.state == "fault"
    assert "no camera could be reached" in finding.sentence


@pytest.mark.parametrize(
    ("level", "state"), [("100%", "ok"), ("38", "warning"), ("9%", "fault"), ("Low", "warning"), ("Full", "ok")]
)
def test_the_battery_is_judged_by_what_cameras_say(
    quick_camera: Callable[..., None], tmp_path: Path, level: str, state: str
) -> None:
    quick_camera(settings={"batterylevel": level})

    (finding,) = found(NOBODY, tmp_path, "battery")

    assert finding.state == state


@pytest.mark.parametrize(("free", "state"), [(64 * 10**9, "ok"), (5 * 10**8, "warning"), (10**7, "fault")])
def test_a_card_that_is_nearly_full_is_told(quick_camera: Callable[..., None], tmp_path: Path, free: int, state: str) -> None:
    quick_camera(card_free_bytes=free)

    (finding,) = found(NOBODY, tmp_path, "card")

    assert finding.state == state


def test_a_wrong_clock_of_the_camera_is_a_warning(quick_camera: Callable[..., None], tmp_path: Path) -> None:
    quick_camera(clock_ahead_s=-3600.0, flash_settable=False)

    (clock,) = found(NOBODY, tmp_path, "camera clock")
    (flash,) = found(NOBODY, tmp_path, "flash")

    assert (clock.state, clock.sentence) == ("warning", "the camera's clock is 3600 s behind this computer's")
    assert flash.state == "warning"


@pytest.mark.parametrize(("free", "state"), [(10**12, "ok"), (10**9, "warning"), (10**7, "fault")])
def test_a_disk_that_is_nearly_full_is_told(
    quick_camera: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))

    (finding,) = found(NOBODY, tmp_path / "raw", "disk")

    assert finding.state == state
    assert "pairs" in finding.sentence


def test_a_raw_tree_that_is_a_file_is_a_fault(quick_camera: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("")

    (finding,) = found(NOBODY, tmp_path / "raw", "disk")

    assert (finding.state, finding.mend) == ("fault", "choose another folder, or change its owner")


@pytest.fixture
def spoilt_rig(tmp_path: Path, quick_camera: Callable[..., None]) -> Path:
    save_rig(NOBODY, tmp_path / "rig.toml")
    return tmp_path / "rig.toml"


def test_the_command_lists_findings_with_their_mending_and_fails_on_a_fault(spoilt_rig: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["capture", "doctor", "--rig", str(spoilt_rig), "--raw", str(tmp_path)], standalone_mode=False
    )

    assert result.return_value == 1
    assert "fault    relay port: /dev/no-such-port does not exist\n         plug it in, or name another port" in result.output
    assert "ok       disk: " in result.output


def test_the_command_gives_machines_one_object(spoilt_rig: Path, tmp_path: Path) -> None:
    arguments = ["capture", "doctor", "--rig", str(spoilt_rig), "--raw", str(tmp_path), "--json"]

    told = json.loads(CliRunner().invoke(cli, arguments, standalone_mode=False).stdout)

    assert told["sound"] is False
    assert {"what": "relay port", "state": "fault"}.items() <= told["findings"][0].items()
