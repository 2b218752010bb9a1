"""A file appears whole or not at all, whatever happens in between."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepflash.files import (
    SEAL,
    TEMPORARY_PREFIX,
    durable_file,
    durable_folder,
    locked_folder,
    seal_of,
    sha256_of,
    sweep_temporaries,
    write_durably,
    write_json,
    write_sealed_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=st.binary(max_size=50), new=st.binary(max_size=50))
def test_what_is_written_replaces_what_was_there(tmp_path: Path, old: bytes, new: bytes) -> None:
    write_durably(tmp_path / "a", old)
    write_durably(tmp_path / "a", new)
    assert (tmp_path / "a").read_bytes() == new
    assert names(tmp_path) == ["a"]


def test_a_file_is_readable_for_colleagues(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", "text")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_an_error_in_the_block_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt):
        _write_and_fail(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def _write_and_fail(path: Path) -> None:
    with durable_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    write_durably(tmp_path / "a", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_durably(tmp_path / "a", "new")
    monkeypatch.undo()
    assert raised.value.filename == str(tmp_path / "a"), "so that the command can say which file"
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to tell which file is synced")
def test_a_name_appears_only_after_its_content_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order write, fsync, rename, fsync of the folder; new folders above are made durable too."""
    calls = record_calls(monkeypatch)
    write_durably(tmp_path / "new" / "folder" / "a", "content")
    made, written = calls[:2], calls[2:]
    assert made == [("fsync", tmp_path.name), ("fsync", "new")]
    assert [(call, name) for call, name in written if not name.startswith(TEMPORARY_PREFIX)] == [
        ("replace", "a"),
        ("fsync", "folder"),
    ]
    assert written[0][0] == "fsync"
    assert written[0][1].startswith(TEMPORARY_PREFIX)


