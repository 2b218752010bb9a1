"""Calibration: the lamps' decay and the shutter's lag that a test chose are found in photographs."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from deepflash.capture.calibration import calibrate, conclude, save_plot, update_rig_file
from deepflash.capture.decay import Measurement, fit_decay
from deepflash.cli import cli
from deepflash.errors import CaptureError, HardwareError
from deepflash.hardware.emulator.studio import studio_with_camera
from deepflash.hardware.rig import Rig, load_rig, save_rig

EXPOSURE_S = 1 / 60


def light_by_small_steps(delay_s: float, lag_s: float, tau_s: float) -> float:
    """The mean light over the exposure, added up in steps of 10 microseconds: independent of the closed form."""
    times = delay_s + lag_s + np.arange(0, EXPOSURE_S, 1e-5)
    return float(np.mean(np.where(times < 0, 1.0, np.exp(-np.maximum(times, 0) / tau_s))))


def series(lag_s: float, tau_s: float, *, noise: float = 0.0, floor: float = 0.0) -> list[Measurement]:
    rng = np.random.default_rng(5)
    delays = [
        -1.6,
        -0.8,
        -0.4,
        -0.2,
        -0.1,
        0.0,
        0.05,
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        *np.linspace(-lag_s - 0.02, 4 * tau_s - lag_s, 12),
    ]
    return [
        Measurement(float(delay), floor + (1 - floor) * light_by_small_steps(delay, lag_s, tau_s) + noise * rng.normal())
        for delay in delays
    ]


@pytest.mark.parametrize(("lag_s", "tau_s"), [(0.0, 0.01), (0.02, 0.08), (0.3, 0.15), (1.2, 0.4), (0.08, 0.03)])
def test_decay_and_lag_are_found_from_noisy_light(lag_s: float, tau_s: float) -> None:
    fit = fit_decay(series(lag_s, tau_s, noise=0.004, floor=0.01), EXPOSURE_S)

    assert fit.tau_s == pytest.approx(tau_s, rel=0.06)
    assert fit.lag_s == pytest.approx(lag_s, abs=0.003 + 0.02 * tau_s)
    assert fit.floor == pytest.approx(0.01, abs=0.01)


def test_one_trigger_that_was_held_up_does_not_spoil_the_fit() -> None:
    measurements = series(0.02, 0.08, noise=0.002)
    measurements[7] = replace(measurements[7], light=0.9)

    assert fit_decay(measurements, EXPOSURE_S).tau_s == pytest.approx(0.08, rel=0.05)


def test_the_settle_time_is_when_the_light_has_fallen_to_the_fraction_and_its_error_covers_the_truth() -> None:
    calibration = conclude(series(0.02, 0.08, noise=0.004), EXPOSURE_S, 0.02)

    truth_s = 0.08 * math.log(50)
    assert abs(calibration.settle_s - truth_s) < 3 * calibration.settle_error_s < 0.1 * truth_s
    assert calibration.confident
    assert calibration.changes == {"settle_s": round(calibration.settle_s, 3), "camera_lag_s": round(calibration.lag_s, 4)}


def test_light_that_does_not_decay_as_the_model_says_is_doubted() -> None:
    ramp = [Measurement(float(delay), float(np.clip(1 - delay / 0.6, 0, 1) ** 0.3)) for delay in np.linspace(-0.3, 1.2, 24)]

    calibration = conclude(ramp, EXPOSURE_S)

    assert not calibration.confident
    assert "does not decay as expected" in calibration.doubts[0]


def test_lamps_that_are_not_seen_to_go_out_are_one_sentence() -> None:
    with pytest.raises(CaptureError, match="was not seen to go out; check that the lamps hang on the rig's relay"):
        fit_decay([Measurement(delay / 10, 0.98) for delay in range(10)], EXPOSURE_S)


@pytest.mark.parametrize(("decay_s", "lag_s", "ambient"), [(0.12, 0.06, 0.02)])
def test_an_emulated_rig_is_measured_to_ten_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay_s: float, lag_s: float, ambient: float
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = str(Path(__file__).with_name("glowing_camera.py"))
    folder, done = tmp_path / "studio", []
    with studio_with_camera(folder, [sys.executable, script, str(folder), str(decay_s), str(lag_s), str(ambient)]) as rig:
        calibration = calibrate(
            replace(rig, quiet_s=0.2), fraction=0.01, report=lambda count, of, _note: done.append((count, of))
        )

    assert calibration.settle_s == pytest.approx(decay_s * math.log(100), rel=0.1)
    assert calibration.lag_s == pytest.approx(lag_s, abs=0.012)  # the emulated relay's own 4 ms count against it
    assert done[-1] == (28, 28)
    assert not list((folder / "card").rglob("*.JPG")), "the measuring photographs are deleted from the card"


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    save_plot(conclude(series(0.02, 0.08), EXPOSURE_S), tmp_path / "plots" / "curve.png")

    with Image.open(tmp_path / "plots" / "curve.png") as plot:
        assert plot.format == "PNG"
        assert min(plot.size) > 400


def test_a_rig_file_keeps_its_comments_and_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    text = (
        '# Studio 2\nrelay_port = "/dev/x"\ncamera_port = "usb:"\nsettle_s = 0.4  # guessed\n\n[camera_settings]\niso = "100"\n'
    )
    path.write_text(text)

    rig = update_rig_file(path, {"settle_s": 0.512, "camera_lag_s": 0.06})

    assert (
        rig
        == load_rig(path)
        == replace(Rig("/dev/x", "usb:"), settle_s=0.512, camera_lag_s=0.06, camera_settings={"iso": "100"})
    )
    changed = path.read_text()
    assert changed.startswith("# Studio 2\n")
    assert "settle_s = 0.512  # guessed\n" in changed


def test_a_rig_file_that_was_saved_by_us_can_be_changed(tmp_path: Path) -> None:
    save_rig(Rig("/dev/x", "usb:"), tmp_path / "rig.toml")

    assert update_rig_file(tmp_path / "rig.toml", {"settle_s": 0.25}) == replace(Rig("/dev/x", "usb:"), settle_s=0.25)


def test_a_missing_rig_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="does not exist"):
        update_rig_file(tmp_path / "none.toml", {"settle_s": 0.25})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the command find what these photographs would show."""
    found = conclude(series(0.02, 0.08, noise=0.002), EXPOSURE_S)
    monkeypatch.setattr("deepflash.capture.calibration.calibrate", lambda *_, **__: found)


