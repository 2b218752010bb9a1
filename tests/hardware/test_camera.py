"""The camera's client and worker, against libgphoto2's own virtual USB camera."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepflash.errors import CameraError
from deepflash.hardware import camera as camera_module
from deepflash.hardware.camera import Camera, Shot, Trigger

PORT, MODEL = "usb:001,001", "Nikon DSC D750"
PAIR = [Shot(0.0, flash=False), Shot(0.3, flash=True)]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of JPEGs that the virtual camera photographs from."""
    folder = tmp_path / "vcamera"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"sitter{number}.jpg"), noise)
    monkeypatch.setenv("VCAMERADIR", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))  # libgphoto2 keeps its settings there
    return folder


@pytest.fixture
def camera(card: Path) -> Iterator[Camera]:
    with Camera(PORT, MODEL, quiet_s=0.1) as camera:
        yield camera


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"


def ignore(number: int, trigger: Trigger) -> None:
    """Do nothing when a shot has been triggered."""


def soon() -> float:
    return time.monotonic() + 0.05


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + 20
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    return condition()


def test_as_many_photographs_come_as_shots_were_made_each_identical_to_the_file_on_the_card(
    camera: Camera, card: Path, target: Path
) -> None:
    originals = {path.read_bytes() for path in card.iterdir()}

    for _ in range(5):
        files = camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)

        assert [file.path for file in files] == [target / "0.jpg", target / "1.jpg"]
        assert files[0].name != files[1].name
        for file in files:
            assert file.path.read_bytes() in originals
            assert file.path.stat().st_size == file.size_bytes


def test_shots_are_triggered_at_their_time_and_told_at_once(camera: Camera, target: Path) -> None:
    told: list[tuple[int, Trigger, float]] = []
    at_s = time.monotonic() + 0.2

    camera.shoot(PAIR, at_s=at_s, folder=target, on_trigger=lambda *news: told.append((*news, time.monotonic())))

    (first, studio, told_s), (second, flash, _) = told
    assert (first, second) == (0, 1)
    assert at_s <= studio.before_s <= studio.after_s <= told_s < flash.before_s <= flash.after_s
    assert flash.before_s >= studio.before_s + 0.3


def test_the_camera_says_what_it_is(camera: Camera) -> None:
    assert camera.facts.settings["shutterspeed"] == "0.0100s"
    assert not camera.facts.flash_settable
    assert set(camera.facts.versions) == {"libgphoto2", "python-gphoto2"}


def test_photographs_are_deleted_from_the_card_and_only_those(camera: Camera, target: Path) -> None:
    files = camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)

    camera.delete(files)
    camera.delete(files)  # gone already: as good as deleted

    assert len(camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)) == 2


def test_a_killed_worker_is_an_error_and_a_new_one_photographs_again(camera: Camera, target: Path) -> None:
    assert camera.worker_pid is not None

    def kill(number: int, trigger: Trigger) -> None:
        os.kill(camera.worker_pid or 0, signal.SIGKILL)

    with pytest.raises(CameraError, match="worker process was lost"):
        camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=kill)
    with pytest.raises(CameraError, match="not connected; connect it again"):
        camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)

    camera.reconnect()

    assert len(camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)) == 2


def test_a_worker_that_hangs_is_killed_at_the_deadline(camera: Camera, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "_SHOOT_LIMIT_S", 0.5)
    pid = camera.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(CameraError, match="did not answer when photographing; check it"):
        camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)

    assert has_ended(pid)


def test_an_error_while_shots_are_made_never_leaves_an_answer_behind_for_the_next(camera: Camera, target: Path) -> None:
    def fail(number: int, trigger: Trigger) -> None:
        raise RuntimeError("the lamps")

    with pytest.raises(RuntimeError, match="the lamps"):
        camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=fail)
    camera.reconnect()
    camera.delete(camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore))


def test_a_photograph_that_is_cut_short_is_refused(card: Path, target: Path) -> None:
    for path in card.iterdir():
        path.write_bytes(path.read_bytes()[:-100])

    with Camera(PORT, MODEL) as camera, pytest.raises(CameraError, match="is not a whole JPEG file; the take is lost"):
        camera.shoot(PAIR, at_s=soon(), folder=target, on_trigger=ignore)


def test_the_worker_ends_with_the_program_that_uses_it(card: Path) -> None:
    script = f"""
import time
from deepflash.hardware.camera import Camera
with Camera({PORT!r}, {MODEL!r}) as camera:
    print(camera.worker_pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        worker = int(user.stdout.readline())
        user.kill()

    assert eventually(lambda: has_ended(worker))


@pytest.mark.parametrize(
    ("port", "model", "sentence"),
    [
        ("nowhere", MODEL, "no camera port nowhere; list them"),
        (PORT, "Camera Obscura", "libgphoto2 knows no camera 'Camera Obscura'"),
    ],
)
def test_a_camera_that_cannot_be_found_is_one_sentence(card: Path, port: str, model: str, sentence: str) -> None:
    with pytest.raises(CameraError, match=f"camera {port}: {sentence}"), Camera(port, model):
        pass


def test_nobody_listening_at_a_network_address_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCAMERADIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        pytest.raises(CameraError, match=r"no camera could be reached .* check its cable or numeric network address"),
        Camera("ptpip:127.0.0.1:9:9", "PTP/IP Camera"),
    ):
        pass


def test_the_client_does_not_load_gphoto2() -> None:
    script = "import sys, deepflash.hardware.camera; sys.exit('gphoto2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
