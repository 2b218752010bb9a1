"""The phone as camera: against a second client written by hand, and in a real Chromium with its fake camera."""

import io
import json
import re
import stat
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from deepflash.capture.session import hold_session
from deepflash.cli import cli
from deepflash.errors import CameraError
from deepflash.files import sha256_of
from deepflash.hardware import phone_server
from deepflash.hardware.camera import Camera, CardFile, SettingsError, Shot, Trigger
from deepflash.hardware.cameras import open_camera
from deepflash.hardware.emulator.studio import emulated_board
from deepflash.hardware.phone import PhoneCamera, parse_phone_port, phone_address
from deepflash.hardware.phone_clock import PhoneClock
from deepflash.hardware.phone_exif import with_exif
from deepflash.hardware.rig import Rig
from tests.hardware.browser import MISSING, Browser, open_browser
from tests.hardware.hand_phone import GOOD, HABITS, HandPhone, free_port, jpeg

BUSY_S = 0.5  # what the scheduler of a shared machine may take
PAIR = (Shot(0.0, flash=False), Shot(0.2, flash=True))


@pytest.fixture(autouse=True)
def own_token(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def a_phone(port: int, **options: Any) -> Iterator[HandPhone]:
    with HandPhone(phone_address(f"phone:{port}"), **options) as phone:
        yield phone


def shoot(camera: PhoneCamera, folder: Path, shots: tuple[Shot, ...] = PAIR) -> tuple[list[CardFile], list[Trigger]]:
    folder.mkdir(exist_ok=True)
    triggers: list[Trigger] = []
    camera.make_ready()
    at_s = time.monotonic() + 0.15
    files = camera.shoot(shots, at_s=at_s, folder=folder, on_trigger=lambda _, trigger: triggers.append(trigger))
    return files, triggers


def without_exif(file: CardFile) -> bytes:
    """Take the segment out that stands first: FF E1, its length, its content (JPEG, ITU-T T.81 B.2.4)."""
    content = file.path.read_bytes()
    assert content[:4] == b"\xff\xd8\xff\xe1"
    return content[:2] + content[4 + int.from_bytes(content[4:6], "big") :]


def exif(file: CardFile) -> dict[int, Any]:
    with Image.open(file.path) as image:
        return dict(image.getexif().get_ifd(0x8769))


# ---- a phone played by hand


def test_a_phone_photographs_at_the_times_of_our_clock_though_its_own_is_another(port: int, tmp_path: Path) -> None:
    with a_phone(port, ahead_s=-12345.678) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        files, triggers = shoot(camera, tmp_path)

        assert [without_exif(file) for file in files] == [jpeg(), jpeg(1)]
        assert [file.size_bytes for file in files] == [file.path.stat().st_size for file in files]
        assert [file.path.name for file in files] == ["0.jpg", "1.jpg"]
        doubt_s = float(camera.facts.settings["clock_doubt_ms"]) / 1000
        for trigger, exposure_s in zip(triggers, phone.exposures_s, strict=True):
            assert trigger.before_s == pytest.approx(exposure_s, abs=doubt_s + 1e-4)
        order = phone.orders[-1]
        assert [shot["flash"] for shot in order["shots"]] == [False, True]
        assert order["mode"] == "torch"
        camera.delete(files)
        assert camera.orphans == []


def test_what_is_learnt_of_the_phone_stands_in_the_facts(port: int) -> None:
    with a_phone(port), PhoneCamera(port, "flash", patience_s=10) as camera:
        assert camera.facts.settings == {"width": "64", "cameramodel": "Hand 1", "browser": "by hand", "mode": "flash"}
        assert camera.facts.flash_settable
        assert "uvicorn" in camera.facts.versions


def test_frames_are_given_the_exif_that_is_known_of_them(port: int, tmp_path: Path) -> None:
    with a_phone(port) as phone:
        phone.settings = {"exposureTime": 83, "exposureMode": "manual"}
        with PhoneCamera(port, "torch", patience_s=10) as camera:
            began = datetime.now()
            files, _ = shoot(camera, tmp_path / "manual", (Shot(0.0, flash=False), Shot(0.5, flash=True)))
            unknown = []
            for number, (time_, mode) in enumerate(
                [(83, "continuous"), (float("inf"), "manual"), (1e300, "manual"), (-1, "manual")]
            ):
                phone.settings = {"exposureTime": time_, "exposureMode": mode}
                unknown += shoot(camera, tmp_path / str(number))[0]

    studio, flash = (exif(file) for file in files)
    assert float(studio[0x829A]) == pytest.approx(0.0083)
    taken, later = (datetime.strptime(f"{tags[0x9003]}.{tags[0x9291]}", "%Y:%m:%d %H:%M:%S.%f") for tags in (studio, flash))
    assert (later - taken).total_seconds() == pytest.approx(0.5, abs=BUSY_S)
    assert 0 <= (taken - began).total_seconds() < 10
    assert not [file for file in unknown if 0x829A in exif(file)]


def test_a_photograph_with_exif_of_its_own_is_stored_as_it_is(tmp_path: Path) -> None:
    own = Image.Exif()
    own[0x0110] = "a phone"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=own)
    assert with_exif(file.getvalue(), model="another", taken=datetime.now(), exposure_s=0.1) == file.getvalue()


