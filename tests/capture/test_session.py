"""Sessions in the emulated studio: complete, rejected, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deepflash.capture import journal as journal_module
from deepflash.capture.session import first_poses, hold_session
from deepflash.errors import CameraError, CaptureError, HardwareError, PairError, RelayError
from deepflash.files import sha256_of
from deepflash.hardware.rig import Rig
from deepflash.pairs import find_pairs

NO_RIG = Rig("no board", "no camera")
LIMIT_S = 1.0  # lamps off after a kill
BUSY_S = 0.2  # what the scheduler of a shared machine may take; takes are further apart

Studio = Callable[..., tuple[Rig, Path]]

HOLD = """
import json, sys
from pathlib import Path
from deepflash.capture.session import hold_session
from deepflash.hardware.rig import Rig
rig, raw, subject, poses = json.loads(sys.argv[1])
hold_session(Rig(**rig), Path(raw), subject, poses, report=lambda done, total, note: print(done, note, flush=True))
"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def lamps_are_on(folder: Path) -> bool:
    return bool([line for line in lines(folder / "lamps.jsonl") if line["channel"] == 1][-1]["on"])


def wait_until(condition: Callable[[], bool]) -> float:
    """Return after how many seconds the condition was met."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() < began_s + 30, "it never happened"
        time.sleep(0.005)
    return time.monotonic() - began_s


def start_session(rig: Rig, raw: Path, subject: str, poses: list[str]) -> subprocess.Popen[bytes]:
    arguments = json.dumps([asdict(rig), str(raw), subject, poses])
    return subprocess.Popen([sys.executable, "-c", HOLD, arguments], stdout=subprocess.PIPE)


def assert_whole(raw: Path, count: int, truth: Path) -> None:
    """All pairs are there, as their checksums say, and each is of two neighbouring exposures in the right light."""
    pairs, set_aside = find_pairs(raw)
    assert (len(pairs), set_aside) == (count, [])
    exposures = {line["object"]: line for line in lines(truth)}
    for pair in pairs:
        assert {name: sha256_of(getattr(pair, name)) for name in ("flash", "studio")} == {
            name: facts["sha256"] for name, facts in pair.record["files"].items()
        }
        studio, flash = (exposures[Path(pair.record["card"][name]).name] for name in ("studio", "flash"))
        assert flash["shot"] == studio["shot"] + 1
        times = pair.record["times"]
        for name, exposure in (("studio", studio), ("flash", flash)):
            measured_s = times["t0_monotonic_s"] + times[f"{name}_exposure_s"]
            assert measured_s == pytest.approx(exposure["exposure_s"], abs=BUSY_S)
        assert (studio["flash"], flash["flash"]) == (False, True)


def test_a_session_commits_a_pair_for_every_pose_and_says_so(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    reports: list[tuple[int, int, str]] = []
    asked: list[tuple[str, int]] = []

    result = hold_session(
        rig,
        tmp_path / "raw",
        "S001",
        ["frontal", "left"],
        report=lambda *news: reports.append(news),
        prompt=lambda *pose: asked.append(pose),
    )

    assert (result.finish, result.missing) == ("complete", ())
    assert [pair.pose for pair in result.pairs] == ["frontal", "left"]
    assert reports[0] == (0, 2, "")
    assert reports[-1] == (2, 2, "left: saved")
    assert ("frontal", 1) in asked
    assert asked[-1][0] == "left"
    assert_whole(tmp_path / "raw", 2, folder / "truth.jsonl")
    assert not lamps_are_on(folder)
    assert not list((tmp_path / "raw").rglob(".tmp-*"))


def test_pair_json_tells_how_the_pair_was_made(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()

    (pair,) = hold_session(rig, tmp_path, "S001", ["frontal"]).pairs

    record = pair.record
    assert (record["subject"], record["pose"], record["verdict"], record["reasons"]) == ("S001", "frontal", "good", [])
    assert record["times"]["spacing_s"] == pytest.approx(rig.spacing_s, abs=rig.tolerance_s)
    assert record["times"]["settle_s"] == pytest.approx(rig.settle_s, abs=rig.tolerance_s)
    assert [entry["on"] for entry in record["relay_log"]][:2] == [True, False]
    assert record["relay_log"][0]["frame"] == "a0 01 01 a2"
    assert record["camera"]["cameramodel"]
    assert record["flash_set_by_program"]
    assert record["rig"] == asdict(rig)
    assert {"deepflash", "python", "libgphoto2", "python-gphoto2"} <= record["versions"].keys()
    assert datetime.fromisoformat(record["taken_utc"]).tzinfo is not None


def test_photographs_leave_the_card_once_they_are_committed(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()

    hold_session(rig, tmp_path / "raw", "S001", ["frontal"])

    assert not list((folder / "card").rglob("*.JPG"))


def test_a_killed_session_leaves_lamps_off_and_every_saved_pair_whole_and_goes_on(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    raw, poses = tmp_path / "raw", ["frontal", "left", "right"]
    with start_session(rig, raw, "S001", poses) as process:
        assert process.stdout is not None
        while b"1 frontal: saved" not in process.stdout.readline():
            pass
        wait_until(lambda: lamps_are_on(folder))  # in the middle of the second pair
        process.kill()
        assert wait_until(lambda: not lamps_are_on(folder)) < LIMIT_S
    saved = [pair.id for pair in find_pairs(raw)[0]]
    assert saved

    result = hold_session(rig, raw, "S001", poses)

    assert result.finish == "complete"
    assert [pair.pose for pair in result.pairs] == poses
    assert result.pairs[0].id == saved[0]
    assert len({pair.session for pair in result.pairs}) == 1
    assert_whole(raw, 3, folder / "truth.jsonl")
    assert not list(raw.rglob(".tmp-*"))


def test_a_finished_session_is_not_resumed_and_two_in_one_second_do_not_collide(
    open_studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "StoppedClock":
            return cls(2026, 11, 20, 12, 15, 0, tzinfo=tz)

    monkeypatch.setattr(journal_module, "datetime", StoppedClock)
    rig, _ = open_studio()

    first = hold_session(rig, tmp_path, "S001", ["frontal"])
    second = hold_session(rig, tmp_path, "S001", ["frontal"])

    assert first.session == "20261120T121500"
    assert second.session == "20261120T121500-2"
    assert first.pairs[0].id != second.pairs[0].id


def test_a_pair_committed_just_before_the_kill_is_found_again(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    first = hold_session(rig, tmp_path, "S001", ["frontal"])
    journal = tmp_path / "S001" / first.session / "session.json"
    content = json.loads(journal.read_text())
    journal.write_text(json.dumps({**content, "attempts": [], "finish": None}))

    again = hold_session(rig, tmp_path, "S001", ["frontal"])

    assert again.pairs == first.pairs
    assert [(attempt.take, attempt.verdict) for attempt in again.attempts] == [("001", "good")]


def test_takes_out_of_tolerance_are_retaken_and_given_up_after_the_limit(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()

    result = hold_session(replace(rig, tolerance_s=0.0), tmp_path / "raw", "S001", ["frontal"], retakes=1)

    assert (result.finish, result.missing, result.pairs, result.retakes) == ("incomplete", ("frontal",), (), 2)
    assert all("ms apart, planned are" in attempt.reasons[0] for attempt in result.attempts)
    journal = json.loads((tmp_path / "raw" / "S001" / result.session / "session.json").read_text())
    assert journal["finish"] == "incomplete"
    assert [attempt["verdict"] for attempt in journal["attempts"]] == ["rejected", "rejected"]
    assert len(list((tmp_path / "raw").glob("S001/*/orphans/*.JPG"))) == 4  # what has no committed successor is kept
    assert not list((folder / "card").rglob("*.JPG"))


def test_a_lost_camera_worker_costs_a_retake_and_no_pair(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    raw, struck = tmp_path / "raw", []

    def strike(pose: str, number: int) -> None:
        if not struck:
            struck.append(pose)
            for worker in _children_running("camera_worker", rig.camera_port):
                os.kill(worker, signal.SIGKILL)

    result = hold_session(rig, raw, "S001", ["frontal", "left"], prompt=strike)

    assert result.finish == "complete"
    assert result.attempts[0].verdict == "failed"
    assert "worker process was lost" in result.attempts[0].reasons[0]
    assert_whole(raw, 2, folder / "truth.jsonl")


def test_photographs_still_being_stored_when_a_worker_dies_are_not_taken_for_the_next_takes(
    open_studio: Studio, tmp_path: Path
) -> None:
    rig, folder = open_studio(render_s=0.6)
    raw = tmp_path / "raw"

    def strike_after_the_flash_shot() -> None:
        wait_until(lambda: sum(line["operation"] == "INITIATE_CAPTURE" for line in lines(folder / "camera.jsonl")) == 2)
        for worker in _children_running("camera_worker", rig.camera_port):
            os.kill(worker, signal.SIGKILL)

    striker = threading.Thread(target=strike_after_the_flash_shot)
    striker.start()
    result = hold_session(rig, raw, "S001", ["frontal", "left"])
    striker.join()

    assert [attempt.verdict for attempt in result.attempts] == ["failed", "good", "good"]
    assert len(result.orphans) == 2
    assert_whole(raw, 2, folder / "truth.jsonl")


def test_a_full_card_ends_the_session_at_once_with_a_sentence(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio(card_bytes=1000)

    with pytest.raises(CameraError, match="its card is full; copy the photographs that you need and empty it"):
        hold_session(rig, tmp_path / "raw", "S001", ["frontal", "left"])

    assert not lamps_are_on(folder)


def test_a_camera_that_is_gone_ends_the_session_with_a_sentence_and_it_can_be_resumed(
    open_studio: Studio, tmp_path: Path
) -> None:
    rig, folder = open_studio()
    raw = tmp_path / "raw"

    def switch_camera_off(pose: str, number: int) -> None:
        if pose == "left":
            for camera in _children_running("lit_camera.py", str(folder)):
                os.kill(camera, signal.SIGKILL)

    with pytest.raises(CameraError, match=r"no camera could be reached .* switch it on"):
        hold_session(rig, raw, "S001", ["frontal", "left"], prompt=switch_camera_off)

    assert not lamps_are_on(folder)
    other, _ = open_studio("another studio")
    result = hold_session(other, raw, "S001", ["frontal", "left"])
    assert [pair.take for pair in result.pairs] == ["001", "003"]
    assert result.finish == "complete"


def test_a_missing_board_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match="relay port no board does not exist; plug the board in"):
        hold_session(NO_RIG, tmp_path / "raw", "S001", ["frontal"])
    assert not (tmp_path / "raw").exists()


def test_a_missing_camera_is_one_sentence_and_leaves_nothing_behind(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with pytest.raises(HardwareError, match=r"camera ptpip:127\.0\.0\.1:9:9: no camera could be reached"):
        hold_session(replace(rig, camera_port="ptpip:127.0.0.1:9:9"), tmp_path / "raw", "S001", ["frontal"])
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("subject", ["../x", "", "a b", "Änne", "-x", "x" * 33])
def test_a_subject_that_is_no_safe_id_is_refused_before_anything_happens(tmp_path: Path, subject: str) -> None:
    with pytest.raises(PairError, match="is not a subject id"):
        hold_session(NO_RIG, tmp_path, subject, ["frontal"])


@pytest.mark.parametrize(
    ("poses", "sentence"), [([], "make no plan"), (["up", "up"], "make no plan"), (["../up"], "not a pose id")]
)
def test_poses_that_make_no_plan_are_refused(tmp_path: Path, poses: list[str], sentence: str) -> None:
    with pytest.raises((CaptureError, PairError), match=sentence):
        hold_session(NO_RIG, tmp_path, "S001", poses)


def test_a_damaged_journal_is_named(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    journal = tmp_path / "S001" / "20260101T000000" / "session.json"
    journal.parent.mkdir(parents=True)
    journal.write_text('{"format": 1, "subj')

    with pytest.raises(CaptureError, match=r"session\.json is damaged .* its pairs are whole"):
        hold_session(rig, tmp_path, "S001", ["frontal"])


def test_a_raw_folder_that_cannot_be_written_is_one_sentence(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    (tmp_path / "raw").write_text("a file, not a folder")

    with pytest.raises(CaptureError, match="raw cannot be written"):
        hold_session(rig, tmp_path / "raw", "S001", ["frontal"])


@pytest.mark.parametrize("count", [0, 99])
def test_more_poses_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(CaptureError, match=f"{count} poses were asked for; use 1 to"):
        first_poses(count)


def _children_running(program: str, argument: str) -> list[int]:
    """Return the processes whose command line holds both; the argument is unique to the test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if program in command and argument in command:
            found.append(int(folder.name))
    return found
