"""The camera's client and worker on an emulated PTP/IP camera that suffers: what is kept, what is refused, what is told."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deepflash.errors import CameraError
from deepflash.hardware.camera import Camera, CardFullError, SettingsError, Shot
from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.emulator.studio import studio_with_camera

PAIR = [Shot(0.0, flash=False), Shot(0.2, flash=True)]
FAKE_CAMERA = str(Path(__file__).with_name("fake_camera.py"))

OpenCamera = Callable[..., Camera]


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    return tmp_path / "studio"


@pytest.fixture
def open_camera(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenCamera]:
    """Return what opens an emulated camera, RAW files beside the JPEGs if wanted, and connects to it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("VCAMERADIR", raising=False)
    (tmp_path / "fetched").mkdir()
    with ExitStack() as stack:

        def open_camera(*, raw: bool = False, quiet_s: float = 0.2, render_s: float = 0.0, **options: Any) -> Camera:
            command = [
                sys.executable,
                FAKE_CAMERA,
                str(studio),
                "64",
                "48",
                str(render_s),
                str(10**9),
                *(["raw"] if raw else []),
            ]
            rig = stack.enter_context(studio_with_camera(studio, command))
            return stack.enter_context(Camera(rig.camera_port, rig.camera_model, quiet_s=quiet_s, **options))

        yield open_camera


def shoot(camera: Camera, tmp_path: Path) -> list[Any]:
    camera.make_ready()
    return camera.shoot(PAIR, at_s=time.monotonic() + 0.05, folder=tmp_path / "fetched", on_trigger=lambda *_: None)


def names_on_card(studio: Path) -> list[str]:
    return sorted(path.name for path in (studio / "card").rglob("IMG_*"))


def test_a_raw_file_stays_with_its_jpeg_and_leaves_the_card_with_it(
    open_camera: OpenCamera, studio: Path, tmp_path: Path
) -> None:
    camera = open_camera(raw=True)

    for number in (1, 3):
        files = shoot(camera, tmp_path)

        assert [file.name for file in files] == [f"IMG_{number:04d}.JPG", f"IMG_{number + 1:04d}.JPG"]
        for shot, file in enumerate(files):
            (raw,) = file.beside
            assert (raw.name, raw.path.name) == (file.name.replace("JPG", "DNG"), f"{shot}.dng")
            assert json.loads(raw.path.read_bytes()[4:].rstrip(b"\0"))["shot"] == number + shot - 1

    camera.delete(files)
    assert names_on_card(studio) == ["IMG_0001.DNG", "IMG_0001.JPG", "IMG_0002.DNG", "IMG_0002.JPG"]


@pytest.mark.parametrize("kind", ["duplicate", "incomplete"])
def test_events_too_many_or_too_few_do_no_harm(open_camera: OpenCamera, studio: Path, tmp_path: Path, kind: str) -> None:
    camera = open_camera(raw=True)
    order_fault(studio, Fault("camera", kind, times=2))

    assert [file.name for file in shoot(camera, tmp_path)] == ["IMG_0001.JPG", "IMG_0002.JPG"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault("camera", "late", value=0.5), "in another order than their names; the take is lost"),
        (Fault("camera", "unannounced", skip=1), "announced 1 of 2 photographs within 5 s; the take is lost"),
        (Fault("camera", "pressed"), "announced a photograph too many .IMG_0003.; do not press it"),
        (Fault("camera", "garbled", skip=1), "IMG_0001.JPG came differently when it was fetched again"),
        (Fault("camera", "half-stored"), "IMG_0001.JPG is not a whole JPEG file; the take is lost"),
        (Fault("camera", "cut"), "failed when fetching a photograph"),
        (Fault("camera", "dropped", skip=1), "failed when triggering"),
    ],
)
def test_a_take_that_may_be_wrong_is_refused_in_a_sentence_and_the_next_is_right(
    open_camera: OpenCamera, studio: Path, tmp_path: Path, fault: Fault, sentence: str
) -> None:
    camera = open_camera(quiet_s=0.5)
    order_fault(studio, fault)

    with pytest.raises(CameraError, match=sentence):
        shoot(camera, tmp_path)

    camera.reconnect()
    taken = {name for _, name in camera.orphans}
    files = shoot(camera, tmp_path)
    first, second = (int(file.name[4:8]) for file in files)
    assert second == first + 1
    assert not taken & {file.name for file in files}