SENTENCES = {
    "hangs up": "the phone has gone; plug it in, unlock it and bring the page to the front",
    "hangs up between the shots": "the phone has gone; plug it in, unlock it and bring the page to the front",
    "does nothing": "the phone does not answer; unlock it and bring the page to the front",
    "sends no JSON": r"the phone sent what is no message \(.*\); load its page again",
    "sends a deep hole": r"the phone sent what is no message \(.*\); load its page again",
    "sends a list": r"the phone sent what is no message \(.*\); load its page again",
    "sends an unknown word": r"the phone sent what is no message \(it said 'tea'\); load its page again",
    "sends half a trigger": r"the phone's page answers nonsense; load it again \('before_ms'\)",
    "says another shot": r"the phone's page answers nonsense; load it again \(.*\)",
    "says that it was long ago": r"the phone's page answers nonsense; load it again \(.*\)",
    "says infinity": r"the phone's page answers nonsense; load it again \(.*\)",
    "says that it failed": "the torch could not be switched on",
    "uploads twice": "photograph 0 came twice; the take is lost",
    "sends no JPEG": "photograph 0 is not a whole JPEG file; the take is lost",
    "sends half a JPEG": "photograph 0 is not a whole JPEG file; the take is lost",
    "sends a PNG in JPEG's clothes": "photograph 0 does not decode; the take is lost",
    "sends a wrong checksum": "photograph 0 did not arrive: its sha256 is not .*; the take is lost",
    "exchanges the photographs": "photograph 0 has the time of another; the take is lost",
}


