"""Pairs photographed with relay boards of other kinds: timers, questions and slow lines leave the clock as it is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deepflash.capture.sequence import photograph_pair
from deepflash.hardware.camera import Camera
from deepflash.hardware.emulator.studio import studio_with_camera
from deepflash.hardware.lamps import Lamps


@pytest.mark.parametrize("kind", ["waveshare", "sainsmart-16", "denkovi-16", "enttec-dmx"])
def test_a_pair_is_photographed_with_the_lamps_on_and_then_off(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # libgphoto2 keeps its settings there
    monkeypatch.delenv("VCAMERADIR", raising=False)
    folder = tmp_path / "studio"
    camera_body = [sys.executable, str(Path(__file__).with_name("lit_camera.py")), str(folder), "390", "520", "0", "100000000"]
    with studio_with_camera(folder, camera_body, board=kind) as studio:
        rig = replace(studio, quiet_s=0.3)
        with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
            times = photograph_pair(rig, lamps, camera, tmp_path).times
            assert lamps.state().fault == ""

    in_studio, in_flash = (json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines())
    assert in_studio["lamp_light"] > 0.95
    assert in_flash["lamp_light"] < 0.05
    assert times.settle_s == pytest.approx(rig.settle_s, abs=rig.tolerance_s + 0.1)  # 0.1 s for a busy machine
