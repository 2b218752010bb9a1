"""Faults of the emulated devices: ordered through a file, suffered as the protocol shows, journalled; and the stamps."""

import io
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from deepflash.hardware.emulator.faults import Fault, Faults, clear_faults, order_fault
from deepflash.hardware.emulator.journal import read_journal
from tests.hardware.hand_client import OK, HandClient

INITIATE_CAPTURE, GET_OBJECT, GET_INFO, GET_HANDLES, GET_VALUE = 0x100E, 0x1009, 0x1008, 0x1007, 0x1015
OBJECT_ADDED, STORE_FULL_EVENT, CAPTURE_COMPLETE = 0x4002, 0x400A, 0x400D
DEVICE_BUSY, STORE_FULL = 0x2019, 0x200C
EXPOSURE_TIME = 0x500D
ALL = 0xFFFFFFFF


def test_a_fault_strikes_as_often_as_ordered_after_what_it_skips_and_is_journalled(tmp_path: Path) -> None:
    faults = Faults(tmp_path, "camera")
    order_fault(tmp_path, Fault("camera", "busy", times=2, skip=1, value=7.0))
    order_fault(tmp_path, Fault("relay", "deaf"))

    struck = [faults.strikes("busy") is not None for _ in range(5)]

    assert struck == [False, True, True, False, False]
    assert faults.strikes("late") is None
    assert [(line["kind"], line["value"]) for line in read_journal(tmp_path / "strikes-camera.jsonl")] == [("busy", 7.0)] * 2


def test_a_fault_of_a_time_lasts_so_long_and_no_longer(tmp_path: Path) -> None:
    faults = Faults(tmp_path, "relay")
    order_fault(tmp_path, Fault("relay", "unplugged", for_s=0.2))

    assert faults.lasting("unplugged") is not None
    assert faults.lasting("deaf") is None
    assert faults.strikes("unplugged") is not None
    time.sleep(0.25)
    assert faults.lasting("unplugged") is None
    assert faults.strikes("unplugged") is None


def test_what_was_ordered_before_a_device_came_up_or_was_cleared_never_strikes(tmp_path: Path) -> None:
    order_fault(tmp_path, Fault("camera", "busy"))
    faults = Faults(tmp_path, "camera")
    order_fault(tmp_path, Fault("camera", "late"))
    assert faults.strikes("busy") is None
    clear_faults(tmp_path)
    assert faults.strikes("late") is None


