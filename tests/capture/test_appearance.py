"""What the photographs show: the emulated sitter's good pairs pass, and each fault that is put in is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from deepflash.capture.appearance import Appearance, judge_appearance
from deepflash.capture.checks import check_take
from deepflash.capture.sequence import Take
from deepflash.errors import FaceError
from deepflash.hardware.camera import CardFile
from deepflash.hardware.emulator import scene as emulated_scene
from deepflash.hardware.emulator.scene import Scene
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.hardware.lamps import Switching
from deepflash.hardware.rig import Rig
from deepflash.pictures import Picture
from tests.capture.test_checks import TIMES

SIZE = (780, 1040)
GLOW = 0.007  # what is left of the emulated lamps after 400 ms

Shoot = Callable[..., Picture]


@pytest.fixture(scope="module")
def shoot() -> Shoot:
    """Return what takes a photograph of a built-in sitter: shot number, lamps' light, flash, eyes shut."""
    scene = Scene(load_sitter(SitterChoice("S001")), SIZE, 0)

    def shoot(shot: int, lamp_light: float, flash: bool, shut: bool = False) -> Picture:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(emulated_scene, "_blinks", lambda _seed, _shot: shut)
            return scene.render(shot, lamp_light, flash)[0]

    return shoot


@pytest.fixture(scope="module")
def pair(shoot: Shoot) -> SimpleNamespace:
    return SimpleNamespace(studio=shoot(0, 1.0, False), flash=shoot(1, GLOW, True))


def the_reason(found: Appearance) -> str:
    (reason,) = found.reasons
    return reason


def test_a_good_pair_passes_without_a_word_and_its_numbers_are_stored(pair: SimpleNamespace) -> None:
    found = judge_appearance(pair.studio, pair.flash)

    assert (found.reasons, found.warnings) == ((), ())
    assert found.numbers["pair"]["motion"] < 0.03
    assert found.numbers["pair"]["light_left_at_most"] < 0.12
    assert found.numbers["studio"]["faces"] == found.numbers["flash"]["faces"] == 1


@pytest.mark.parametrize("which", ["studio", "flash"])
def test_shut_eyes_are_told(shoot: Shoot, pair: SimpleNamespace, which: str) -> None:
    shut = {"studio": shoot(0, 1.0, False, shut=True), "flash": shoot(1, GLOW, True, shut=True)}
    photographs = {"studio": pair.studio, "flash": pair.flash, which: shut[which]}

    assert f"the eyes are shut in the {which} photograph; ask for open eyes" in the_reason(judge_appearance(**photographs))
    assert not judge_appearance(**photographs, eyes=False).reasons, "the check can be switched off"


def test_without_landmarks_of_eyes_motion_is_measured_all_the_same(pair: SimpleNamespace) -> None:
    found = judge_appearance(pair.studio, pair.flash, eyes=False)

    assert "eyes_open" not in found.numbers["studio"]
    assert 0 < found.numbers["pair"]["motion"] < 0.03


def test_no_face_is_told(pair: SimpleNamespace) -> None:
    nobody = np.full_like(pair.flash, 60)

    found = judge_appearance(pair.studio, nobody)

    assert any("no face was found in the flash photograph; ask the subject to face the camera" in why for why in found.reasons)


@pytest.mark.parametrize(("part", "rejected"), [(0.015, False), (0.07, False), (0.14, True)])
def test_only_gross_motion_rejects(pair: SimpleNamespace, part: float, rejected: bool) -> None:
    shift = np.array([[1, 0, -part * SIZE[0]], [0, 1, 0]])
    moved = cv2.warpAffine(pair.studio, shift, SIZE, borderMode=cv2.BORDER_REPLICATE)
    flash = cv2.warpAffine(pair.flash, shift, SIZE, borderMode=cv2.BORDER_REPLICATE)

    found = judge_appearance(pair.studio, flash)

    assert any("the head moved by" in why for why in found.reasons) == rejected
    assert any("the head moved by" in why for why in found.warnings) == (part == 0.07)
    assert not judge_appearance(moved, flash).reasons, "both moved alike is no motion"


def test_a_blurred_face_is_told(pair: SimpleNamespace) -> None:
    blurred = cv2.GaussianBlur(pair.flash, (0, 0), 4)

    assert "the face in the flash photograph is blurred; lock the focus" in the_reason(judge_appearance(pair.studio, blurred))


def test_a_burnt_out_face_is_told_by_how_much(pair: SimpleNamespace) -> None:
    burnt = np.where(pair.flash.max(axis=2, keepdims=True) > 200, np.uint8(255), pair.flash)

    assert "48% of the face in the flash photograph is burnt out; lower the flash" in the_reason(
        judge_appearance(pair.studio, burnt)
    )


def test_lamps_that_still_glow_are_told_by_how_much(shoot: Shoot, pair: SimpleNamespace) -> None:
    some, all_of_it = judge_appearance(pair.studio, shoot(1, 0.35, True)), judge_appearance(pair.studio, shoot(1, 1.0, True))

    assert not some.reasons
    assert "of the lamps' light may be left in the flash photograph" in some.warnings[0]
    assert some.numbers["pair"]["light_left_at_most"] == pytest.approx(0.35, abs=0.06)
    assert any("of the lamps' light may be left" in why for why in all_of_it.reasons)


def test_a_flash_that_did_not_fire_is_told_whatever_the_camera_says(shoot: Shoot, pair: SimpleNamespace) -> None:
    assert "lit like the studio photograph: the flash did not fire" in the_reason(
        judge_appearance(pair.studio, shoot(1, 0.4, False))
    )


def test_a_longer_exposure_of_the_flash_photograph_is_no_light_left(shoot: Shoot, pair: SimpleNamespace) -> None:
    found = judge_appearance(pair.studio, shoot(1, 0.35, True), exposure_ratio=4.0)

    assert found.numbers["pair"]["light_left_at_most"] == pytest.approx(0.35 / 4, abs=0.03)


def test_without_the_face_library_a_take_is_kept_and_that_is_said(
    pair: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FaceError("face_recognition is not installed; see README, 'Installation'")

    monkeypatch.setattr("deepflash.capture.appearance.find_faces", fail)

    found = judge_appearance(pair.studio, pair.flash)

    assert not found.reasons
    assert "no faces were looked for: face_recognition is not installed" in found.warnings[0]


def test_a_take_is_checked_by_what_its_files_show_upright_and_a_warning_keeps_it(
    shoot: Shoot, pair: SimpleNamespace, tmp_path: Path
) -> None:
    """The files lie on their side, as cameras store them; EXIF says how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for number, picture in enumerate((pair.studio, shoot(1, 0.35, True))):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(np.rot90(picture)).save(path, quality=92, exif=exif)
        files.append(CardFile("/card", path.name, path, path.stat().st_size))
    log = (Switching(999.7, True, "command", ""), Switching(1000.1, False, "command", ""))

    verdict = check_take(Take(*files, TIMES, log), Rig("no board", "no camera"))

    assert verdict.good, verdict.reasons
    assert "of the lamps' light may be left" in verdict.warnings[0]
    assert verdict.numbers["studio"].keys() > {"sharpness", "faces", "eyes_open"}
    assert not check_take(Take(*files, replace(TIMES, settle_s=0.2), log), Rig("no board", "no camera")).good
