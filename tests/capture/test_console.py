"""The console page in a real headless Chromium: by the keyboard alone, at tablet size, and when things fail."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from deepflash.capture.daemon import Address, running_daemon
from deepflash.capture.desk import Desk, Studio
from deepflash.capture.poses import named_poses
from deepflash.hardware.rig import Rig
from deepflash.pairs import find_pairs
from tests.hardware.browser import MISSING, Browser, open_browser

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

ENTER, LEFT, ESCAPE = "\ue007", "\ue012", "\ue00c"

OpenStudio = Callable[..., tuple[Rig, Path]]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture
def console(browser: Browser, open_studio: OpenStudio, tmp_path: Path) -> Iterator[tuple[Browser, Desk, Address]]:
    rig, _ = open_studio()
    poses = named_poses(("frontal", "left", "smile"))
    studio = Studio(lambda subject: nullcontext(rig), True, tmp_path / "raw", poses)
    with Desk(studio) as desk, running_daemon(desk) as address:
        browser.resize(1280, 900)
        browser.open("about:blank")
        browser.open(address.url)
        browser.until("return view === 'choose' && document.getElementById('subject').value")
        yield browser, desk, address


def until_idle_after(browser: Browser, takes: int) -> None:
    browser.until(f"return !state.busy && state.session.takes.length === {takes}")


def test_a_session_by_the_keyboard_alone(console: tuple[Browser, Desk, Address], tmp_path: Path) -> None:
    browser, _, _ = console
    browser.run("window.lampsWereSeen = false; new MutationObserver(() => { if (document.getElementById('lamps').textContent"
                " === 'Lamps ON') window.lampsWereSeen = true; }).observe(document.getElementById('lamps'),"
                " {childList: true, characterData: true, subtree: true})")  # fmt: skip
    assert browser.run("return document.activeElement.id") == "subject"
    browser.press(ENTER)  # the id that is proposed
    browser.until("return view === 'sitting' && !state.busy")
    assert "Look straight into the camera" in browser.seen()
    assert browser.text("lamps") == "Lamps off"
    assert browser.text("heartbeat") == "Heartbeat"

    browser.press(" ")
    until_idle_after(browser, 1)
    browser.until("return document.getElementById('studio').naturalWidth && document.getElementById('flash').naturalWidth")
    assert browser.run("return window.lampsWereSeen"), "the page showed the lamps burning"
    assert "Take 001 of frontal: good, saved." in browser.seen()
    assert "Turn your head a little to your left" in browser.seen()

    before = browser.run("return document.getElementById('slider').value")
    browser.press(LEFT)
    assert browser.run("return document.getElementById('slide').getAttribute('aria-pressed')") == "true"
    assert int(browser.run("return document.getElementById('slider').value")) < int(before)
    browser.press("b")
    shown = "return getComputedStyle(document.getElementById('flash').parentElement).visibility"
    assert {browser.until(f"{shown} === '{state}' && '{state}'") for state in ("visible", "hidden")} == {"visible", "hidden"}

    browser.press("r")
    until_idle_after(browser, 2)
    browser.press("u")
    browser.until("return !state.busy && state.session.pairs[0].take === '001'")
    browser.press("s")  # at frontal again, which keeps its pair
    browser.until("return !state.busy && state.session.pose === 'left'")
    browser.press("s")
    browser.until("return !state.busy && state.session.pose === 'smile'")
    browser.press("p")
    browser.until("return !state.busy && state.session.paused")
    browser.press(" ")  # refused while paused
    browser.press("p")
    browser.until("return !state.busy && !state.session.paused")
    browser.press(" ")
    until_idle_after(browser, 3)

    browser.press("f")
    assert browser.run("return document.getElementById('ending').open"), "asks, because a pose is missing"
    browser.press(ESCAPE, "f", *"tired", ENTER)
    browser.until("return view === 'finished'")
    assert "S001 is done: 2 pairs saved" in browser.seen()
    assert "Missing: left. Reason: tired." in browser.seen()
    browser.press(ENTER)
    browser.until("return view === 'choose' && document.getElementById('subject').value === 'S002'")
    assert [pair.pose for pair in find_pairs(tmp_path / "raw")[0]] == ["frontal", "smile"]


def test_at_tablet_size_everything_fits_and_can_be_touched(console: tuple[Browser, Desk, Address]) -> None:
    browser, _, _ = console
    for size in ((820, 1180), (1180, 820)):
        browser.resize(*size)
        browser.press(ENTER)
        browser.until("return view === 'sitting' && !state.busy")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        small = browser.run(
            "return [...document.querySelectorAll('button, input')].filter(e => e.offsetParent && e.offsetHeight < 40)"
            ".map(e => e.id)"
        )
        assert small == []
        hidden = browser.run(
            "return ['shoot', 'retake', 'skip', 'undo', 'pause', 'finish', 'stage'].filter(id => {"
            "const box = document.getElementById(id).getBoundingClientRect();"
            "return box.bottom > innerHeight || box.right > innerWidth || box.width < 40; })"
        )
        assert hidden == [], "no scrolling to the controls"


def test_everything_has_a_name_for_those_who_do_not_see_it(console: tuple[Browser, Desk, Address]) -> None:
    browser, _, _ = console
    browser.press(ENTER)
    browser.until("return view === 'sitting' && !state.busy")
    browser.press(" ")
    until_idle_after(browser, 1)
    browser.until("return document.getElementById('flash').offsetHeight > 0")
    spoken = browser.spoken({"button", "slider", "textbox", "progressbar", "image", "dialog"})
    assert {"button", "progressbar", "image"} <= {role for role, _ in spoken}
    assert [role for role, name in spoken if not name] == []


def test_a_rejected_take_is_told_in_words_with_what_to_do(console: tuple[Browser, Desk, Address]) -> None:
    browser, desk, _ = console
    browser.press(ENTER)
    browser.until("return view === 'sitting' && !state.busy")
    browser.run("take({...state, revision: state.revision, session: {...state.session, takes: [{take: '001', pose: 'frontal',"
                " verdict: 'rejected', kept: false, pictures: false, apparatus: false, warnings: ['it is a little soft'],"
                " reasons: ['the <b>eyes</b> are shut; ask for open eyes, and take it again']}]}})")  # fmt: skip
    told = browser.text("verdict")
    assert "Take 001 of frontal: not kept." in told
    assert "The <b>eyes</b> are shut; ask for open eyes, and take it again." in told, "text, never markup"
    assert "It is a little soft." in told
    assert desk.state()["session"]["takes"] == []


def test_without_its_token_the_page_shows_nothing(console: tuple[Browser, Desk, Address]) -> None:
    browser, _, address = console
    assert address.token not in browser.run("return location.href"), "not to be read over a shoulder"
    browser.run("sessionStorage.clear()")
    browser.open(f"http://127.0.0.1:{address.port}/")
    browser.until("return view === 'locked'")
    browser.press(*address.token, ENTER)
    browser.until("return view === 'choose'")


def test_a_daemon_that_falls_silent_is_said(browser: Browser, tmp_path: Path) -> None:
    rig = Rig("no board", "no camera")
    studio = Studio(lambda subject: nullcontext(rig), True, tmp_path / "raw", named_poses(("frontal",)))
    with Desk(studio) as desk, running_daemon(desk) as address:
        browser.open("about:blank")
        browser.open(address.url)
        browser.until("return view === 'choose' && document.getElementById('subject').value")
        browser.press(ENTER)
        browser.until("return document.getElementById('message').dataset.kind === 'fault'")
        assert "plug the board in" in browser.text("message-text")
        browser.until("return !document.getElementById('connect').hidden")  # it can be tried again
    browser.until("return document.getElementById('link').textContent === 'Daemon silent'")
    assert "see whether it still runs" in browser.text("message-text")