@pytest.mark.parametrize("habit", [habit for habit in HABITS if habit != GOOD])
def test_whatever_the_phone_does_wrong_is_one_sentence_and_the_next_take_is_good(
    habit: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if habit == "does nothing":
        monkeypatch.setattr("deepflash.hardware.phone._TRIGGER_LIMIT_S", 1.0)
    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        phone.habits = [habit]
        with pytest.raises(CameraError, match=f"^phone:{port}: {SENTENCES[habit]}$"):
            shoot(camera, tmp_path / "bad")

        camera.reconnect()
        files, _ = shoot(camera, tmp_path / "good")

    assert [without_exif(file) for file in files] == [jpeg(), jpeg(1)]


def test_an_upload_is_refused_while_it_grows_too_large(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_server, "MAX_PHOTOGRAPH_BYTES", 1000)
    with (
        a_phone(port),
        PhoneCamera(port, "torch", patience_s=10) as camera,
        pytest.raises(CameraError, match=r"photograph 0 did not arrive: it has more than .* MiB"),
    ):
        shoot(camera, tmp_path)


def test_a_photograph_for_which_nobody_waits_is_refused_and_forgotten(port: int, tmp_path: Path) -> None:
    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        shoot(camera, tmp_path / "a")
        old = phone.orders[-1]["id"]
        camera.make_ready()
        assert phone.put(old, 0, b"too late", 0.0).status_code == 410
        assert phone.put("../../etc/passwd", 0, b"", 0.0).status_code in {403, 404}
        files, _ = shoot(camera, tmp_path / "b")
    assert without_exif(files[0]) == jpeg()


def test_an_error_while_the_lamps_are_switched_is_passed_on_and_the_line_is_hung_up(port: int, tmp_path: Path) -> None:
    def fail(_number: int, _trigger: Trigger) -> None:
        raise KeyError("lamps")

    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        camera.make_ready()
        calls = phone.calls
        with pytest.raises(KeyError, match="lamps"):
            camera.shoot(PAIR, at_s=time.monotonic(), folder=tmp_path, on_trigger=fail)
        camera.reconnect()
        assert phone.calls == calls + 1


def test_without_a_phone_the_sentence_says_how_to_bring_one(port: int) -> None:
    with pytest.raises(CameraError, match=rf"adb reverse tcp:{port} tcp:{port}.*`deepflash capture phone`"):
        PhoneCamera(port, "torch", patience_s=0.1).__enter__()
    httpx_refused = pytest.raises(httpx.ConnectError)
    with httpx_refused:  # and the server has gone again
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_a_page_that_is_loaded_again_while_it_is_awaited_is_awaited_again(port: int, tmp_path: Path) -> None:
    with a_phone(port) as phone:
        phone.reloads = 2
        with PhoneCamera(port, "torch", patience_s=10) as camera:
            shoot(camera, tmp_path)
        assert phone.calls >= 3


def test_a_camera_without_the_light_that_the_mode_needs_is_refused(port: int) -> None:
    with a_phone(port, modes=("flash",)), pytest.raises(CameraError, match="has no torch, it offers flash; choose its other"):
        PhoneCamera(port, "torch", patience_s=10).__enter__()


def test_a_port_that_is_taken_is_said(port: int) -> None:
    with (
        a_phone(port),
        PhoneCamera(port, "torch", patience_s=10),
        pytest.raises(CameraError, match=f"phone:{port}: this port cannot be had"),
    ):
        PhoneCamera(port, "torch").__enter__()


def test_a_second_page_takes_the_line_and_the_first_is_told_why(port: int) -> None:
    origin, query = f"http://localhost:{port}", phone_address(f"phone:{port}").partition("?")[2]
    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10):
        calls = phone.calls
        with connect(f"ws://localhost:{port}/link?{query}", origin=origin, proxy=None) as second:
            wait_for(lambda: phone.calls > calls)  # it lost the line, and takes it back, which the page would not
            with pytest.raises(ConnectionClosedError, match="4001"):
                list(second)  # whatever was said before the end


def test_settings_are_locked_compared_and_their_drift_is_told(port: int, tmp_path: Path) -> None:
    with a_phone(port) as phone:
        phone.settings = {"exposureTime": 50, "iso": 100}
        with PhoneCamera(port, "torch", {"exposureTime": "83"}, patience_s=10) as camera:
            assert camera.facts.settings["exposureTime"] == "83.0"
            camera.make_ready()
            assert camera.drifts == []
            phone.settings["exposureTime"] = 40
            camera.make_ready()
            assert camera.drifts == ["the phone's exposureTime was found at 40 and set back to 83"]

            phone.takes_settings = False
            phone.settings["exposureTime"] = 40
            with pytest.raises(SettingsError, match="exposureTime was set to 83 and is 40; mend camera_settings"):
                camera.make_ready()
        with pytest.raises(SettingsError, match="has no setting zoom; take it out of camera_settings"):
            PhoneCamera(port, "torch", {"zoom": "2"}, patience_s=10).__enter__()