def test_a_full_card_is_an_error_of_its_own(open_camera: OpenCamera, studio: Path, tmp_path: Path) -> None:
    camera = open_camera()
    order_fault(studio, Fault("camera", "card-full-event"))

    with pytest.raises(CardFullError, match="its card is full; copy the photographs"):
        shoot(camera, tmp_path)


def test_what_is_on_the_card_can_be_fetched_as_it_is(open_camera: OpenCamera, studio: Path, tmp_path: Path) -> None:
    camera = open_camera()
    order_fault(studio, Fault("camera", "half-stored"))
    with pytest.raises(CameraError, match="not a whole JPEG"):
        shoot(camera, tmp_path)
    camera.reconnect()
    (tmp_path / "rescued").mkdir()

    files = camera.fetch(camera.orphans, tmp_path / "rescued")

    on_card = [path.read_bytes() for path in sorted((studio / "card").rglob("IMG_*"))]
    assert [file.path.read_bytes() for file in files] == on_card
    assert {(file.folder, file.name) for file in files} <= camera.card


def test_the_rigs_settings_are_set_held_and_a_drift_is_told(open_camera: OpenCamera, studio: Path, tmp_path: Path) -> None:
    camera = open_camera(settings={"shutterspeed": "0.0333s", "iso": "100"})
    assert camera.facts.settings["shutterspeed"] == "0.0333s"

    order_fault(studio, Fault("camera", "drift", value=80))
    shoot(camera, tmp_path)

    assert camera.drifts == ["shutterspeed was 0.0080s and has been set back to 0.0333s"]
    durations = {json.loads(line)["duration_s"] for line in (studio / "truth.jsonl").read_text().splitlines()}
    assert durations == {0.0333}


def test_a_setting_that_changes_within_the_take_costs_it(open_camera: OpenCamera, studio: Path, tmp_path: Path) -> None:
    camera = open_camera(settings={"shutterspeed": "0.0166s"})
    camera.make_ready()

    def turn_the_dial(number: int, _trigger: object) -> None:
        order_fault(studio, Fault("camera", "drift", value=333))

    with pytest.raises(CameraError, match=r"shutterspeed was changed to 0.0333s while photographing; .* the take is lost"):
        camera.shoot(PAIR, at_s=time.monotonic(), folder=tmp_path / "fetched", on_trigger=turn_the_dial)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"isoo": "100"}, "has no setting isoo; take it out of camera_settings"),
        ({"shutterspeed": "1/7"}, "shutterspeed cannot be '1/7'; the camera offers 0.0010s, 0.0020s, "),
        ({"f-number": "f/8"}, "f-number cannot be 'f/8'; the camera offers f/4"),
        ({"cameramodel": "another"}, "cameramodel is deepflash emulated camera, .* only a hand can change it"),
    ],
)
def test_settings_that_cannot_be_had_are_refused_by_name(
    open_camera: OpenCamera, settings: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        open_camera(settings=settings)


def test_the_users_settings_of_libgphoto2_stay_as_they_are(open_camera: OpenCamera, tmp_path: Path) -> None:
    users = tmp_path / "home" / ".gphoto" / "settings"
    users.parent.mkdir(parents=True)
    users.write_text("ptp2_ip=guid=00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff\n")

    open_camera()

    ours = tmp_path / "home" / ".local" / "state" / "deepflash" / "camera" / ".gphoto" / "settings"
    assert users.read_text() == "ptp2_ip=guid=00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff\n"
    assert "ptp2_ip=guid=00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff" in ours.read_text().splitlines()
    assert os.environ["HOME"] == str(tmp_path / "home")


def test_photographs_of_a_failed_attempt_are_waited_for_longer_than_the_quiet_time(
    open_camera: OpenCamera, studio: Path, tmp_path: Path
) -> None:
    camera = open_camera(quiet_s=0.3, render_s=0.7)
    order_fault(studio, Fault("camera", "dropped-after", skip=1))
    with pytest.raises(CameraError, match="failed when triggering"):
        shoot(camera, tmp_path)
    camera.reconnect()

    files = shoot(camera, tmp_path)

    assert [file.name for file in files] == ["IMG_0003.JPG", "IMG_0004.JPG"]
