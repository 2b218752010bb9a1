"""The page in a real headless Chromium: by keyboard, mouse and touch, with a screen reader, and when things fail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage import data

from deepflash.model.enhancement.enhancer import Enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.enhancement.serve import Limits, served_page
from deepflash.photos import decode_photo, encode_photo
from tests.hardware.browser import MISSING, Browser, open_browser
from tests.model.enhancement.stand_ins import Slow, warming_enhancer

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

TAB, ENTER, SPACE, LEFT, RIGHT, HOME, END = "\ue004", "\ue007", " ", "\ue012", "\ue014", "\ue011", "\ue010"
READY = "return Boolean(portrait) && !asking && !document.getElementById('download').disabled"


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return warming_enhancer()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()).save(folder / "eileen.jpg", quality=95)
    Image.fromarray(data.coffee()).save(folder / "coffee.png")
    Image.fromarray(data.astronaut()).save(folder / "eileen.tif")
    tall = Image.new("RGB", (512, 2400))
    tall.paste(Image.fromarray(data.astronaut()))
    tall.save(folder / "tall.jpg")
    (folder / "notes.jpg").write_text("Dear diary,")
    (folder / "large.jpg").write_bytes(bytes(2_100_000))
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def address(enhancer: Enhancer) -> Iterator[str]:
    with served_page(enhancer, limits=Limits(megabytes=2)) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    browser.resize(1280, 900)
    browser.prefer(prefers_color_scheme="light")
    browser.order("Emulation.setTouchEmulationEnabled", enabled=False)
    browser.open("about:blank")
    browser.open(address)
    return browser


def choose(browser: Browser, photograph: Path, identity: str = "file") -> None:
    """Do what the browser's own file chooser does."""
    root = browser.order("DOM.getDocument")["root"]["nodeId"]
    node = browser.order("DOM.querySelector", nodeId=root, selector=f"#{identity}")["nodeId"]
    browser.order("DOM.setFileInputFiles", nodeId=node, files=[str(photograph)])