def test_a_phone_whose_clock_cannot_be_read_well_is_not_ready(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.hardware.phone._CLOCK_LIMIT_S", 0.5)
    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        phone.answer_delays_s = [0.1]
        camera.reconnect()
        with pytest.raises(CameraError, match=r"clock is known only to \d+ ms; use a cable, and close other programs"):
            camera.make_ready()


def test_answers_that_take_their_time_now_and_then_do_not_disturb_the_clock(port: int, tmp_path: Path) -> None:
    with a_phone(port) as phone, PhoneCamera(port, "torch", patience_s=10) as camera:
        phone.answer_delays_s = [0.0, 0.08, 0.05]
        camera.reconnect()
        _, triggers = shoot(camera, tmp_path)
        for trigger, exposure_s in zip(triggers, phone.exposures_s, strict=True):
            assert trigger.before_s == pytest.approx(exposure_s, abs=0.01)


# ---- who is let in


def guarded(port: int) -> dict[str, httpx.Response]:
    token = httpx.URL(phone_address(f"phone:{port}")).params["token"]
    here, address = f"http://localhost:{port}", f"http://127.0.0.1:{port}"
    with httpx.Client(trust_env=False) as client:
        return {
            "page": client.get(f"{here}/", params={"token": token}),
            "no token": client.get(f"{here}/"),
            "wrong token": client.get(f"{here}/", params={"token": token[:-1] + "~"}),
            "umlaut token": client.get(f"{here}/", params={"token": "ä"}),
            "other name": client.get(f"{address}/", params={"token": token}, headers={"host": f"evil.example:{port}"}),
            "foreign put": client.put(
                f"{here}/photographs/a/0", params={"token": token}, headers={"origin": "http://evil.example"}
            ),
            "put without origin": client.put(f"{here}/photographs/a/0", params={"token": token}),
            "put without token": client.put(f"{here}/photographs/a/0", headers={"origin": here}),
            "post": client.post(f"{here}/photographs/a/0", params={"token": token}, headers={"origin": here}),
            "elsewhere": client.get(f"{here}/phone.py", params={"token": token}),
            "upwards": client.get(f"{here}/..%2f..%2fphone.py", params={"token": token}),
        }


def test_only_our_page_with_the_token_is_let_in(port: int) -> None:
    with a_phone(port), PhoneCamera(port, "torch", patience_s=10):
        answers = guarded(port)
        statuses = {name: answer.status_code for name, answer in answers.items()}
        token = httpx.URL(phone_address(f"phone:{port}")).params["token"]
        for origin, query in (
            (None, f"token={token}"),
            ("http://evil.example", f"token={token}"),
            (f"http://localhost:{port}", ""),
        ):
            with pytest.raises(InvalidStatus, match="403"):
                connect(f"ws://localhost:{port}/link?{query}", origin=origin, proxy=None)

    assert statuses.pop("page") == 200
    assert [statuses.pop(name) for name in ("post", "elsewhere", "upwards")] == [405, 404, 404]
    assert set(statuses.values()) == {403}
    assert token not in answers["page"].text
    policy = answers["page"].headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert f'<script nonce="{nonce[1]}">' in answers["page"].text
    assert answers["page"].headers["referrer-policy"] == "no-referrer"
    assert "//" not in re.sub(r"(//|/\*).*|ws://", "", answers["page"].text.replace("https://", "//evil"))


def test_the_address_stays_the_same_and_its_secret_is_the_operators_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert phone_address("phone:8765") == phone_address("phone:8765:flash")
    (secret,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert secret.read_text() not in phone_address("phone:8765")


def test_the_command_prints_the_address_and_what_the_phone_offers(port: int) -> None:
    with a_phone(port):
        arguments = ["capture", "phone", "--camera-port", f"phone:{port}:flash", "--wait", "20", "--json"]
        told = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    facts = json.loads(told.stdout)
    assert facts["address"] == phone_address(f"phone:{port}")
    assert facts["cameramodel"] == "Hand 1"
    assert float(facts["clock_doubt_ms"]) < 10
    assert f"adb reverse tcp:{port} tcp:{port}" in told.stderr


# ---- the clock, and how a rig names a phone


@given(
    ahead_s=st.floats(-1e6, 1e6),
    ways=st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.1), st.floats(0, 0.2)), min_size=1, max_size=30),
)
def test_the_clock_is_right_to_its_doubt_however_uneven_the_ways_are(
    ahead_s: float, ways: list[tuple[float, float, float]]
) -> None:
    clock, now_s = PhoneClock(), 100.0
    for there_s, thinking_s, back_s in ways:
        heard_s = now_s + there_s + ahead_s
        arrived_s = now_s + there_s + thinking_s + back_s
        clock.add(sent_s=now_s, heard_s=heard_s, answered_s=heard_s + thinking_s, back_s=max(arrived_s, now_s) + 1e-7)
        now_s = arrived_s + 0.1
    best = clock.best()
    assert best is not None
    assert abs(best.offset_s - ahead_s) <= best.doubt_s + 1e-6


