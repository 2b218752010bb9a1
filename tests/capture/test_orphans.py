"""What failed attempts and killed programs leave on the card: kept, told apart by content, cleared; and RAW files."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepflash.capture.orphans import clear_orphans, note_card
from deepflash.capture.sequence import photograph_pair
from deepflash.capture.session import hold_session
from deepflash.errors import CameraError, CaptureError
from deepflash.files import sha256_of
from deepflash.hardware.camera import Camera
from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
from deepflash.pairs import commit_pair, read_pair

Studio = Callable[..., tuple[Rig, Path]]


def on_card(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "card").rglob("IMG_*"))


def orphans(raw: Path) -> list[str]:
    """Return the camera's names of what was kept, without the digits of the checksum."""
    return sorted(path.name.partition("-")[2] for path in raw.glob("S001/*/orphans/*"))


def journal(raw: Path) -> dict[str, Any]:
    (path,) = raw.glob("S001/*/session.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_photographs_of_a_failed_take_are_kept_beside_the_session_and_leave_the_card(
    open_studio: Studio, tmp_path: Path
) -> None:
    rig, folder = open_studio()
    order_fault(folder, Fault("camera", "dropped-after", skip=1))

    result = hold_session(rig, tmp_path / "raw", "S001", ["frontal"])

    assert [attempt.verdict for attempt in result.attempts] == ["failed", "good"]
    assert orphans(tmp_path / "raw") == ["IMG_0001.JPG", "IMG_0002.JPG"]
    assert on_card(folder) == []
    assert any(entry["what"] == "orphans" for entry in journal(tmp_path / "raw")["log"])


def test_what_was_on_the_card_before_the_session_stays_there(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    (tmp_path / "fetched").mkdir()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        photograph_pair(rig, lamps, camera, tmp_path / "fetched")

    hold_session(rig, tmp_path / "raw", "S001", ["frontal"])

    assert on_card(folder) == ["IMG_0001.JPG", "IMG_0002.JPG"]
    assert orphans(tmp_path / "raw") == []


def test_what_is_committed_already_only_leaves_the_card(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    session = tmp_path / "raw" / "S001" / "s1"
    session.mkdir(parents=True)
    (tmp_path / "fetched").mkdir()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        before = note_card(camera, session)
        take = photograph_pair(rig, lamps, camera, tmp_path / "fetched")
        record = {"subject": "S001", "session": "s1", "take": "001", "pose": "frontal"}
        pair = commit_pair(session / "001", take.flash.path, take.studio.path, record)  # and killed before deleting
        camera.reconnect()

        assert note_card(camera, session) == before == frozenset()
        assert clear_orphans(camera, session, before, [pair]) == ()

    assert on_card(folder) == []
    assert not (session / "orphans").exists()


def test_a_camera_that_fails_meanwhile_keeps_the_rest(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    (tmp_path / "fetched").mkdir()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        photograph_pair(rig, lamps, camera, tmp_path / "fetched")
        order_fault(folder, Fault("camera", "cut", skip=2))  # each is fetched twice; the second one fails

        kept = clear_orphans(camera, tmp_path, frozenset(), [])

    assert [name.partition("-")[2] for name in kept] == ["IMG_0001.JPG"]
    assert on_card(folder) == ["IMG_0002.JPG"]


def test_a_damaged_note_of_the_card_is_one_sentence(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    (tmp_path / "card.json").write_text("{")
    with (
        Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera,
        pytest.raises(CaptureError, match=r"card\.json is damaged .* remove it"),
    ):
        note_card(camera, tmp_path)


def test_raw_files_stand_beside_the_pair_with_their_checksums(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio(raw=True)

    (pair,) = hold_session(rig, tmp_path / "raw", "S001", ["frontal"]).pairs

    take = pair.flash.parent
    assert read_pair(take).record["beside"] == {
        name: {"sha256": sha256_of(take / name), "size_bytes": (take / name).stat().st_size}
        for name in ("studio.dng", "flash.dng")
    }
    stamps = [json.loads((take / name).read_bytes()[4:].rstrip(b"\0")) for name in ("studio.dng", "flash.dng")]
    first = stamps[0]["shot"]  # 0, unless a busy machine has spoilt a take before
    assert [(stamp["shot"], stamp["flash"]) for stamp in stamps] == [(first, False), (first + 1, True)]
    assert on_card(folder) == []


def test_a_dial_that_was_turned_is_set_back_and_told_with_the_pair(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    rig = replace(rig, camera_settings={"shutterspeed": "0.0166s"})

    result = hold_session(
        rig,
        tmp_path / "raw",
        "S001",
        ["frontal"],
        prompt=lambda *_: order_fault(folder, Fault("camera", "drift", value=333)),
    )

    sentence = "shutterspeed was 0.0333s and has been set back to 0.0166s"
    assert sentence in result.attempts[0].warnings
    assert sentence in result.pairs[0].record["warnings"]


def test_the_lamps_do_not_wait_for_a_camera_that_hangs(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        order_fault(folder, Fault("camera", "unanswered"))  # libgphoto2 waits 2.5 s
        began_s = time.monotonic()
        with pytest.raises(CameraError, match="failed when triggering"):
            photograph_pair(rig, lamps, camera, tmp_path)
        failed_s = time.monotonic()

    lines = [json.loads(line) for line in (folder / "lamps.jsonl").read_text().splitlines()]
    off_s = next(line["at_s"] for line in lines if not line["on"] and line["at_s"] > began_s)
    assert off_s < failed_s - 0.5