def drop(browser: Browser, photograph: Path) -> None:
    dragged = {"items": [], "files": [str(photograph)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.order("Input.dispatchDragEvent", type=kind, x=500, y=400, data=dragged)


def focused(browser: Browser) -> str:
    return str(browser.run("return document.activeElement.id || document.activeElement.value"))


def told(browser: Browser, kind: str) -> str:
    """Wait until the page says something of that kind, and return it."""
    browser.until(f"return document.getElementById('message').dataset.kind === '{kind}' && !asking")
    return browser.text("message-text")


def colour_at(browser: Browser, tmp_path: Path) -> np.ndarray:
    """Return what is seen of the face."""
    browser.screenshot(tmp_path / "seen.png")
    left, top, width, height = browser.run(
        "const box = document.getElementById('frame').getBoundingClientRect(); return [box.x, box.y, box.width, box.height]"
    )
    seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"), dtype=float)
    x, y = round(left + 0.43 * width), round(top + 0.2 * height)
    return seen[y - 4 : y + 5, x - 4 : x + 5].mean(axis=(0, 1))


def test_from_a_dropped_photograph_to_the_downloaded_portrait_by_keyboard(
    page: Browser, photos: Path, enhancer: Enhancer, tmp_path: Path
) -> None:
    page.order("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads"))
    drop(page, photos / "eileen.jpg")
    page.until(READY)
    assert page.text("message-text") == "The portrait is ready. Move the line to compare."
    assert focused(page) == "slider"

    page.press(HOME)
    after = colour_at(page, tmp_path)
    page.press(END)
    before = colour_at(page, tmp_path)
    assert after[0] > before[0] + 5, "the portrait is warmer than the photograph"
    page.press(LEFT, LEFT, RIGHT)
    assert page.run("return document.getElementById('bar').style.left") == "99%"
    assert page.run("return document.getElementById('slider').getAttribute('aria-valuetext')") == "99 % before, 1 % after"

    page.press(HOME, TAB)
    assert focused(page) == "strength"
    page.press(HOME)
    assert np.abs(colour_at(page, tmp_path) - before).max() < 3, "strength 0 is the photograph"
    page.press(*RIGHT * 40)
    half = before + 0.4 * (after - before)
    assert np.abs(colour_at(page, tmp_path) - half).max() < 3
    assert page.text("strength-said") == "40 %"

    page.press(TAB)
    assert focused(page) == "keep"
    page.press(RIGHT)
    page.until("return asking")
    page.until(READY)
    page.press(TAB, SPACE)  # no red eyes, please
    page.until("return asking")
    page.until(READY)
    page.press(TAB, TAB)
    assert focused(page) == "download"
    page.press(ENTER)
    assert told(page, "good") == "eileen-portrait.jpg is downloaded, 512 \u00d7 512 pixels."

    downloaded = tmp_path / "downloads" / "eileen-portrait.jpg"
    page.wait_for(downloaded.exists)
    photograph = decode_photo((photos / "eileen.jpg").read_bytes(), "it")
    look = Look(strength=0.4, background="enhance", red_eye=False)
    assert downloaded.read_bytes() == encode_photo(enhancer.enhance(photograph, look), ".jpg")


def test_a_format_that_browsers_do_not_show_is_shown(page: Browser, photos: Path) -> None:
    choose(page, photos / "eileen.tif")
    page.until(READY)
    assert page.run("return portrait.suffix") == ".tif"
    assert page.run("return ['before', 'weakest', 'strongest'].every(id => $(id).naturalWidth === 512)")


def test_a_pasted_photograph(page: Browser, photos: Path) -> None:
    page.run(
        "const canvas = Object.assign(document.createElement('canvas'), {width: 80, height: 60});"
        "canvas.toBlob(blob => { const data = new DataTransfer();"
        " data.items.add(new File([blob], 'image.png', {type: 'image/png'}));"
        " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})); });"
    )
    assert told(page, "bad") == "No face was found in image.png; turn it if it is not upright, or treat it as a whole."


def test_a_photograph_without_a_face_is_offered_to_be_treated_as_a_whole(page: Browser, photos: Path) -> None:
    choose(page, photos / "coffee.png")
    assert told(page, "bad") == "No face was found in coffee.png; turn it if it is not upright, or treat it as a whole."
    assert page.run("return document.getElementById('message-text').getAttribute('aria-live')") == "assertive"
    assert focused(page) == "whole-offer"
    page.press(ENTER)
    page.until(READY)
    assert page.run("return document.getElementById('whole').checked && document.getElementById('whole-offer').hidden")
    assert page.run("return portrait.suffix") == ".png"
    assert page.run("return $('background').disabled"), "there is none in a picture that is treated as a whole"
    page.run("$('whole').click()")
    assert told(page, "bad") == "No face was found in coffee.png; turn it if it is not upright, or treat it as a whole."
    assert not page.run("return $('background').disabled")


def test_what_cannot_be_used_is_said_and_the_page_goes_on(page: Browser, photos: Path) -> None:
    choose(page, photos / "notes.jpg")
    assert told(page, "bad").startswith("notes.jpg is not a")
    assert not page.run("return document.getElementById('start').hidden")
    choose(page, photos / "large.jpg")
    assert told(page, "bad").startswith("large.jpg has 3 MB; this page takes up to 2 MB.")
    choose(page, photos / "eileen.jpg")
    page.until(READY)
    page.press(HOME)
    page.run("document.getElementById('again').click()")
    assert page.run("return photograph === null && portrait === null && !document.getElementById('before').src")
    assert focused(page) == "choose"


def test_options_that_change_quickly_end_at_the_last(page: Browser, photos: Path) -> None:
    choose(page, photos / "eileen.jpg")
    page.until(READY)
    page.run(
        "for (const value of ['enhance', 'keep', 'colour', 'enhance'])"
        " { document.querySelector(`[value=${value}]`).click(); }"
        " document.querySelector('[value=colour]').click();"
        " document.getElementById('colour').value = '#ff0000';"
        " document.getElementById('colour').dispatchEvent(new Event('input', {bubbles: true}));"
    )
    page.until("return asking")
    page.until(READY)
    assert page.run("return look().background") == "#ff0000"
    assert page.run("return document.getElementById('message').dataset.kind") == "info"


def test_the_camera_with_its_shutter(page: Browser) -> None:
    page.run("document.getElementById('shoot').click()")
    page.until("return document.getElementById('camera').open && document.getElementById('video').videoWidth")
    assert focused(page) == "shutter"
    page.press(ENTER)
    assert told(page, "bad").startswith("No face was found in camera.jpg;"), "the fake camera shows none"
    assert page.run("return !document.getElementById('camera').open && document.getElementById('video').srcObject === null")


def test_who_must_wait_is_told_so(browser: Browser, photos: Path) -> None:
    slow = Slow()
    with served_page(slow) as url, ThreadPoolExecutor(1) as people:
        photograph = (photos / "eileen.jpg").read_bytes()
        first = people.submit(httpx.post, f"{url}portrait", content=photograph, timeout=60, trust_env=False)
        assert slow.begun.acquire(timeout=30)
        browser.open(url)
        choose(browser, photos / "eileen.jpg")
        browser.until("return $('message-text').textContent === 'Waiting for the photograph before this one\u2026'")
        assert browser.run("return getComputedStyle($('busy')).display") != "none"
        for _ in range(6):  # of its own requests, all but the last are forgotten
            browser.run("$('red-eye').click()")
            browser.wait_for(lambda: httpx.get(f"{url}line", trust_env=False).json()["present"] == 2)
        slow.go.set()
        browser.until(READY)
        assert first.result().status_code == 200
    assert slow.most == 1


def test_everything_has_a_name_for_those_who_do_not_see_it(page: Browser, photos: Path) -> None:
    roles = {"button", "slider", "radio", "checkbox", "image", "radiogroup", "group", "heading", "ColorWell", "status", "form"}
    spoken = page.spoken(roles)
    assert [role for role, name in spoken if not name and role not in {"group", "status"}] == []
    assert ("heading", "From a flash photograph to a portrait") in spoken
    choose(page, photos / "eileen.jpg")
    page.until(READY)
    page.run("document.querySelector('[value=colour]').click()")
    page.until(READY)
    spoken = page.spoken(roles)
    assert [role for role, name in spoken if not name and role not in {"group", "status"}] == []
    for heard in [
        ("slider", "Before and after: how much of the photograph before is shown"),
        ("slider", "Strength"),
        ("radio", "Keep"),
        ("radio", "Colour"),
        ("checkbox", "Correct red eyes"),
        ("button", "Download the portrait"),
        ("image", "The portrait"),
    ]:
        assert heard in spoken
    assert page.run("return document.getElementById('message-text').getAttribute('aria-live')") == "polite"


def test_a_phone_of_360_pixels_by_touch(page: Browser, photos: Path) -> None:
    page.order("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=1)
    page.order("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    page.run("location.reload()")
    page.until("return document.readyState === 'complete'")
    assert page.run("return document.getElementById('phone-camera').getAttribute('capture')") == "user"
    page.run("window.asked = false; document.getElementById('phone-camera').addEventListener('click', event =>"
             " { window.asked = true; event.preventDefault(); }); document.getElementById('shoot').click()")  # fmt: skip
    assert page.run("return window.asked"), "the phone's own camera, which has the flash"
    choose(page, photos / "eileen.jpg", "phone-camera")
    page.until(READY)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    small = page.run(
        "return [...document.querySelectorAll('button, input, .tick, .choices')]"
        ".filter(e => e.offsetParent && !e.matches('.unseen, .tick *, .choices *') && e.offsetHeight < 44).map(e => e.id)"
    )
    assert small == []
    x, y, width, height = page.run(
        "const box = document.getElementById('frame').getBoundingClientRect(); return [box.x, box.y, box.width, box.height]"
    )
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.4), ("touchMove", 0.2)):
        page.order("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x + share * width, "y": y + height / 2}])
    page.order("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert abs(float(page.run("return document.getElementById('slider').value")) - 20) <= 3
    assert page.run("return document.documentElement.scrollTop") == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_a_tall_photograph_stands_in_the_middle(page: Browser, photos: Path, width: int) -> None:
    page.resize(width, 800)
    choose(page, photos / "tall.jpg")
    page.until(READY)
    stage, frame = (
        page.run(f"const box = document.getElementById('{name}').getBoundingClientRect(); return [box.left, box.right]")
        for name in ("stage", "frame")
    )
    assert stage[1] - stage[0] > 0.6 * width
    assert sum(frame) / 2 == pytest.approx(sum(stage) / 2, abs=1)


def test_words_can_be_read_by_day_and_by_night(page: Browser, photos: Path) -> None:
    """Contrast of WCAG 2: 4.5 or more."""
    choose(page, photos / "eileen.jpg")
    page.until(READY)
    for scheme in ("light", "dark"):
        page.prefer(prefers_color_scheme=scheme)
        grounds = page.run(
            "const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;"
            " if (!/, 0\\)/.test(c)) return c; } return 'rgb(255, 255, 255)'; };"
            "return ['message-text', 'again', 'strength-said', 'facts', 'download', 'title'].map(id =>"
            " [id, getComputedStyle($(id)).color, ground($(id))])"
        )
        for identity, ink, ground in grounds:
            assert contrast(ink, ground) >= 4.5, f"{identity} in {scheme}: {ink} on {ground}"


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    values = np.array([float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_program_that_has_ended_is_said(browser: Browser, enhancer: Enhancer, photos: Path) -> None:
    with served_page(enhancer) as url:
        browser.open(url)
    choose(browser, photos / "eileen.jpg")
    assert told(browser, "bad") == "The program does not answer; see whether deepflash serve still runs."