def record_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []
    fsync: Callable[[int], None] = os.fsync
    replace: Callable[..., None] = os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def recorded_replace(source: str, target: str) -> None:
        calls.append(("replace", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return calls


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_what_is_not_json_is_not_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", value)
    assert names(tmp_path) == []


def test_json_keeps_names_in_any_script(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"pose": "três quartos"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"pose": "três quartos"}


def test_a_folder_appears_with_everything_in_it(tmp_path: Path) -> None:
    with durable_folder(tmp_path / "take") as draft:
        (draft / "a").write_text("1")
        (draft / "inner").mkdir()
        (draft / "inner" / "b").write_text("2")
        assert not (tmp_path / "take").exists()
    assert (tmp_path / "take" / "inner" / "b").read_text() == "2"
    assert names(tmp_path) == ["take"]


def test_a_committed_folder_is_never_replaced(tmp_path: Path) -> None:
    write_durably(tmp_path / "take" / "a", "first")
    with pytest.raises(FileExistsError, match="take exists already"), durable_folder(tmp_path / "take") as draft:
        (draft / "a").write_text("second")
    assert (tmp_path / "take" / "a").read_text() == "first"
    assert names(tmp_path) == ["take"]


def test_killed_at_any_moment_a_folder_is_whole_or_absent_and_the_rubbish_is_swept(tmp_path: Path) -> None:
    """Twenty kills, spread over a process that commits folders of two files as fast as it can."""
    program = """
import itertools, pathlib, sys
from deepflash.files import durable_folder
root = pathlib.Path(sys.argv[1])
for number in itertools.count(int(sys.argv[2]) * 10000):
    with durable_folder(root / f"{number:06d}") as draft:
        (draft / "a").write_bytes(b"a" * 50000)
        (draft / "b").write_bytes(b"b" * 50000)
    print(number, flush=True)
"""
    acknowledged: list[int] = []
    for round_ in range(20):
        process = subprocess.Popen([sys.executable, "-c", program, tmp_path, str(round_)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(0.0007 * round_)
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
        process.stdout.close()
        process.wait()
    sweep_temporaries(tmp_path)
    found = names(tmp_path)
    assert {f"{number:06d}" for number in acknowledged} <= set(found)
    assert all(names(tmp_path / name) == ["a", "b"] for name in found)
    assert all((tmp_path / name / "b").stat().st_size == 50000 for name in found)


def test_only_rubbish_of_dead_processes_of_this_machine_is_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with durable_folder(tmp_path / "take") as draft:
        own = draft.name
        stem, _, _ = own.rpartition("-")
        prefix = f"{stem.rpartition('-')[0]}-"
        dead = tmp_path / "deep" / f"{prefix}{ended.pid}-abc"
        dead.mkdir(parents=True)
        (dead / "half.jpg").write_text("half")
        foreign = tmp_path / f"{TEMPORARY_PREFIX}another_machine-{ended.pid}-abc"
        foreign.write_text("")
        (tmp_path / "photograph.jpg").write_text("kept")
        assert sweep_temporaries(tmp_path) == 1
        assert names(tmp_path) == sorted(["deep", own, foreign.name, "photograph.jpg"])
        assert names(tmp_path / "deep") == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process began")
def test_the_rubbish_of_a_process_whose_id_came_again_is_swept(tmp_path: Path) -> None:
    with durable_folder(tmp_path / "take") as draft:
        before, _, after = draft.name.partition(f"-{os.getpid()}.")
        started, _, rest = after.partition("-")
        earlier = tmp_path / f"{before}-{os.getpid()}.{int(started) - 1}-{rest}"
        earlier.mkdir()
        assert sweep_temporaries(tmp_path) == 1
        assert names(tmp_path) == [draft.name]


def test_rubbish_of_other_machines_goes_when_it_is_a_month_old(tmp_path: Path) -> None:
    """Nobody here can know whether its process lives; nothing of ours is written for so long."""
    old, new = (tmp_path / f"{TEMPORARY_PREFIX}another_machine-{number}-abc" for number in (1, 2))
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 31 * 86400,) * 2)

    assert sweep_temporaries(tmp_path) == 1

    assert names(tmp_path) == [new.name]


def test_a_sweep_and_a_neighbour_at_work_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Array jobs write into one folder: what one of them removes meanwhile must not trip the other's sweep."""
    program = """
import pathlib, sys
from deepflash.files import durable_folder, temporary_folder
root = pathlib.Path(sys.argv[1])
for number in range(400):
    with temporary_folder(root) as work, durable_folder(root / str(number)) as draft:
        (work / "deep" / "deeper").mkdir(parents=True)
        (draft / "a").touch()
"""
    neighbour = subprocess.Popen([sys.executable, "-c", program, tmp_path])
    while neighbour.poll() is None:
        assert sweep_temporaries(tmp_path) == 0

    assert neighbour.returncode == 0
    assert len(names(tmp_path)) == 400


def test_a_checksum_is_that_of_sha256sum(tmp_path: Path) -> None:
    """FIPS 180-4's example: SHA-256 of `abc`."""
    write_durably(tmp_path / "a", "abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    write_durably(tmp_path / "b", b"x" * 3_000_000)
    assert sha256_of(tmp_path / "b") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_a_seal_notices_every_flipped_bit_and_every_edit(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    value = {"format": 1, "transform": [[1.25, -0.5]], "name": "é", "empty": []}
    write_sealed_json(path, value)
    content = path.read_bytes()
    assert seal_of(content) == "whole"
    assert {name: found for name, found in json.loads(content).items() if name != SEAL} == value
    for bit in range(8 * len(content)):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        assert seal_of(bytes(altered)) == "broken", bit
    assert {seal_of(content[:length]) for length in range(len(content))} == {"broken"}


def test_the_seal_is_what_a_shell_computes(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    write_sealed_json(path, {"format": 1})
    summed = subprocess.run(f"sed 1,2d {path} | sha256sum", shell=True, capture_output=True, text=True, check=True).stdout
    assert summed.split()[0] == json.loads(path.read_text())[SEAL]


def test_json_from_before_there_were_seals_has_none(tmp_path: Path) -> None:
    write_json(tmp_path / "old.json", {"format": 1, "size": 2})
    assert seal_of((tmp_path / "old.json").read_bytes()) == "none"


def test_a_folder_is_locked_by_one_at_a_time_until_its_holder_is_gone(tmp_path: Path) -> None:
    with locked_folder(tmp_path) as mine:
        assert mine
        with locked_folder(tmp_path) as second:
            assert not second
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom deepflash.files import locked_folder\n"
        "with locked_folder(Path(sys.argv[1])) as mine:\n    print(mine, flush=True)\n    time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with locked_folder(tmp_path) as mine:
        assert not mine
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locked_folder(tmp_path) as mine:
        assert mine