def test_readings_from_before_the_phone_slept_are_forgotten() -> None:
    clock = PhoneClock()
    clock.add(sent_s=1.0, heard_s=51.001, answered_s=51.001, back_s=1.002)
    clock.add(sent_s=2.0, heard_s=47.01, answered_s=47.01, back_s=2.02)  # five seconds behind
    best = clock.best()
    assert best is not None
    assert best.offset_s == pytest.approx(45.0)


def test_an_answer_before_its_question_is_refused() -> None:
    for times in (
        (1.0, 50.0, 49.0, 1.1),
        (1.0, 50.0, 51.0, 1.1),
        (1.0, float("nan"), 50.0, 1.1),
        (1.0, 50.0, 50.0, float("inf")),
    ):
        with pytest.raises(ValueError, match="cannot be"):
            PhoneClock().add(**dict(zip(("sent_s", "heard_s", "answered_s", "back_s"), times, strict=True)))


@pytest.mark.parametrize(
    "text", ["phone:", "phone:x", "phone:0", "phone:70000", "phone:8765:xenon", "phone:-1", "phone:\u0661", "usb:1"]
)
def test_a_port_that_names_no_phone_is_refused(text: str) -> None:
    with pytest.raises(CameraError, match="names no phone; use phone:8765:torch or phone:8765:flash"):
        parse_phone_port(text)


def test_the_rig_chooses_the_camera() -> None:
    assert parse_phone_port("phone:8765:flash") == (8765, "flash")
    assert isinstance(open_camera(Rig("no board", "phone:8765")), PhoneCamera)
    assert isinstance(open_camera(Rig("no board", "usb:001,004")), Camera)


# ---- in a real browser

TORCH = """
(() => {  // what the fake camera lacks: a torch, which brightens what the camera sees, and can fail
  const track = MediaStreamTrack.prototype;
  const { getCapabilities, getSettings, applyConstraints } = track;
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  const takePhoto = ImageCapture.prototype.takePhoto;
  window.stage = { lit: false, failures: 0, torch: [], photos: [] };
  track.getCapabilities = function () { return { ...getCapabilities.call(this), torch: true }; };
  track.getSettings = function () { return { ...getSettings.call(this), torch: stage.lit }; };
  track.applyConstraints = async function (wish) {
    const [{ torch, ...rest }] = wish.advanced;
    if (Object.keys(rest).length) await applyConstraints.call(this, { advanced: [rest] });
    await new Promise((done) => setTimeout(done, 50));
    if (torch && stage.failures-- > 0) return;
    if (torch !== undefined && torch !== stage.lit) { stage.lit = torch; stage.torch.push([torch, performance.now()]); }
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...what) {
    draw.apply(this, what);
    if (stage.lit) { this.fillStyle = "rgba(255, 255, 255, 0.5)"; this.fillRect(0, 0, this.canvas.width, this.canvas.height); }
  };
  ImageCapture.prototype.takePhoto = function (wish) { stage.photos.push(wish); return takePhoto.call(this, wish); };
})();
"""

in_a_browser = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.before_every_page(TORCH)
        yield browser


@contextmanager
def the_page(browser: Browser, port: int, mode: str, settings: dict[str, str] | None = None) -> Iterator[PhoneCamera]:
    camera = PhoneCamera(port, mode, settings, patience_s=30)
    opening = threading.Thread(target=open_soon, args=(browser, phone_address(f"phone:{port}")))
    opening.start()
    try:
        with camera:
            yield camera
    finally:
        opening.join()
        browser.open("about:blank")


def open_soon(browser: Browser, address: str) -> None:
    """Open the page as soon as it is served."""
    for _ in range(3000):
        try:
            httpx.get(address, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.01)
        else:
            return browser.open(address)
    raise AssertionError("the page was never served")


def brightness(file: CardFile) -> float:
    with Image.open(file.path) as image:
        return float(np.asarray(image.convert("L").resize((64, 36))).mean())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.05)


