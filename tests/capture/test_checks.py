"""The instant checks: each fault is found and said in one sentence; a good take passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepflash.capture.checks import check_take
from deepflash.capture.sequence import Take, Times
from deepflash.hardware.camera import CardFile
from deepflash.hardware.lamps import Switching
from deepflash.hardware.rig import Rig

RIG = Rig("no board", "no camera", check_faces=False)  # noise has no face; test_appearance has
TIMES = Times(
    t0_monotonic_s=1000.0,
    lamps_on_s=-0.3,
    studio_trigger_s=0.0,
    studio_returned_s=0.001,
    studio_exposure_s=0.0,
    lamps_off_s=0.1,
    flash_trigger_s=0.5,
    flash_returned_s=0.501,
    flash_exposure_s=0.5,
    spacing_s=0.5,
    spacing_of_returns_s=0.5,
    settle_s=0.4,
    planned_spacing_s=0.5,
    planned_settle_s=0.4,
)


def photograph(
    path: Path, size: tuple[int, int] = (60, 80), level: float = 1.0, fired: bool | None = None, taken: str = ""
) -> CardFile:
    texture = np.random.default_rng(1).integers(60, 230, (size[1], size[0], 3))
    exif = Image.Exif()
    if fired is not None:
        exif.get_ifd(0x8769)[0x9209] = 9 if fired else 16
    if taken:
        exif.get_ifd(0x8769)[0x9003], _, exif.get_ifd(0x8769)[0x9291] = taken.partition(".")
    Image.fromarray((texture * level).astype(np.uint8)).save(path, "JPEG", exif=exif)
    return CardFile("/card", path.name, path, path.stat().st_size)


@pytest.fixture
def take(tmp_path: Path) -> Take:
    log = (Switching(999.7, True, "command", ""), Switching(1000.1, False, "command", ""))
    studio = photograph(tmp_path / "0.jpg", fired=False)
    return Take(studio, photograph(tmp_path / "1.jpg", fired=True), TIMES, log)


def the_reason(take: Take) -> str:
    verdict = check_take(take, RIG)
    assert not verdict.good
    (reason,) = verdict.reasons
    return reason


def test_a_good_take_passes_and_its_sharpness_and_light_are_stored(take: Take) -> None:
    verdict = check_take(take, RIG)

    assert verdict.good
    assert verdict.numbers["studio"].keys() == {"sharpness", "clipped", "bright"}
    assert verdict.numbers["flash"]["sharpness"] > 100


def test_a_camera_that_says_nothing_of_its_flash_is_believed(take: Take, tmp_path: Path) -> None:
    assert check_take(replace(take, flash=photograph(tmp_path / "2.jpg")), RIG).good


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("spacing_s", 0.56, "the two exposures were 560 ms apart, planned are 500 +/- 50 ms; take it again"),
        ("spacing_s", 0.44, "the two exposures were 440 ms apart"),
        ("spacing_of_returns_s", 0.6, "the camera's answers to the two triggers were 600 ms apart"),
        ("settle_s", 0.3, "lamps off and the flash exposure were 300 ms apart, planned are 400 +/- 50 ms"),
    ],
)
def test_times_out_of_tolerance_are_rejected(take: Take, name: str, value: float, sentence: str) -> None:
    assert sentence in the_reason(replace(take, times=replace(TIMES, **{name: value})))


def test_lamps_that_the_guard_switched_off_too_early_are_told(take: Take) -> None:
    log = (take.relay_log[0], Switching(999.9, False, "no beat", ""), take.relay_log[1])

    assert "switched the lamps off before the studio shot was over (no beat)" in the_reason(replace(take, relay_log=log))


def test_photographs_of_unequal_size_are_rejected(take: Take, tmp_path: Path) -> None:
    other = photograph(tmp_path / "2.jpg", size=(80, 60), fired=True)

    assert "the studio photograph has 60 x 80 pixels, the flash photograph 80 x 60" in the_reason(replace(take, flash=other))


def test_a_dark_studio_photograph_means_that_the_lamps_did_not_light(take: Take, tmp_path: Path) -> None:
    dark = photograph(tmp_path / "2.jpg", level=0.1, fired=False)

    assert "the studio photograph is dark; check that the lamps light up" in the_reason(replace(take, studio=dark))


def test_a_dark_flash_photograph_means_that_the_flash_did_not_fire(take: Take, tmp_path: Path) -> None:
    dark = photograph(tmp_path / "2.jpg", level=0.05)

    assert "the flash photograph is dark; check that the flash is up" in the_reason(replace(take, flash=dark))


def test_the_exif_is_heard_about_the_flash(take: Take, tmp_path: Path) -> None:
    fired, silent = photograph(tmp_path / "2.jpg", fired=True), photograph(tmp_path / "3.jpg", fired=False)

    assert "the flash fired in the studio photograph" in the_reason(replace(take, studio=fired))
    assert "the flash did not fire in the flash photograph" in the_reason(replace(take, flash=silent))


@pytest.mark.parametrize(
    ("studio", "flash", "good"),
    [
        ("2026:11:20 12:00:00.25", "2026:11:20 12:00:00.75", True),
        ("2026:11:20 12:00:00", "2026:11:20 12:00:01", True),  # without fractions, across a full second
        ("2026:11:20 12:00:00.00", "2026:11:20 12:00:03.50", False),
        ("2026:11:20 12:00:00.00", "2026:11:20 11:59:58.00", False),
        ("0000:00:00 00:00:00", "2026:11:20 11:59:58.00", True),  # a clock that was never set says nothing
    ],
)
def test_the_cameras_own_clock_must_agree_that_the_two_belong_together(
    take: Take, tmp_path: Path, studio: str, flash: str, good: bool
) -> None:
    pair = (photograph(tmp_path / f"{number}.jpg", taken=taken) for number, taken in ((2, studio), (3, flash)))
    of_two_times = replace(take, **dict(zip(("studio", "flash"), pair, strict=True)))

    if good:
        assert check_take(of_two_times, RIG).good
    else:
        assert "they may not belong together" in the_reason(of_two_times)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_photograph_that_does_not_decode_wholly_is_rejected(take: Take, kept: float) -> None:
    content = take.flash.path.read_bytes()
    take.flash.path.write_bytes(content[: int(len(content) * kept)])

    assert "1.jpg" in the_reason(take)
    assert "take it again" in the_reason(take)
