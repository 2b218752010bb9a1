"""Rig files: read, written, and refused with a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.errors import DeepflashError, HardwareError
from deepflash.hardware.rig import Rig, load_rig, save_rig

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(port=TEXT, camera=TEXT, settle_s=st.floats(0, 3600, allow_nan=False), channel=st.integers(1, 8))
def test_a_rig_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, port: str, camera: str, settle_s: float, channel: int
) -> None:
    rig = Rig(port, camera, settle_s=settle_s, relay_channel=channel)
    path = tmp_path_factory.getbasetemp() / "rig.toml"

    save_rig(rig, path)

    assert load_rig(path) == rig


def test_a_rig_file_needs_only_the_two_ports_and_whole_seconds_may_be_integers(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text('relay_port = "/dev/ttyUSB0"\ncamera_port = "usb:001,004"\nsettle_s = 1\n')

    assert load_rig(path) == Rig("/dev/ttyUSB0", "usb:001,004", settle_s=1.0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('relay_port = "a"\ncamera_port = "b"\nsettel_s = 1.0', "unknown key 'settel_s'; a rig has relay_port"),
        ('relay_port = "a"', "key 'camera_port' is missing"),
        ('relay_port = 7\ncamera_port = "b"', "relay_port = 7 is not text in quotes"),
        ('relay_port = "a"\ncamera_port = "b"\nrelay_channel = true', "relay_channel = True is not a whole number"),
        ('relay_port = "a"\ncamera_port = "b"\nrelay_channel = 12', "no channel 12"),
        ('relay_port = "a"\ncamera_port = "b"\nrelay_board = "x"', "'x' is not known; use one of lcus"),
        ('relay_port = "a"\ncamera_port = "b"\nsettle_s = -0.1', "settle_s = -0.1 is not a time"),
        ('relay_port = "a"\ncamera_port = "b"\nsettle_s = nan', "settle_s = nan is not a time"),
        ('relay_port = "a"\ncamera_port = "b"\nmax_on_s = 0.2', "would switch the lamps off before the studio shot"),
        ('relay_port = "a"\ncamera_port = "b"\ncamera_settings = 7', "camera_settings = 7 is not a table, [camera_settings]"),
        ('relay_port = "a"\ncamera_port = "b"\n[camera_settings]\niso = [100]', "camera_settings iso = [100] is not a text"),
        (
            'relay_port = "a"\ncamera_port = "b"\n[camera_settings]\nflashmode = "x"',
            "which is set for every shot; leave it out",
        ),
        ("relay_port", "not a readable TOML file"),
    ],
)
def test_a_bad_rig_file_is_refused_with_its_name_and_what_is_wrong(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(content)

    with pytest.raises(DeepflashError) as refusal:
        load_rig(path)

    assert str(path) in str(refusal.value)
    assert sentence in str(refusal.value)


def test_a_missing_rig_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match=r"none\.toml does not exist; write a rig file or use --emulate"):
        load_rig(tmp_path / "none.toml")


def test_the_planned_spacing_is_the_lamps_hold_and_the_settle() -> None:
    rig = Rig("a", "b", lamps_hold_s=0.25, settle_s=0.5)

    assert rig.spacing_s == 0.75
    assert replace(rig, settle_s=0.75).spacing_s == 1.0


@given(settings=st.dictionaries(TEXT.filter(lambda name: name != "flashmode"), TEXT, max_size=4))
def test_camera_settings_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> None:
    rig = Rig("a", "b", camera_settings=settings)
    path = tmp_path_factory.getbasetemp() / "settings.toml"

    save_rig(rig, path)

    assert load_rig(path) == rig


def test_numbers_of_camera_settings_may_be_written_as_such(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text('relay_port = "a"\ncamera_port = "b"\n[camera_settings]\niso = 100\n"f-number" = "f/4"\n')

    assert load_rig(path).camera_settings == {"iso": "100", "f-number": "f/4"}
