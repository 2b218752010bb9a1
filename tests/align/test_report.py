"""The report page: everything accounted for, nothing fetched, and its views true in a real headless Chromium."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepflash.align.batch import align_pair
from deepflash.align.report import worst_first, write_page, write_report
from deepflash.align.words import numbers_in_words
from deepflash.errors import ExitCode, PairError
from deepflash.pairs import VERDICTS, Alignment, Face, Pair, save_alignment
from deepflash.pictures import decode_rgb, read_rgb
from tests.hardware.browser import MISSING, Browser, open_browser

from .sitters import write_pair

DOWN, ESCAPE, END, HOME = "\ue015", "\ue00c", "\ue010", "\ue011"
NASTY = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Alignment:
    """Return the registration of one pair that moved."""
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder, "moved", "hopper", seed=2, width=520)
    return align_pair(Pair("moved", "S001", folder / "moved_flash.jpg", folder / "moved_studio.jpg", pose="frontal"))


@pytest.fixture(scope="module")
def aligned(real: Alignment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six registrations of that pair - good, to check, bad, without a photograph - and a damaged file."""
    folder = tmp_path_factory.mktemp("aligned")
    for number, confidence in ((1, 0.999), (2, 0.97), (3, 0.995)):
        quality = {**real.quality, "confidence": confidence}
        save_alignment(folder, replace(real, pair_id=f"good-{number}", verdict="good", reasons=(), quality=quality))
    save_alignment(
        folder, replace(real, pair_id="look", verdict="check", reasons=("the head turned by 9 degrees",), pose="left")
    )
    save_alignment(folder, replace(real, pair_id="spoilt", verdict="bad", reasons=(NASTY, "no face was found")))
    missing = real.studio.with_name("gone_studio.jpg")
    save_alignment(folder, replace(real, pair_id="without", verdict="bad", reasons=("dark",), studio=missing, subject="S002"))
    (folder / "torn.json").write_text('{"format": 1, "pair_id": "torn"')
    return folder