@pytest.mark.parametrize(("answer", "flag", "written"), [("y\n", [], True), ("n\n", [], False), ("", ["--yes"], True)])
def test_the_command_writes_the_rig_file_after_asking(
    measured: None, tmp_path: Path, answer: str, flag: list[str], written: bool
) -> None:
    save_rig(Rig("/dev/x", "usb:"), tmp_path / "rig.toml")
    arguments = ["capture", "calibrate", "--rig", str(tmp_path / "rig.toml"), "--plot", str(tmp_path / "c.png"), *flag]

    result = CliRunner().invoke(cli, arguments, input=answer, standalone_mode=False)

    assert result.return_value == 0
    assert ("Write this into" in result.stderr) == (not flag)
    assert (load_rig(tmp_path / "rig.toml").settle_s != 0.4) == written
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_doubtful_measurement_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = [Measurement(float(delay), float(np.clip(1 - delay / 0.6, 0, 1) ** 0.3)) for delay in np.linspace(-0.3, 1.2, 24)]
    monkeypatch.setattr("deepflash.capture.calibration.calibrate", lambda *_, **__: conclude(ramp, EXPOSURE_S))
    save_rig(Rig("/dev/x", "usb:"), tmp_path / "rig.toml")
    arguments = ["capture", "calibrate", "--rig", str(tmp_path / "rig.toml"), "--plot", str(tmp_path / "c.png"), "--yes"]

    result = CliRunner().invoke(cli, [*arguments, "--json"], standalone_mode=False)

    assert result.return_value == 3
    assert json.loads(result.stdout)["written"] is False
    assert load_rig(tmp_path / "rig.toml") == Rig("/dev/x", "usb:")
