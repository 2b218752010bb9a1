"""The clock of a pair, in the emulated studio: what the camera really saw, and when."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepflash.capture.sequence import photograph_pair
from deepflash.errors import CameraError
from deepflash.hardware.camera import Camera, Shot, Trigger
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

BUSY_S = 0.1  # what the scheduler of a shared machine may take

Studio = Callable[..., tuple[Rig, Path]]


class TrippingLamps(Lamps):
    """Lamps whose coming on costs the camera's worker its life."""

    victim: int

    def on(self) -> float:
        at_s = super().on()
        os.kill(self.victim, signal.SIGKILL)
        return at_s


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_studio_shot_has_the_lamps_light_and_the_flash_shot_the_flash_alone(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        take = photograph_pair(rig, lamps, camera, tmp_path)

    studio, flash = lines(folder / "truth.jsonl")
    assert studio["lamp_light"] > 0.95
    assert not studio["flash"]
    assert flash["lamp_light"] < 0.02
    assert flash["flash"]
    assert Path(take.studio.name).name == studio["object"]
    assert Path(take.flash.name).name == flash["object"]


def test_the_measured_times_are_those_of_the_shutter_and_the_relay(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        times = photograph_pair(rig, lamps, camera, tmp_path).times

    studio, flash = (exposure["exposure_s"] - times.t0_monotonic_s for exposure in lines(folder / "truth.jsonl"))
    off_s = next(line["at_s"] for line in lines(folder / "lamps.jsonl") if line["cause"] == "command" and not line["on"])
    assert times.studio_exposure_s == pytest.approx(studio, abs=BUSY_S)
    assert times.flash_exposure_s == pytest.approx(flash, abs=BUSY_S)
    assert times.lamps_off_s == pytest.approx(off_s - times.t0_monotonic_s, abs=BUSY_S)
    assert times.spacing_s >= rig.spacing_s
    assert times.lamps_on_s < times.studio_trigger_s < times.lamps_off_s < times.flash_trigger_s
    assert times.settle_s == pytest.approx(times.flash_exposure_s - times.lamps_off_s)


def test_a_longer_settle_of_the_rig_is_kept(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    rig = replace(rig, settle_s=0.8, lamps_hold_s=0.2)
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        take = photograph_pair(rig, lamps, camera, tmp_path)

    studio, flash = lines(folder / "truth.jsonl")
    assert flash["exposure_s"] - studio["exposure_s"] == pytest.approx(1.0, abs=BUSY_S)
    assert take.times.settle_s == pytest.approx(0.8, abs=BUSY_S)


def test_the_lamps_are_off_when_the_camera_fails(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    with TrippingLamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        assert camera.worker_pid is not None
        lamps.victim = camera.worker_pid
        began_s = time.monotonic()
        with pytest.raises(CameraError, match="worker process was lost"):
            photograph_pair(rig, lamps, camera, tmp_path)

        states = [switching.on for switching in lamps.switchings(began_s)]
        assert True in states
        assert states[-1] is False
    assert not lines(folder / "lamps.jsonl")[-1]["on"]


def test_photographs_of_a_failed_attempt_are_never_taken_for_those_of_the_next(open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio(render_s=0.5)

    def fail(number: int, trigger: Trigger) -> None:
        raise RuntimeError("the operator tripped over the cable")

    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=1.5) as camera:
        with pytest.raises(RuntimeError, match="tripped"):
            camera.shoot([Shot(0.0, flash=False)], at_s=time.monotonic(), folder=tmp_path, on_trigger=fail)
        camera.reconnect()  # the first photograph is still being developed
        take = photograph_pair(rig, lamps, camera, tmp_path)

        _, studio, flash = lines(folder / "truth.jsonl")
        assert (take.studio.name, take.flash.name) == (studio["object"], flash["object"])
        assert [name for _, name in camera.orphans] == ["IMG_0001.JPG"]


def test_a_camera_that_is_busy_at_the_second_shot_costs_the_take(open_studio: Studio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with Camera(rig.camera_port, rig.camera_model, quiet_s=2.0) as camera:
        too_soon = [Shot(0.0, flash=False), Shot(0.001, flash=False)]  # the shutter is still open

        with pytest.raises(CameraError, match="the camera was busy when triggering"):
            camera.shoot(too_soon, at_s=time.monotonic(), folder=tmp_path, on_trigger=lambda *_: None)

        camera.reconnect()
        camera.make_ready()
        (only,) = camera.shoot([too_soon[0]], at_s=time.monotonic(), folder=tmp_path, on_trigger=lambda *_: None)
        assert only.name == "IMG_0002.JPG"
        assert [name for _, name in camera.orphans] == ["IMG_0001.JPG"]