def test_an_unknown_fault_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no emulated device suffers camera hiccup; known are camera busy, "):
        Fault("camera", "hiccup")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[tuple[Path, HandClient]]:
    """A camera of plain colours, and a client written by hand."""
    folder = tmp_path / "studio"
    script = Path(__file__).with_name("fake_camera.py")
    command = [sys.executable, script, folder, "64", "48", "0", str(10**9), "raw"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        client = HandClient(int(process.stdout.readline().decode().rpartition(":")[2]))
        yield folder, client
        client.close()
        assert process.stdin is not None
        process.stdin.close()


def photograph(client: HandClient) -> tuple[int, int]:
    """Take a picture; return the handles of JPEG and RAW file."""
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == OK
    (first, (jpeg,)), (second, (raw,)), (third, _) = (client.event() for _ in range(3))
    assert (first, second, third) == (OBJECT_ADDED, OBJECT_ADDED, CAPTURE_COMPLETE)
    return jpeg, raw


def test_every_photograph_carries_the_truth_about_itself_and_so_does_its_raw_file(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    stamps = []
    for handles in (photograph(client), photograph(client)):
        jpeg, raw = (client.ask(GET_OBJECT, handle).data for handle in handles)
        with Image.open(io.BytesIO(jpeg)) as image:
            tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
        stamps.append(json.loads(tags[ExifTags.Base.UserComment].removeprefix(b"ASCII\0\0\0")))
        assert tags[ExifTags.Base.ImageUniqueID] == stamps[-1]["exposure_id"]
        assert json.loads(raw[4:].rstrip(b"\0")) == stamps[-1]

    for stamp, truth in zip(stamps, read_journal(folder / "truth.jsonl"), strict=True):
        assert {name: stamp[name] for name in ("shot", "exposure_id", "exposure_s", "flash")} == {
            name: truth[name] for name in ("shot", "exposure_id", "exposure_s", "flash")
        }
    assert stamps[0]["exposure_id"] != stamps[1]["exposure_id"]


@pytest.mark.parametrize(("kind", "code"), [("busy", DEVICE_BUSY), ("card-full", STORE_FULL)])
def test_a_refused_trigger_takes_no_exposure(studio: tuple[Path, HandClient], kind: str, code: int) -> None:
    folder, client = studio
    order_fault(folder, Fault("camera", kind))

    assert client.ask(INITIATE_CAPTURE, 0, 0).code == code

    photograph(client)
    assert len(read_journal(folder / "truth.jsonl")) == 1


@pytest.mark.parametrize(("kind", "exposures"), [("dropped", 0), ("dropped-after", 1)])
def test_a_dropped_connection_is_closed_with_or_without_an_exposure(
    studio: tuple[Path, HandClient], kind: str, exposures: int
) -> None:
    folder, client = studio
    order_fault(folder, Fault("camera", kind))

    with pytest.raises((EOFError, ConnectionError)):
        client.ask(INITIATE_CAPTURE, 0, 0)

    until_s = time.monotonic() + 10
    while len(read_journal(folder / "truth.jsonl")) < exposures and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(read_journal(folder / "truth.jsonl")) == exposures


def test_an_object_comes_shorter_than_announced_or_with_another_middle(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    jpeg, _ = photograph(client)
    whole = client.ask(GET_OBJECT, jpeg).data

    order_fault(folder, Fault("camera", "truncated"))
    assert client.ask(GET_OBJECT, jpeg).data == whole[: len(whole) // 2]
    order_fault(folder, Fault("camera", "garbled"))
    garbled = client.ask(GET_OBJECT, jpeg).data
    assert (len(garbled), garbled[:100], garbled[-2:]) == (len(whole), whole[:100], b"\xff\xd9")
    assert garbled != whole
    assert client.ask(GET_OBJECT, jpeg).data == whole


def test_a_transfer_is_cut_in_the_middle(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    jpeg, _ = photograph(client)
    order_fault(folder, Fault("camera", "cut"))

    with pytest.raises((EOFError, ConnectionError)):
        client.ask(GET_OBJECT, jpeg)


def test_events_come_twice_late_or_tell_of_a_full_card(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    order_fault(folder, Fault("camera", "duplicate"))
    client.ask(INITIATE_CAPTURE, 0, 0)
    events = [client.event() for _ in range(4)]
    assert [code for code, _ in events] == [OBJECT_ADDED, OBJECT_ADDED, OBJECT_ADDED, CAPTURE_COMPLETE]
    assert events[0] == events[2]

    order_fault(folder, Fault("camera", "late", value=0.6))
    client.ask(INITIATE_CAPTURE, 0, 0)
    time.sleep(0.1)
    client.ask(INITIATE_CAPTURE, 0, 0)
    added = [params[0] for code, params in (client.event() for _ in range(6)) if code == OBJECT_ADDED]
    assert added[:2] > added[2:]  # the second photograph was announced first

    order_fault(folder, Fault("camera", "card-full-event"))
    client.ask(INITIATE_CAPTURE, 0, 0)
    assert client.event()[0] == STORE_FULL_EVENT


def test_a_lost_photograph_is_nowhere_and_one_not_announced_is_on_the_card(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    order_fault(folder, Fault("camera", "lost"))
    client.ask(INITIATE_CAPTURE, 0, 0)
    time.sleep(0.1)
    order_fault(folder, Fault("camera", "unannounced", skip=0))
    client.ask(INITIATE_CAPTURE, 0, 0)

    assert client.event()[0] == CAPTURE_COMPLETE
    assert sorted(path.name for path in (folder / "card").rglob("IMG_*")) == ["IMG_0002.DNG", "IMG_0002.JPG"]


def test_the_dial_is_turned_before_the_next_operation(studio: tuple[Path, HandClient]) -> None:
    folder, client = studio
    assert client.ask(GET_VALUE, EXPOSURE_TIME).data == struct.pack("<I", 166)
    order_fault(folder, Fault("camera", "drift", value=333))

    assert client.ask(GET_VALUE, EXPOSURE_TIME).data == struct.pack("<I", 333)