@in_a_browser
def test_with_the_torch_a_browser_takes_two_full_frames_at_the_frames_own_times(
    browser: Browser, port: int, tmp_path: Path
) -> None:
    spacings_s = []
    with the_page(browser, port, "torch") as camera:
        for number in range(3):
            files, (studio, flash) = shoot(camera, tmp_path / str(number), (Shot(0.0, flash=False), Shot(0.5, flash=True)))
            spacings_s.append(flash.before_s - studio.before_s)
            assert brightness(files[1]) > brightness(files[0]) + 20  # the torch shone in the second alone
        camera.delete(files)
        wait_for(lambda: browser.text("status") == "Saved. Thank you.")
        torch = browser.run("return window.stage.torch")
        assert browser.run("return crossOriginIsolated") is True

    assert statistics.median(spacings_s) == pytest.approx(0.5, abs=BUSY_S)
    assert [lit for lit, _ in torch] == [True, False] * 3
    with Image.open(files[0].path) as image:
        assert image.size == (3840, 2160)
        assert image.format == "JPEG"
    assert camera.facts.settings["cameramodel"] == "fake_device_0"
    assert camera.facts.settings["exposure_times_of"] == "camera"


@in_a_browser
def test_with_the_flash_a_browser_takes_two_photographs(browser: Browser, port: int, tmp_path: Path) -> None:
    with the_page(browser, port, "flash") as camera:
        files, (studio, flash) = shoot(camera, tmp_path, (Shot(0.0, flash=False), Shot(0.5, flash=True)))
        photos = browser.run("return window.stage.photos")

    assert [photo["fillLightMode"] for photo in photos] == ["off", "flash"]
    assert flash.before_s - studio.before_s == pytest.approx(0.5, abs=BUSY_S)
    sizes = []
    for file in files:
        with Image.open(file.path) as image:
            assert image.format == "JPEG"  # the fake camera makes PNG files
            sizes.append(image.size)
    assert sizes[0] == sizes[1]
    assert sizes[0] >= (photos[0]["imageWidth"], photos[0]["imageHeight"])


@in_a_browser
def test_a_browser_locks_the_exposure(browser: Browser, port: int) -> None:
    with the_page(browser, port, "torch", {"exposureTime": "70"}) as camera:
        camera.make_ready()
        assert camera.facts.settings["exposureTime"] == "70"
        assert camera.facts.settings["exposureMode"] == "manual"
        assert camera.facts.settings["width"] == "3840"


@in_a_browser
def test_a_torch_that_does_not_light_is_said_and_the_page_calls_again(browser: Browser, port: int, tmp_path: Path) -> None:
    with the_page(browser, port, "torch") as camera:
        browser.run("window.stage.failures = 1")
        with pytest.raises(CameraError, match=f"phone:{port}: the torch could not be switched on"):
            shoot(camera, tmp_path / "bad")
        camera.reconnect()
        files, _ = shoot(camera, tmp_path / "good")
        assert brightness(files[1]) > brightness(files[0]) + 20


@in_a_browser
def test_a_session_with_the_phone_commits_its_pairs_and_retakes_what_failed(
    browser: Browser, port: int, tmp_path: Path
) -> None:
    camera_port = f"phone:{port}:torch"
    opening = threading.Thread(target=open_soon, args=(browser, phone_address(camera_port)))

    def prompt(pose: str, attempt: int) -> None:
        if (pose, attempt) == ("left", 1):
            browser.run("window.stage.failures = 1")

    with emulated_board(tmp_path) as board:
        rig = replace(board, camera_port=camera_port, camera_lag_s=0.0, tolerance_s=0.3, check_faces=False, check_eyes=False)
        opening.start()
        result = hold_session(rig, tmp_path / "raw", "S001", ["frontal", "left"], prompt=prompt)
        opening.join()
        switched = [json.loads(line) for line in (tmp_path / "lamps.jsonl").read_text().splitlines()]

    assert result.finish == "complete"
    assert [pair.pose for pair in result.pairs] == ["frontal", "left"]
    failed = [attempt for attempt in result.attempts if attempt.verdict == "failed"]
    assert [attempt.reasons for attempt in failed] == [(f"phone:{port}: the torch could not be switched on",)]
    for pair in result.pairs:
        assert {name: sha256_of(getattr(pair, name)) for name in ("flash", "studio")} == {
            name: facts["sha256"] for name, facts in pair.record["files"].items()
        }
        assert pair.record["camera"]["mode"] == "torch"
        assert pair.record["times"]["spacing_s"] == pytest.approx(rig.spacing_s, abs=rig.tolerance_s)
    assert not [line for line in switched if line["channel"] == 1][-1]["on"]