@pytest.fixture(scope="module")
def page(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("report") / "new folder" / "report.html"
    write_report(aligned, page, picture_width_px=240)
    return page


class _Page(HTMLParser):
    """What a browser would read in the page: attributes by element, and the content of its data elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.seen[-1] if self.seen else ("", {})
        if tag == "script" and "type" in attributes and data.strip():
            self.data.append((attributes, data))

    def pairs(self) -> list[dict[str, Any]]:
        return [json.loads(text) for attributes, text in self.data if "data-pair" in attributes]


def test_everything_is_accounted_for_and_the_worst_stands_first(aligned: Path, tmp_path: Path) -> None:
    written = write_report(aligned, tmp_path / "report.html", picture_width_px=120)

    assert written.sentence().startswith("7 pairs in = 5 shown + 0 not shown + 2 set aside; ")
    assert written.account.exit_code == ExitCode.SET_ASIDE
    assert written.size_bytes == (tmp_path / "report.html").stat().st_size
    reasons = {entry.item: entry.reason for entry in written.account.set_aside}
    assert reasons.keys() == {"torn", "without"}
    assert "torn.json is damaged" in reasons["torn"]
    assert "gone_studio.jpg does not exist" in reasons["without"]
    assert written.as_dict()["in"] == 7
    pairs = _Page((tmp_path / "report.html").read_text()).pairs()
    assert [pair["id"] for pair in pairs] == ["spoilt", "without", "look", "good-2", "good-3", "good-1"]
    assert [bool(pair["missing"]) for pair in pairs] == [False, True, False, False, False, False]


def test_a_limit_leaves_out_the_best_and_says_so(aligned: Path, tmp_path: Path) -> None:
    written = write_report(aligned, tmp_path / "report.html", limit=3, picture_width_px=120)

    assert written.sentence().startswith("7 pairs in = 2 shown + 3 not shown + 2 set aside; ")
    page = _Page((tmp_path / "report.html").read_text())
    assert [pair["id"] for pair in page.pairs()] == ["spoilt", "without", "look"]
    about = json.loads(next(text for attributes, text in page.data if attributes.get("id") == "about"))
    assert about["notShown"].startswith("3 pairs are not on this page (3 good)")
    assert about["verdicts"] == {"good": 3, "check": 1, "bad": 2}


def test_two_workers_write_the_same_page_as_one(aligned: Path, page: Path, tmp_path: Path) -> None:
    write_report(aligned, tmp_path / "report.html", picture_width_px=240, workers=2)

    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()


def test_an_altered_photograph_is_said_and_not_shown(real: Alignment, tmp_path: Path) -> None:
    for name in ("flash", "studio"):
        other = tmp_path / f"{name}.jpg"
        content = getattr(real, name).read_bytes()
        other.write_bytes(content if name == "flash" else content + b"\0")
    alignment = replace(real, flash=tmp_path / "flash.jpg", studio=tmp_path / "studio.jpg")

    written = write_page([alignment], tmp_path / "report.html", title="one")

    assert "studio.jpg is not the photograph that was registered" in written.account.set_aside[0].reason
    assert "studio.jpg is not the photograph" in _Page((tmp_path / "report.html").read_text()).pairs()[0]["missing"]


def test_nothing_is_fetched_and_nothing_in_a_record_becomes_markup(page: Path) -> None:
    text = page.read_text()
    parsed = _Page(text)

    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)
    assert {tag for tag, _ in parsed.seen} & {"link", "img", "iframe", "object", "form"} == {"link", "form"}
    assert [attributes["href"] for tag, attributes in parsed.seen if tag == "link"] == ["data:,"]
    assert [attributes["method"] for tag, attributes in parsed.seen if tag == "form"] == ["dialog"]
    assert NASTY in parsed.pairs()[0]["reasons"]
    assert NASTY not in text
    policy = next(attributes["content"] for tag, attributes in parsed.seen if attributes.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_a_page_that_fails_leaves_the_old_one(aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "report.html"
    page.write_text("the old one")

    def fail(done: int, total: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(aligned, page, picture_width_px=120, report=fail)

    assert page.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [page]


def test_a_folder_without_alignments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairError, match="holds no alignments"):
        write_report(tmp_path, tmp_path / "report.html")


def test_arrows_lead_from_landmark_to_mapped_landmark(real: Alignment, tmp_path: Path) -> None:
    """M before and M' after registration: drawn where they are in their photographs, to the scale of the picture."""
    assert real.flash_face
    mapped = [(190.0, 236.0), (310.0, 246.0)]
    box = real.flash_face.box
    alignment = replace(
        real,
        flash_face=Face(box, {"left_eye": [(200.0, 240.0), (300.0, 250.0)]}),
        studio_face=Face(box, {"left_eye": mapped, "nose_tip": [(1.0, 1.0)]}),
        registered_face=Face(box, {"left_eye": [(200.0, 240.0), (320.0, 250.0)]}),
    )

    write_page([alignment], tmp_path / "report.html", title="one", picture_width_px=240)

    shapes = _Page((tmp_path / "report.html").read_text()).pairs()[0]["shapes"]
    (still, moved), scale = np.array(shapes["after"]["arrows"]), 240 / _view_width(shapes, box)
    assert np.linalg.norm(still[2:] - still[:2]) < 0.02
    assert np.linalg.norm(moved[2:] - moved[:2]) == pytest.approx(20 * scale, rel=0.01)
    before = np.array(shapes["before"]["arrows"][0])
    assert np.linalg.norm(before[2:] - before[:2]) == pytest.approx(np.hypot(10, 4) * scale, rel=0.01)

    lone = {name: value for name, value in real.quality.items() if name != "landmark_residual"}  # only one was detected

    write_page([replace(alignment, quality=lone)], tmp_path / "report.html", title="one", picture_width_px=240)

    assert _Page((tmp_path / "report.html").read_text()).pairs()[0]["shapes"]["after"]["arrows"] == []


def _view_width(shapes: dict[str, Any], box: tuple[float, float, float, float]) -> float:
    """Return how many pixels of the photograph the picture is wide, by the face's box in both."""
    (left, _), (right, _) = shapes["flashBox"][:2]
    return 240 * (box[2] - box[0]) / (right - left)


def test_numbers_are_said_in_words_with_units(real: Alignment) -> None:
    face = Face((1000.0, 1000.0, 2000.0, 2000.0))
    quality = {"shift": 0.02, "tile_residual": 0.004, "confidence": 0.9931, "rotation_deg": 1.25, "new_number": 0.123456}
    said = dict(numbers_in_words(replace(real, quality=quality, flash_face=face, size=(3120, 4160))))

    assert said["the face moved by"] == "2.0% of the picture's width, 62.4 px"
    assert said["small parts of the face are off by"] == "0.40% of the face's width, 4.0 px"
    assert said["it turned by"] == "1.2 degrees"
    assert said["new number"] == "0.1235"
    assert next(iter(said.values())) == "99.3%"


def test_numbers_that_are_none_do_not_spoil_order_or_page(real: Alignment, tmp_path: Path) -> None:
    broken = replace(real, pair_id="broken", verdict="good", quality={"confidence": float("nan"), "shift": float("inf")})
    fine = replace(real, pair_id="fine", verdict="good", quality={"confidence": 0.9})

    assert [entry.pair_id for entry in worst_first([fine, broken])] == ["broken", "fine"]
    assert write_page([fine, broken], tmp_path / "report.html", title="two", picture_width_px=120).account.done == 2


@pytest.mark.parametrize(
    "face",
    [
        Face((5.0, 5.0, 5.0 + 1e-9, 5.0 + 1e-9), {"left_eye": [(float("nan"), 1.0)]}),
        Face((-1e300, -1e300, 1e300, 1e300), {"left_eye": [(1e300, 1.0)]}),
        Face((1e7, 1e7, 2e7, 2e7), {"left_eye": []}),
    ],
    ids=["a point", "the whole plane", "far outside"],
)
def test_a_face_that_cannot_be_is_drawn_as_far_as_it_can(face: Face, real: Alignment, tmp_path: Path) -> None:
    odd = replace(real, flash_face=face, studio_face=face, registered_face=face)

    assert write_page([odd], tmp_path / "report.html", title="odd", picture_width_px=120).account.done == 1

    assert _Page((tmp_path / "report.html").read_text()).pairs()[0]["shapes"]["width"] == 120


def deepflash(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deepflash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_accounts_for_everything_and_exits_with_3_if_some_was_set_aside(aligned: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"

    result = deepflash("align", "report", aligned, "-o", page, "--limit", 2, "--width", 120, "--workers", 1, "--json")

    assert result.returncode == ExitCode.SET_ASIDE, result.stderr
    account = json.loads(result.stdout)
    assert (account["in"], account["shown"], account["not_shown"]) == (7, 1, 4)
    assert {entry["item"] for entry in account["set_aside"]} == {"torn", "without"}
    assert account["size_bytes"] == page.stat().st_size
    assert "set aside without: " in result.stderr


def test_a_single_pair_is_told_in_words_and_shown(real: Alignment, tmp_path: Path) -> None:
    page, strip = tmp_path / "pair.html", tmp_path / "pair.png"

    result = deepflash("align", "pair", real.flash, real.studio, "--method", "mattes", "-o", strip, "--report", page)

    assert result.returncode == 0, result.stderr
    told = result.stdout.splitlines()
    assert told[0].partition(":")[0] in VERDICTS
    assert any(line.startswith("  the face moved by ") and line.endswith(" px") for line in told)
    assert any(line.startswith("map from flash to studio pixels (mattes") for line in told)
    assert read_rgb(strip).shape[0] == 450
    assert [pair["id"] for pair in _Page(page.read_text()).pairs()] == ["moved_flash"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.resize(1280, 900)
    browser.prefer(prefers_reduced_motion="no-preference")
    browser.open("about:blank")
    browser.open(page.as_uri())
    browser.until("return Boolean(current && current.decoded)")
    return browser


chromium = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


def pane(browser: Browser, when: str) -> tuple[str, np.ndarray]:
    """Return the label of the picture before or after registration, and the picture, (H, W, 3), of the same moment."""
    label, address = browser.run(
        f"const pane = document.getElementById('{when}');"
        "return [pane.querySelector('output').textContent, pane.querySelector('canvas').toDataURL('image/png')]"
    )
    return label, decode_rgb(base64.b64decode(address.partition(",")[2]), when).astype(float)


def canvas(browser: Browser, when: str) -> np.ndarray:
    return pane(browser, when)[1]


def stored(page: Path, pair_id: str) -> list[np.ndarray]:
    """Return flash, studio and registered studio as the page holds them."""
    parsed = _Page(page.read_text())
    at = next(n for n, (_, text) in enumerate(parsed.data) if f'"id": "{pair_id}"' in text)
    return [decode_rgb(base64.b64decode(text), pair_id).astype(float) for text in parsed.data[at + 1][1].split(" ")]


@chromium
def test_the_pairs_are_looked_through_by_the_keyboard_alone(opened: Browser) -> None:
    assert opened.text("id") == "spoilt", "the worst first"
    opened.press("j", DOWN)
    assert opened.text("id") == "look"
    assert "3 of 6" in opened.text("who")
    assert "The head turned by 9 degrees." in opened.text("verdict")
    opened.press("k")
    assert opened.text("id") == "without"
    assert "gone_studio.jpg does not exist" in opened.text("nothing")
    assert opened.run("return document.getElementById('stage').hidden")
    opened.press(END)
    assert opened.text("id") == "good-1"
    opened.press("j")
    assert opened.text("id") == "good-1", "nothing comes after the last"

    opened.press("f", "f")
    assert opened.run("return shown.map(pair => pair.id)") == ["look"], "all, bad, check"
    assert opened.text("id") == "look"
    opened.press("f")
    assert opened.run("return shown.map(pair => pair.id)") == ["good-2", "good-3", "good-1"]
    opened.press("f", "/", *"s002", ESCAPE)
    assert opened.run("return shown.map(pair => pair.id)") == ["without"]
    opened.press("/", *"nobody", ESCAPE, "j")
    assert "No pair fits" in opened.text("count")

    opened.press("?")
    assert opened.run("return document.getElementById('help').open")
    opened.press(ESCAPE)
    assert not opened.run("return document.getElementById('help').open")
    assert opened.run("return document.activeElement.matches(':focus-visible') || document.activeElement === document.body")


@chromium
def test_records_are_text_and_the_damaged_one_is_named(opened: Browser) -> None:
    assert NASTY in opened.text("verdict")
    assert opened.run("return window.pwned === undefined && document.images.length === 0")
    assert "torn.json is damaged" in opened.text("damaged")


@chromium
def test_flicker_shows_flash_and_studio_in_turn(opened: Browser, page: Path) -> None:
    flash, studio, registered = stored(page, "spoilt")
    unseen = {
        ("before", "flash"): flash,
        ("before", "studio"): studio,
        ("after", "flash"): flash,
        ("after", "studio"): registered,
    }
    for when in ("before", "after") * 500:  # more than enough: flash and studio change places every 0.6 s
        label, shown = pane(opened, when)
        expected = unseen.pop((when, label), None)
        assert expected is None or np.abs(shown - expected).mean() < 2, f"{when}: {label}"
        if not unseen:
            break
    assert not unseen
    opened.press(" ")
    assert opened.run("return timer") == 0, "the space bar holds it still"
    opened.press(" ")
    assert opened.run("return timer") > 0


@chromium
def test_registration_darkens_the_difference_and_takes_the_colour_out_of_the_edges(opened: Browser) -> None:
    face = (slice(75, 225), slice(60, 180))
    opened.press("3")
    assert canvas(opened, "after")[face].mean() < 0.8 * canvas(opened, "before")[face].mean()
    opened.press("4")
    colour = {when: np.abs(np.diff(canvas(opened, when)[face][:, :, :2])).mean() for when in ("before", "after")}
    assert colour["after"] < 0.8 * colour["before"]


@chromium
def test_the_checkerboard_has_squares_of_both_photographs(opened: Browser, page: Path) -> None:
    flash, _, registered = stored(page, "spoilt")
    opened.press("2")

    shown = canvas(opened, "after")

    for row, column in ((0, 0), (0, 1), (5, 4), (6, 6)):
        square = (slice(30 * row + 3, 30 * row + 27), slice(30 * column + 3, 30 * column + 27))
        expected = flash if (row + column) % 2 == 0 else registered
        assert np.abs(shown[square] - expected[square]).mean() < 2


@chromium
def test_landmarks_and_boxes_are_drawn_on_demand(opened: Browser) -> None:
    count = "return document.querySelectorAll('#after svg {}').length"
    assert opened.run(count.format("*")) == 0
    opened.press("l", "b")
    arrows = opened.run("return current.shapes.after.arrows.length")
    assert opened.run(count.format("line")) == arrows > 0
    assert opened.run(count.format("polygon")) == 2
    assert "residual" in opened.text("legend")
    opened.press("p")
    assert opened.run("return document.getElementById('before').hidden")


@chromium
def test_where_motion_is_reduced_nothing_moves_by_itself(opened: Browser, page: Path) -> None:
    opened.prefer(prefers_reduced_motion="reduce")
    opened.open("about:blank")
    opened.open(page.as_uri())
    opened.until("return Boolean(current && current.decoded)")
    assert opened.run("return timer") == 0
    first = canvas(opened, "after")
    opened.press(" ")
    assert np.abs(canvas(opened, "after") - first).mean() > 5, "the space bar shows the other photograph"
    assert opened.run("return timer") == 0


@chromium
def test_only_the_pairs_looked_at_are_decoded(opened: Browser) -> None:
    for pair in ("good-1", "good-3", "good-2", "look", "spoilt"):
        opened.run(f"return choose(pairs.find(pair => pair.id === '{pair}'))")
    assert opened.run("return cache.size") <= 4
    assert opened.run("return pairs.filter(pair => pair.decoded).length") <= 4


@chromium
@pytest.mark.parametrize("size", [(1280, 900), (820, 1180), (1180, 820), (412, 915)], ids=lambda size: "x".join(map(str, size)))
def test_at_every_size_nothing_sticks_out_and_all_can_be_touched(opened: Browser, size: tuple[int, int]) -> None:
    opened.resize(*size)
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")
    small = opened.run(
        "return [...document.querySelectorAll('button, input')].filter(e => e.offsetParent && e.offsetHeight < 40)"
        ".map(e => e.id)"
    )
    assert small == []
    outside = opened.run(
        "return [...document.querySelectorAll('#look *, header *')].filter(e => e.getClientRects().length && !e.closest('svg')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


@chromium
def test_everything_has_a_name_for_those_who_do_not_see_it(opened: Browser) -> None:
    spoken = opened.spoken({"button", "searchbox", "image", "navigation", "main"})
    assert {"button", "searchbox", "image", "navigation", "main"} == {role for role, _ in spoken}
    assert [role for role, name in spoken if not name] == []
    opened.press("j", "j")
    assert "Pair 3 of 6, look: check. The head turned by 9 degrees." in opened.text("told")
