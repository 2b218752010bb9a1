"""What is plugged in: ports found and found again, cameras found by libgphoto2."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from deepflash.cli import cli
from deepflash.errors import CameraError
from deepflash.hardware.devices import FoundCamera, find_cameras
from deepflash.hardware.ports import PortFacts, SerialPort, find_again, serial_ports

CH340 = PortFacts("/dev/ttyUSB0", None, "USB Serial", 0x1A86, 0x7523, None, "1-1.2", ("lcus",))
FTDI = replace(CH340, vendor=0x0403, product=0x6001, serial_number="A100")

Plug = Callable[..., None]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Return what makes the system list these ports: (device, vendor, product, number, socket)."""

    def plug(*ports: tuple[str, int | None, int | None, str | None, str | None]) -> None:
        names = ("device", "vid", "pid", "serial_number", "location")
        listed = [SimpleNamespace(**dict(zip(names, port, strict=True)), description="a port") for port in ports]
        monkeypatch.setattr("deepflash.hardware.ports.list_ports.comports", lambda: listed)

    return plug


def test_a_chip_without_a_number_is_found_again_in_its_socket() -> None:
    elsewhere = replace(CH340, path="/dev/ttyUSB1", location="1-1.3")
    back = replace(CH340, path="/dev/ttyUSB7")

    assert find_again(CH340, [elsewhere, back]) == "/dev/ttyUSB7"
    assert find_again(CH340, [elsewhere, FTDI]) is None


def test_a_chip_with_a_number_is_found_again_in_any_socket_and_its_twin_is_not_taken_for_it() -> None:
    twin = replace(FTDI, path="/dev/ttyUSB1", serial_number="A200")
    back = replace(FTDI, path="/dev/ttyUSB7", location="2-4")

    assert find_again(FTDI, [twin, back]) == "/dev/ttyUSB7"
    assert find_again(FTDI, [twin]) is None


def test_ports_without_a_usb_device_are_never_found_again() -> None:
    built_in = PortFacts("/dev/ttyS0", None, "n/a", None, None, None, None, ())
    assert find_again(built_in, [built_in]) is None


def test_ports_are_listed_with_the_boards_that_they_may_be(plug: Plug) -> None:
    plug(("/dev/ttyS0", None, None, None, None), ("/dev/ttyUSB0", 0x1A86, 0x7523, None, "1-1.2"))

    ports = serial_ports()

    assert [port.path for port in ports] == ["/dev/ttyUSB0", "/dev/ttyS0"]
    assert "lcus" in ports[0].boards
    assert ports[1].boards == ()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the devices that have been opened, in a system where opening always works."""
    names: list[str] = []

    def open_url(url: str, *arguments: object, **options: object) -> SimpleNamespace:
        names.append(url)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("deepflash.hardware.ports.serial.serial_for_url", open_url)
    return names


def test_a_port_that_came_back_under_another_name_is_opened_there(plug: Plug, opened: list[str]) -> None:
    port = SerialPort("/dev/ttyUSB0", 9600)
    plug(("/dev/ttyUSB0", 0x1A86, 0x7523, None, "1-1.2"))
    port.open()
    plug(("/dev/ttyUSB0", 0x0403, 0x6001, "A100", "1-1.3"), ("/dev/ttyUSB3", 0x1A86, 0x7523, None, "1-1.2"))
    port.open()  # another device has taken the name meanwhile
    plug(("/dev/ttyUSB0", 0x0403, 0x6001, "A100", "1-1.3"))
    with pytest.raises(FileNotFoundError):
        port.open()

    assert opened == ["/dev/ttyUSB0", "/dev/ttyUSB3"]


def test_a_built_in_port_is_opened_again_by_its_name(plug: Plug, opened: list[str]) -> None:
    port = SerialPort("/dev/ttyS0", 9600)
    plug(("/dev/ttyS0", None, None, None, None))
    port.open()
    port.open()

    assert opened == ["/dev/ttyS0", "/dev/ttyS0"]


def test_libgphoto2s_virtual_camera_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VCAMERADIR", str(tmp_path))

    assert find_cameras() == (FoundCamera("Nikon DSC D750", "usb:001,001"),)
    found = json.loads(CliRunner().invoke(cli, ["capture", "devices", "--json"]).stdout)
    assert found["cameras"] == [{"model": "Nikon DSC D750", "port": "usb:001,001"}]


def test_a_search_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CameraError, match=r"cameras could not be searched for: .* did not answer in time"):
        find_cameras(limit_s=0.0)


def test_the_list_says_what_a_rig_file_needs(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    plug(("/dev/ttyUSB0", 0x1A86, 0x7523, None, "1-1.2"))
    monkeypatch.setattr("deepflash.hardware.devices.find_cameras", lambda: ())

    said = CliRunner().invoke(cli, ["capture", "devices"]).output

    assert "  /dev/ttyUSB0  a port [1a86:7523], may be lcus or hw-667 or sainsmart-16\n" in said
    assert "none; switch the camera on" in said
