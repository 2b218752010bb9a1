"""Sittings from a terminal: the same command with a private daemon, and at one that runs already."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from deepflash.capture.daemon import Address, running_daemon
from deepflash.capture.desk import Desk, Studio
from deepflash.capture.poses import named_poses
from deepflash.capture.terminal import hold_session_at, read_address
from deepflash.capture.whereabouts import announced, find_daemon, name_of
from deepflash.errors import CaptureError
from deepflash.hardware.rig import Rig, save_rig
from deepflash.pairs import find_pairs

OpenStudio = Callable[..., tuple[Rig, Path]]


def deepflash(*arguments: str, cwd: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deepflash", "capture", *arguments]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(cwd / "run")}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, input=typed, timeout=120, check=False, env=environment
    )


def test_a_sitting_with_a_private_daemon_asks_and_does_what_is_typed(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    save_rig(rig, tmp_path / "rig.toml")

    result = deepflash(
        "session", "--subject=S001", "--rig=rig.toml", "--poses=frontal,left", "--consent=form 9", "--mirror=second", "--json",
        "--quiet", cwd=tmp_path, typed="\nr\nhm\ns\n",
    )  # fmt: skip

    assert "Turn your head a little to your left. Enter shoots; r retake" in result.stderr
    assert "Enter, r, s, u or q." in result.stderr
    assert result.stderr.count("frontal: saved") == 2, "what became of each take is said, also when progress is not"
    assert "capture: " not in result.stderr
    facts = json.loads(result.stdout)
    assert (facts["finish"], facts["missing"], facts["retakes"]) == ("incomplete", ["left"], 0)
    assert result.returncode == 3
    for tree in ("raw", "second"):
        (pair,) = find_pairs(tmp_path / tree)[0]
        assert (pair.pose, pair.take, pair.record["consent"]) == ("frontal", "002", "form 9")


def test_a_terminal_finds_the_rigs_daemon_and_leaves_it_running(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    save_rig(rig, tmp_path / "rig.toml")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    command = [sys.executable, "-m", "deepflash", "capture", "daemon", "--rig=rig.toml", "--port=0", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as daemon:
        assert daemon.stdout is not None
        told = json.loads(daemon.stdout.readline())

        for where in ([], [f"--daemon={told['url']}"]):
            result = deepflash(
                "session",
                "--subject=S001",
                "--rig=rig.toml",
                "--poses=1",
                "--no-prompt",
                "--raw=elsewhere",
                *where,
                cwd=tmp_path,
            )
            assert result.returncode == 0, result.stderr

        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    assert len(find_pairs(tmp_path / "raw")[0]) == 2, "the daemon's tree, not the one that the terminal named"
    assert not (tmp_path / "elsewhere").exists()
    assert not list((tmp_path / "run").rglob("*.json"))


def test_a_pose_that_nobody_is_asked_about_is_given_up_after_its_retakes(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    off = replace(rig, tolerance_s=0.0)
    studio = Studio(lambda subject: nullcontext(off), True, tmp_path / "raw", named_poses(("frontal",)), retakes=0)
    notes: list[str] = []
    with Desk(studio) as desk, running_daemon(desk) as address:
        session = hold_session_at(
            address, "S001", ["frontal"], retakes=1, report=lambda done, total, note: notes.append(f"{done}/{total} {note}")
        )
    assert (session["finish"], session["missing"], len(session["takes"])) == ("incomplete", ["frontal"], 2)
    assert notes[0] == "0/1 "
    assert "ms apart, planned are" in notes[1]


@pytest.mark.parametrize(
    "url", ["", "http://evil.example:80/#x", "http://127.0.0.1:8765/", "https://127.0.0.1:8765/#x", "8765"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CaptureError, match="that is no daemon's address"):
        read_address(url)


def test_a_daemon_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(CaptureError, match="no daemon answers at port 9 "):
        hold_session_at(Address(9, "token"), "S001", ["frontal"])


def test_only_its_user_can_read_where_a_daemon_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    name = name_of(None, tmp_path / "raw")
    with announced(name, Address(1234, "secret")):
        assert find_daemon(name) == Address(1234, "secret")
        assert find_daemon(name_of(None, tmp_path / "other")) is None
        (path,) = tmp_path.rglob("*.json")
        assert path.stat().st_mode & 0o077 == 0
    assert find_daemon(name) is None

    (tmp_path / "deepflash").chmod(0o755)
    with pytest.raises(CaptureError, match="is not a folder of this user alone"):
        find_daemon(name)
