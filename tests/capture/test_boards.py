"""Pairs photographed with relay boards of other kinds: timers, questions and slow lines leave the clock as it is."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from deepflash.capture.checks import check_take
from deepflash.capture.sequence import photograph_pair
from deepflash.errors import RelayError
from deepflash.hardware.camera import Camera
from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.emulator.studio import studio_with_camera
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

Studio = Callable[[str], tuple[Rig, Path]]


@pytest.fixture
def open_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """Return what opens a studio with a kind of board; it returns the rig and the folder with the emulator's logs."""
    monkeypatch.setenv("HOME", str(tmp_path))  # libgphoto2 keeps its settings there
    monkeypatch.delenv("VCAMERADIR", raising=False)
    folder = tmp_path / "studio"
    camera_body = [sys.executable, str(Path(__file__).with_name("lit_camera.py")), str(folder), "390", "520", "0", "100000000"]
    with ExitStack() as stack:

        def open_studio(kind: str) -> tuple[Rig, Path]:
            studio = stack.enter_context(studio_with_camera(folder, camera_body, board=kind))
            return replace(studio, quiet_s=0.3), folder

        yield open_studio


@pytest.mark.parametrize("kind", ["waveshare", "sainsmart-16", "denkovi-16", "enttec-dmx"])
def test_a_pair_is_photographed_with_the_lamps_on_and_then_off(kind: str, open_studio: Studio, tmp_path: Path) -> None:
    rig, folder = open_studio(kind)
    with Lamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        take = photograph_pair(rig, lamps, camera, tmp_path)
        assert lamps.state().fault == ""

    studio, flash = (json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines())
    assert studio["lamp_light"] > 0.95
    assert flash["lamp_light"] < 0.05
    assert take.times.settle_s == pytest.approx(rig.settle_s, abs=rig.tolerance_s + 0.1)  # 0.1 s for a busy machine
    off = next(switching for switching in take.relay_log if not switching.on)
    assert off.confirmed is (None if kind == "enttec-dmx" else True)


class UnheardLamps(Lamps):
    """Lamps whose board is deaf from the first off on, until the flash shot is over."""

    folder: Path
    were_on = False

    def on(self) -> float:
        self.were_on = True
        return super().on()

    def off(self) -> float:
        if self.were_on:
            self.were_on = False
            order_fault(self.folder, Fault("relay", "deaf", for_s=0.42))
        return super().off()


@pytest.mark.parametrize("kind", ["lcus", "devantech"])
def test_a_pair_whose_lamps_stayed_on_is_not_kept_although_its_times_are_right(
    kind: str, open_studio: Studio, tmp_path: Path
) -> None:
    rig, folder = open_studio(kind)
    with UnheardLamps(rig) as lamps, Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera:
        lamps.folder = folder
        lamps.wait_until_ready()
        try:
            reasons = check_take(photograph_pair(rig, lamps, camera, tmp_path), rig).reasons
        except RelayError as error:  # where the board was asked again before the photographs were fetched
            reasons = (str(error),)

    flash = json.loads((folder / "truth.jsonl").read_text().splitlines()[1])
    assert flash["lamp_light"] > 0.5
    assert [reason for reason in reasons if "did not confirm that the lamps were off" in reason or "lamps stay on" in reason]
