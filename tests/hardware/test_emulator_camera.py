"""The emulated camera, driven by a client written by hand, by python-gphoto2 and by Debian's gphoto2 program."""

import io
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from deepflash.hardware.emulator.camera_body import CameraBody
from deepflash.hardware.emulator.camera_card import Card, is_folder
from deepflash.hardware.emulator.darkroom import Developed, Latent
from deepflash.hardware.emulator.journal import Journal, read_journal
from tests.hardware.hand_client import OK, HandClient, connect, receive, say_hello, send

PATIENCE_S = 20.0
CARD_BYTES = 10**9
OBJECT_ADDED, STORE_FULL, CAPTURE_COMPLETE = 0x4002, 0x400A, 0x400D
INITIATE_CAPTURE, GET_HANDLES, GET_INFO, GET_OBJECT, GET_THUMB, DELETE = 0x100E, 0x1007, 0x1008, 0x1009, 0x100A, 0x100B
SET_VALUE, GET_VALUE = 0x1016, 0x1015
FLASH_MODE, EXPOSURE_TIME, CLOCK, BATTERY = 0x500C, 0x500D, 0x5011, 0x5001
ALL = 0xFFFFFFFF


class CameraProcess:
    """A camera with a scene of plain colours: red is the lamps, blue the flash, green the shot."""

    def __init__(self, folder: Path, *, render_s: float = 0.0, card_bytes: int = CARD_BYTES) -> None:
        self.folder = folder
        script = Path(__file__).with_name("fake_camera.py")
        self.process = subprocess.Popen(
            [sys.executable, script, folder, "64", "48", str(render_s), str(card_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.name = self.process.stdout.readline().decode().strip()
        self.port = int(self.name.rpartition(":")[2])

    def truth(self) -> list[dict[str, object]]:
        return read_journal(self.folder / "truth.jsonl")

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        return code


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[CameraProcess]:
    camera = CameraProcess(tmp_path / "studio")
    yield camera
    assert camera.end() == 0


@pytest.fixture
def client(camera: CameraProcess) -> Iterator[HandClient]:
    client = HandClient(camera.port)
    yield client
    client.close()


def photograph(client: HandClient) -> int:
    """Take a picture; return its handle."""
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == OK
    code, (handle,) = client.event()
    assert code == OBJECT_ADDED
    assert client.event() == (CAPTURE_COMPLETE, ())
    return handle


def middle_pixel(jpeg: bytes) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(jpeg)) as image:
        red, green, blue = image.convert("RGB").getpixel((32, 24))
    return red, green, blue


def test_a_photograph_is_announced_listed_described_fetched_and_deleted(client: HandClient, camera: CameraProcess) -> None:
    handle = photograph(client)
    assert client.ask(0x1006, ALL, 0x3801, 0).params == (1,)
    assert client.ask(GET_HANDLES, ALL, 0x3801, 0).data == struct.pack("<II", 1, handle)
    info = client.ask(GET_INFO, handle).data
    content = client.ask(GET_OBJECT, handle).data
    assert struct.unpack_from("<I", info, 8) == (len(content),)
    assert struct.unpack_from("<II", info, 26) == (64, 48)
    assert "IMG_0001.JPG".encode("utf-16-le") in info
    assert content == (camera.folder / "card/DCIM/100DEEPF/IMG_0001.JPG").read_bytes()
    assert client.ask(0x101B, handle, 2, 100).data == content[2:102]
    assert client.ask(0x101B, handle, len(content) - 5, ALL).params == (5,)
    with Image.open(io.BytesIO(client.ask(GET_THUMB, handle).data)) as thumbnail:
        assert thumbnail.format == "JPEG"
    assert client.ask(DELETE, handle).code == OK
    assert client.ask(GET_OBJECT, handle).code == 0x2009
    assert not list(camera.folder.glob("card/DCIM/*/*"))


def test_folders_lead_from_the_root_to_the_pictures(client: HandClient) -> None:
    handle = photograph(client)
    (root,) = struct.unpack("<I", client.ask(GET_HANDLES, 0x00010001, 0, ALL).data[4:])
    (folder,) = struct.unpack("<I", client.ask(GET_HANDLES, 0x00010001, 0, root).data[4:])
    assert client.ask(GET_HANDLES, 0x00010001, 0, folder).data == struct.pack("<II", 1, handle)
    assert client.ask(DELETE, folder).code == 0x200D  # write-protected
    assert client.ask(GET_THUMB, folder).code == 0x2010
    assert client.ask(DELETE, ALL).code == OK
    assert client.ask(GET_HANDLES, ALL, 0x3801, 0).data == struct.pack("<I", 0)


def test_the_second_exposure_is_taken_while_the_first_is_developed(tmp_path: Path) -> None:
    camera = CameraProcess(tmp_path, render_s=1.0)
    client = HandClient(camera.port)
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == OK
    time.sleep(0.1)
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == OK
    events = [client.event() for _ in range(4)]
    assert [code for code, _ in events] == [OBJECT_ADDED, CAPTURE_COMPLETE] * 2
    first, second = camera.truth()
    assert (events[0][1], events[2][1]) == ((first["handle"],), (second["handle"],))
    assert 0.1 <= float(str(second["exposure_s"])) - float(str(first["exposure_s"])) < 0.9
    client.close()
    camera.end()


def test_the_camera_is_busy_while_its_shutter_is_open(client: HandClient) -> None:
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == OK
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == 0x2019


@pytest.mark.parametrize(
    ("mode", "lamps", "fires", "bits"),
    [(3, True, True, 0x09), (2, False, False, 0x10), (1, True, False, 0x18), (1, False, True, 0x19)],
)
def test_the_flash_fires_as_its_mode_says(tmp_path: Path, mode: int, lamps: bool, fires: bool, bits: int) -> None:
    """Fill always, off never, automatic in the dark; and the EXIF says so."""
    switched = Journal(tmp_path / "lamps.jsonl")
    switched.append({"at_s": time.monotonic() - 10, "channel": 1, "on": lamps, "cause": "command"})
    camera = CameraProcess(tmp_path)
    client = HandClient(camera.port)
    assert client.ask(SET_VALUE, FLASH_MODE, data=struct.pack("<H", mode)).code == OK
    jpeg = client.ask(GET_OBJECT, photograph(client)).data
    assert camera.truth()[0]["flash"] is fires
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.Flash] == bits
    red, _, blue = middle_pixel(jpeg)
    assert (red > 150, blue > 150) == (lamps, fires)
    client.close()
    camera.end()
    switched.close()


@pytest.mark.parametrize("off_before_s", [-0.02, 0.0, 0.08, 1.0])
def test_lamps_that_still_glow_are_in_the_picture(tmp_path: Path, off_before_s: float) -> None:
    """What is left of the lamps' light, the integral of e^(-t / 80 ms) over the exposure, is in truth and picture."""
    switched = Journal(tmp_path / "lamps.jsonl")
    switched.append({"at_s": time.monotonic() - 10, "channel": 1, "on": True, "cause": "command"})
    camera = CameraProcess(tmp_path)
    client = HandClient(camera.port)
    off_s = time.monotonic() - off_before_s
    switched.append({"at_s": off_s, "channel": 1, "on": False, "cause": "command"})
    jpeg = client.ask(GET_OBJECT, photograph(client)).data
    (truth,) = camera.truth()
    opened_s = float(str(truth["exposure_s"])) - off_s
    instants = [max(0.0, opened_s + 0.0166 * (step + 0.5) / 1000) for step in range(1000)]
    expected = sum(math.exp(-instant / 0.08) for instant in instants) / 1000
    assert truth["lamp_light"] == pytest.approx(expected, abs=1e-4)
    assert middle_pixel(jpeg)[0] == pytest.approx(200 * expected, abs=4)
    client.close()
    camera.end()
    switched.close()


def test_a_longer_exposure_collects_more_lamp_light(tmp_path: Path) -> None:
    switched = Journal(tmp_path / "lamps.jsonl")
    switched.append({"at_s": time.monotonic() - 10, "channel": 1, "on": True, "cause": "command"})
    camera = CameraProcess(tmp_path)
    client = HandClient(camera.port)
    photograph(client)
    assert client.ask(SET_VALUE, EXPOSURE_TIME, data=struct.pack("<I", 80)).code == OK
    photograph(client)
    whole, half = (float(str(record["lamp_light"])) for record in camera.truth())
    assert whole == pytest.approx(1.0, abs=0.001)
    assert half == pytest.approx(80 / 166, abs=0.001)
    client.close()
    camera.end()
    switched.close()


def test_exif_tells_the_truth(client: HandClient) -> None:
    assert client.ask(SET_VALUE, CLOCK, data=b"\x10" + "20300102T030405\0".encode("utf-16-le")).code == OK
    photograph(client)
    with Image.open(io.BytesIO(client.ask(GET_OBJECT, photograph(client)).data)) as image:
        exif, details = image.getexif(), image.getexif().get_ifd(ExifTags.IFD.Exif)
    base = ExifTags.Base
    assert (exif[base.Make], exif[base.Model], exif[base.Orientation]) == ("deepflash", "deepflash emulated camera", 1)
    assert details[base.DateTimeOriginal].startswith("2030:01:02 03:0")
    assert (details[base.ExposureTime], details[base.ISOSpeedRatings], details[base.ImageNumber]) == (0.0166, 100, 2)


def test_settings_can_be_changed_where_that_changes_the_picture_and_nowhere_else(client: HandClient) -> None:
    assert client.ask(SET_VALUE, FLASH_MODE, data=b"\x03\x00").code == OK
    assert client.ask(GET_VALUE, FLASH_MODE).data == b"\x03\x00"
    assert client.ask(SET_VALUE, FLASH_MODE, data=b"\x09\x00").code == 0x201C  # no such mode
    assert client.ask(SET_VALUE, FLASH_MODE, data=b"\x03").code == 0x201B  # not a 16-bit number
    assert client.ask(SET_VALUE, BATTERY, data=b"\x05").code == 0x200F
    assert client.ask(SET_VALUE, CLOCK, data=b"\x02A\0\0\0").code == 0x201C
    assert client.ask(GET_VALUE, 0x5FFF).code == 0x200A


def test_what_a_camera_cannot_do_is_answered_with_the_code_for_it(camera: CameraProcess) -> None:
    client = HandClient(camera.port, open_session=False)
    assert client.ask(GET_HANDLES, ALL, 0, 0).code == 0x2003  # no session
    assert client.ask(0x1002, 0).code == 0x201D
    assert client.ask(0x1002, 1).code == OK
    assert client.ask(0x1002, 1).code == 0x201E
    assert client.ask(0x9999).code == 0x2005
    assert client.ask(GET_INFO, 0xDEAD0000).code == 0x2009
    assert client.ask(0x1005, 99).code == 0x2008
    assert client.ask(INITIATE_CAPTURE, 99, 0).code == 0x2008
    assert client.ask(0x1003).code == OK
    client.close()
    operations = read_journal(camera.folder / "camera.jsonl")
    assert [record["response"] for record in operations[:2]] == ["SESSION_NOT_OPEN", "INVALID_PARAMETER"]


def test_one_client_at_a_time_and_the_next_when_it_is_gone(camera: CameraProcess) -> None:
    first = HandClient(camera.port)
    with connect(camera.port) as second:
        assert say_hello(second) == (5, struct.pack("<I", 2))  # busy
    assert first.ask(0x1001).code == OK  # the first has not noticed
    first.close()
    HandClient(camera.port).close()
    HandClient(camera.port).close()


def test_a_stranger_on_the_port_does_no_harm(camera: CameraProcess) -> None:
    with connect(camera.port) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert browser.recv(1) == b""
    with connect(camera.port) as lost:
        send(lost, 3, struct.pack("<I", 12345))  # the event connection of nobody
        assert receive(lost) == (5, struct.pack("<I", 1))
    HandClient(camera.port).close()


def test_a_full_card_refuses_the_shutter(tmp_path: Path) -> None:
    camera = CameraProcess(tmp_path, card_bytes=3_999_999)
    client = HandClient(camera.port)
    assert client.ask(INITIATE_CAPTURE, 0, 0).code == 0x200C
    client.close()
    camera.end()


class OneBigPicture:
    """A darkroom whose only picture has the size that the test wants."""

    def __init__(self, size_bytes: int) -> None:
        jpeg = io.BytesIO()
        Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
        self._jpeg = jpeg.getvalue().ljust(size_bytes, b"\0")  # what follows a JPEG's end is ignored

    def develop(self, latent: Latent) -> Developed:
        return Developed(self._jpeg, {})


def test_a_picture_that_does_not_fit_after_all_is_announced_as_a_full_store(tmp_path: Path) -> None:
    events: list[tuple[int, ...]] = []
    body = CameraBody(
        tmp_path,
        size=(8, 8),
        serial_number="1",
        card_bytes=4_500_000,
        darkroom=OneBigPicture(4_600_000),
        announce=lambda *event: events.append(event),
    )
    body.press_shutter(transaction=5)
    body.develop_next()
    assert events == [(STORE_FULL, 5, 0x00010001)]
    assert read_journal(tmp_path / "truth.jsonl") == []
    assert not list(tmp_path.rglob("*.JPG"))


def test_after_ten_thousand_pictures_a_new_folder_begins(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    card = Card(tmp_path, capacity_bytes=10**9)
    first, last, next_one = (card.store(shot, jpeg.getvalue()) for shot in (0, 9998, 9999))
    names = sorted(str(path.relative_to(tmp_path / "DCIM")) for path in tmp_path.rglob("*.JPG"))
    assert names == ["100DEEPF/IMG_0001.JPG", "100DEEPF/IMG_9999.JPG", "101DEEPF/IMG_0001.JPG"]
    assert [handle for handle in Card(tmp_path, capacity_bytes=10**9).handles() if not is_folder(handle)] == [
        first,
        last,
        next_one,
    ]
    assert card.handles(card.info(next_one).parent) == [next_one]


def test_after_a_kill_the_card_is_as_it_was_and_numbers_go_on(tmp_path: Path) -> None:
    camera = CameraProcess(tmp_path)
    client = HandClient(camera.port)
    kept, deleted = photograph(client), photograph(client)
    content = client.ask(GET_OBJECT, kept).data
    client.ask(DELETE, deleted)
    camera.process.kill()
    camera.end()
    client.close()
    camera = CameraProcess(tmp_path)
    client = HandClient(camera.port)
    assert client.ask(GET_OBJECT, kept).data == content
    assert photograph(client) not in (kept, deleted)
    assert [record["object"] for record in camera.truth()] == ["IMG_0001.JPG", "IMG_0002.JPG", "IMG_0003.JPG"]
    client.close()
    camera.end()


GPHOTO2_SCRIPT = """
import json, sys, time
import gphoto2 as gp

def connected(name):
    ports, models, camera = gp.PortInfoList(), gp.CameraAbilitiesList(), gp.Camera()
    ports.load(), models.load()
    camera.set_port_info(ports[ports.lookup_path(name)])
    camera.set_abilities(models[models.lookup_model("PTP/IP Camera")])
    camera.init()
    return camera

camera = connected(sys.argv[1])
told = {"summary": str(camera.get_summary())}
setting = camera.get_single_config("flashmode")
told["choices"] = list(setting.get_choices())
setting.set_value("Fill flash")
camera.set_single_config("flashmode", setting)
told["flashmode"] = camera.get_single_config("flashmode").get_value()
camera.trigger_capture()
time.sleep(0.1)
camera.trigger_capture()
files, deadline = [], time.monotonic() + 15
while len(files) < 2 and time.monotonic() < deadline:
    kind, event = camera.wait_for_event(10)
    if kind == gp.GP_EVENT_FILE_ADDED:
        files.append((event.folder, event.name))
    elif kind == gp.GP_EVENT_TIMEOUT:
        time.sleep(0.001)
told["files"] = files
for folder, name in files:
    fetched = camera.file_get(folder, name, gp.GP_FILE_TYPE_NORMAL)  # kept in a name: trap 1 of reference/hardware.md
    fetched.save(sys.argv[2] + "/" + name)
camera.file_delete(*files[0])
camera.exit()
camera = connected(sys.argv[1])
left = camera.folder_list_files(files[0][0])
told["left"] = [left.get_name(index) for index in range(left.count())]
told["free"] = camera.get_storageinfo()[0].freekbytes
camera.exit()
print(json.dumps(told))
"""


def test_python_gphoto2_connects_sets_triggers_twice_fetches_and_deletes(camera: CameraProcess, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GPHOTO2_SCRIPT, camera.name, tmp_path],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert "Model: deepflash emulated camera" in told["summary"]
    assert told["choices"] == ["Automatic Flash", "Flash off", "Fill flash"]
    assert told["flashmode"] == "Fill flash"
    assert [name for _, name in told["files"]] == ["IMG_0001.JPG", "IMG_0002.JPG"]
    assert told["left"] == ["IMG_0002.JPG"]
    assert 0 < told["free"] < CARD_BYTES / 1024
    kept = camera.folder / "card/DCIM/100DEEPF/IMG_0002.JPG"
    assert (tmp_path / "IMG_0002.JPG").read_bytes() == kept.read_bytes()
    assert middle_pixel((tmp_path / "IMG_0001.JPG").read_bytes())[2] > 150
    first, second = camera.truth()
    assert float(str(second["exposure_s"])) - float(str(first["exposure_s"])) >= 0.1


@pytest.mark.skipif(shutil.which("gphoto2") is None, reason="the gphoto2 program is not installed (apt install gphoto2)")
def test_the_independent_gphoto2_program_drives_the_camera(camera: CameraProcess, tmp_path: Path) -> None:
    def gphoto2(*options: str) -> str:
        ended = subprocess.run(
            ["gphoto2", "--port", camera.name, "--camera", "PTP/IP Camera", *options],
            env=os.environ | {"HOME": str(tmp_path), "LANG": "C"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "Model: deepflash emulated camera" in gphoto2("--summary")
    gphoto2("--set-config", "flashmode=2")
    assert "Current: Fill flash" in gphoto2("--get-config", "flashmode")
    gphoto2("--capture-image-and-download", "--keep", "--filename", "shot.jpg")
    assert (tmp_path / "shot.jpg").read_bytes() == (camera.folder / "card/DCIM/100DEEPF/IMG_0001.JPG").read_bytes()
    assert "IMG_0001.JPG" in gphoto2("--list-files")
    gphoto2("--get-thumbnail", "1", "--folder", "/store_00010001/DCIM/100DEEPF", "--filename", "small.jpg")
    with Image.open(tmp_path / "thumb_small.jpg") as thumbnail:
        assert thumbnail.size == (64, 48)
    gphoto2("--delete-all-files", "--folder", "/store_00010001/DCIM/100DEEPF")
    assert "IMG_0001.JPG" not in gphoto2("--list-files")
