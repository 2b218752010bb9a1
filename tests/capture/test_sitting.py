"""A sitting step by step, in the emulated studio: what is kept, what is put aside, what a kill in between leaves."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepflash.capture.mirror import Mirror
from deepflash.capture.sitting import Sitting, Stage, open_sitting
from deepflash.capture.subjects import Subject, save_subject
from deepflash.errors import CaptureError, PairError, RelayError
from deepflash.files import sha256_of
from deepflash.hardware.cameras import open_camera
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
from deepflash.pairs import find_pairs

Studio = Callable[..., tuple[Rig, Path]]


@contextmanager
def sit(rig: Rig, raw: Path, poses: list[str], **options: Any) -> Iterator[Sitting]:
    with (
        Lamps(rig) as lamps,
        open_camera(rig) as camera,
        open_sitting(rig, raw, lamps, camera, "S001", poses, **options) as sitting,
    ):
        yield sitting


def kept(raw: Path) -> list[tuple[str, str]]:
    """Pose and take of every pair that a later stage would find."""
    try:
        pairs, set_aside = find_pairs(raw)
    except PairError:  # there is none
        return []
    assert set_aside == []
    return [(pair.pose, pair.take) for pair in pairs]


def journal_of(raw: Path) -> dict[str, Any]:
    (path,) = raw.glob("*/*/session.json")
    return dict(json.loads(path.read_text()))


def test_each_step_of_a_sitting_is_kept_or_put_aside_and_journalled(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    raw = tmp_path / "raw"
    save_subject(raw, Subject("S001", "form 12"))
    stages: list[Stage] = []

    with sit(rig, raw, ["frontal", "left", "up"], watch=stages.append) as sitting:
        sitting.shoot()
        assert [stage.name for stage in stages] == ["photographing", "checking", "saving"]
        assert sitting.pose == "left"

        sitting.retake()  # the last take's pose again, not the next one
        assert kept(raw) == [("frontal", "002")], "a good retake replaces the pair"
        assert sitting.undo().replaced == "001"
        assert kept(raw) == [("frontal", "001")], "undoing a retake brings the replaced pair back"
        assert sitting.undo().take == "001"
        assert kept(raw) == []
        assert sitting.pose == "frontal"

        sitting.shoot()
        assert sitting.skip() == "left"
        assert (sitting.pose, sitting.skipped) == ("up", ("left",))
        sitting.undo()
        assert (sitting.pose, sitting.skipped) == ("left", ())
        sitting.skip()

        sitting.pause()
        with pytest.raises(CaptureError, match="the session is paused; resume it first"):
            sitting.shoot()
        sitting.resume()
        sitting.shoot()
        assert sitting.pose is None
        with pytest.raises(CaptureError, match="every pose is done"):
            sitting.shoot()
        sitting.finish("the subject had to go")
        with pytest.raises(CaptureError, match="is finished; start another one"):
            sitting.undo()

    assert sorted(kept(raw)) == [("frontal", "003"), ("up", "004")], "a take's number is never used twice"
    journal = journal_of(raw)
    assert (journal["finish"], journal["finish_reason"], journal["consent"]) == (
        "incomplete",
        "the subject had to go",
        "form 12",
    )
    assert [event["what"] for event in journal["log"]] == [
        "started", "take", "take", "undo", "undo", "take", "skip", "undo", "skip", "pause", "resume", "take", "finish",
    ]  # fmt: skip
    assert find_pairs(raw)[0][0].record["consent"] == "form 12"
    withdrawn = {path.parent.name for path in raw.glob("S001/*/.withdrawn/*/pair.json")}
    assert withdrawn == {"001", "002"}, "what is put aside is not erased"


def test_a_rejected_retake_leaves_the_pair_that_was_there(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with sit(rig, tmp_path, ["frontal"]) as sitting:
        sitting.shoot()
    with sit(replace(rig, tolerance_s=0.0), tmp_path, ["frontal"]) as sitting:
        attempt = sitting.retake()

        assert (attempt.verdict, attempt.apparatus) == ("rejected", True)
        assert kept(tmp_path) == [("frontal", "001")]
        assert sitting.pose == "frontal", "the operator may try again"


def test_a_kill_between_two_takes_of_a_pose_leaves_one_pair(open_studio: Studio, tmp_path: Path) -> None:
    """A retake is committed before the pair that it replaces is put aside; the kill comes in between."""
    rig, _ = open_studio()
    with sit(rig, tmp_path, ["frontal", "left"]) as sitting:
        sitting.shoot()
        before = sitting.journal
        sitting.retake()
    (session,) = tmp_path.glob("S001/*")
    (session / ".withdrawn" / "001").rename(session / "001")
    content = json.loads((session / "session.json").read_text())
    content["attempts"] = content["attempts"][:1]
    content["steps"] = [{"kind": "take", "pose": "frontal", "take": "001", "replaced": ""}]
    (session / "session.json").write_text(json.dumps(content))
    assert before.steps[0].take == "001"

    with sit(rig, tmp_path, ["frontal", "left"]) as sitting:
        assert kept(tmp_path) == [("frontal", "002")]
        assert sitting.pose == "left"
        sitting.undo()
        assert kept(tmp_path) == [("frontal", "001")]


def test_a_kill_in_the_middle_of_an_undo_is_carried_through(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with sit(rig, tmp_path, ["frontal"]) as sitting:
        sitting.shoot()
        sitting.retake()
    (session,) = tmp_path.glob("S001/*")
    (session / "002").rename(session / ".withdrawn" / "002")

    with sit(rig, tmp_path, ["frontal"]):
        assert kept(tmp_path) == [("frontal", "001")]


def test_a_sitting_goes_on_after_the_disk_was_full(
    open_studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, _ = open_studio()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with sit(rig, tmp_path, ["frontal"]) as sitting:
        with monkeypatch.context() as full:
            full.setattr("deepflash.pairs.shutil.copyfile", refuse)
            with pytest.raises(OSError, match="No space left"):
                sitting.shoot()
        assert kept(tmp_path) == []

        assert sitting.shoot().verdict == "good"
        assert kept(tmp_path) == [("frontal", "001")]


def test_the_mirror_holds_every_pair_follows_undo_and_catches_up(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    raw, second = tmp_path / "raw", tmp_path / "disk" / "mirror"
    second.parent.write_text("no disk is mounted here yet")
    mirror = Mirror(raw, second)

    with sit(rig, raw, ["frontal", "left"], mirror=mirror) as sitting:
        sitting.shoot()
        assert f"the second copy in {second} is behind" in sitting.mirror_fault
        assert len(list((folder / "card").rglob("*.JPG"))) == 2, "photographs stay on the card until there is a second copy"

        second.parent.unlink()
        sitting.shoot()
        assert sitting.mirror_fault == ""
        assert list((folder / "card").rglob("*.JPG")) == []
        sitting.undo()
        sitting.finish()

    files = {path.relative_to(raw): sha256_of(path) for path in raw.rglob("*") if path.is_file()}
    assert {path.relative_to(second): sha256_of(path) for path in second.rglob("*") if path.is_file()} == files
    assert kept(second) == [("frontal", "001")]


def test_a_mirror_that_was_away_catches_up_at_the_end_of_a_later_session(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    raw, second = tmp_path / "raw", tmp_path / "disk" / "mirror"
    second.parent.write_text("no disk is mounted here yet")
    with sit(rig, raw, ["frontal"], mirror=Mirror(raw, second)) as sitting:
        sitting.shoot()
        sitting.finish()
        assert sitting.mirror_fault
    second.parent.unlink()

    with sit(rig, raw, ["frontal"], mirror=Mirror(raw, second)) as sitting:
        sitting.shoot()
        sitting.finish()
        assert sitting.mirror_fault == ""

    assert kept(second) == [("frontal", "001"), ("frontal", "001")]


def test_a_mirror_inside_the_raw_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="put the mirror on another disk"):
        Mirror(tmp_path / "raw", tmp_path / "raw" / "mirror")


def test_a_board_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match="plug the board in"), sit(Rig("no board", "no camera"), tmp_path, ["frontal"]):
        pass
