"""A data set in numbers, and on a page that holds all it needs and lets nothing else in."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deepflash.cli import cli
from deepflash.dataset.show import share_out, show_dataset
from deepflash.dataset.summary import summarize
from deepflash.errors import DatasetError, ShardError
from deepflash.pictures import decode_rgb
from deepflash.shards import ShardWriter, encode_sample, open_shards
from tests.dataset.test_verify import picture
from tests.hardware.browser import MISSING, open_browser
from tests.model.tiny_dataset import SIZE, write_shards

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
SUBJECTS = {"train": range(1, 7), "val": range(7, 9), "test": range(9, 10)}
COMPLAINTS = """
window.faults = [];
addEventListener('error', event => faults.push(event.message));
addEventListener('securitypolicyviolation', event => faults.push(event.violatedDirective));
"""
UNLABELLED = """
return [...document.querySelectorAll('input, button')].filter(
  element => !(element.getAttribute('aria-label') || element.labels?.length || element.textContent.trim())).length
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(
        tmp_path_factory.mktemp("set") / "shards", {"train": range(1, 7), "val": range(7, 9), "test": range(9, 10)}
    )


def data_of(page: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[bytes]]]:
    """Read what a page holds with expressions of our own: what it is about, the pairs, and their pictures."""
    text = page.read_text()
    about = json.loads(re.findall(r'<script type="application/json" id="about">(.*?)</script>', text)[0])
    pairs = [json.loads(found) for found in re.findall(r'<script type="application/json" data-pair>(.*?)</script>', text)]
    pictures = re.findall(r'<script type="text/plain">(.*?)</script>', text)
    return about, pairs, [[base64.b64decode(part) for part in both.split()] for both in pictures]


def test_counts_are_those_of_the_data_set(shards: Path) -> None:
    summary = summarize(shards)
    assert {split: facts["pairs"] for split, facts in summary.splits.items()} == {"train": 6, "val": 2, "test": 1}
    assert {split: facts["samples"] for split, facts in summary.splits.items()} == {"train": 24, "val": 8, "test": 4}
    assert sum(facts["size_bytes"] for facts in summary.splits.values()) == sum(p.stat().st_size for p in shards.glob("*.tar"))
    assert summary.poses == {"train": {"frontal": 6}, "val": {"frontal": 2}, "test": {"frontal": 1}}
    assert len(summary.pairs) == 9
    by_hand = [pair.measures.flash_lightness for pair in summary.pairs if pair.entry.split == "train"]
    spread = summary.spread("flash_lightness", "train")
    assert spread is not None
    np.testing.assert_allclose(spread, np.percentile(by_hand, (5, 50, 95)))
    assert summary.spread("studio_ita_deg", "train") is None


def test_the_outcome_does_not_depend_on_the_number_of_workers(shards: Path) -> None:
    assert summarize(shards, workers=1).as_dict() == summarize(shards, workers=3).as_dict()


def test_stats_say_it_in_tables_and_in_json(shards: Path) -> None:
    tables = CliRunner().invoke(cli, ["dataset", "stats", str(shards)]).output
    assert re.search(r"^train\s+6\s+6\s+24\s+1\s", tables, re.MULTILINE)
    assert re.search(r"^frontal\s+6\s+2\s+1$", tables, re.MULTILINE)
    assert "motion, share of the face's width" in tables
    answer = json.loads(CliRunner().invoke(cli, ["dataset", "stats", str(shards), "--json"]).stdout)
    assert answer["splits"]["train"]["pairs"] == 6
    assert len(answer["pairs"]) == 9


def test_the_page_holds_the_pictures_and_the_worst_pairs_first(shards: Path, tmp_path: Path) -> None:
    shown = show_dataset(shards, tmp_path / "page.html")
    about, pairs, pictures = data_of(tmp_path / "page.html")
    assert (shown.shown, shown.pairs, shown.size_bytes) == (9, 9, (tmp_path / "page.html").stat().st_size)
    assert [pair["pair_id"] for pair in pairs] == [pair.pair_id for pair in summarize(shards).pairs]
    remarks = [len(pair["remarks"]) for pair in pairs]
    assert remarks == sorted(remarks, reverse=True)
    assert len(about["values"]["motion"]) == 9
    opened = open_shards(shards)
    samples = {entry.info["pair_id"]: opened.read(entry) for split in opened.splits for entry in opened.entries(split)[::4]}
    for pair, (flash, studio) in zip(pairs, pictures, strict=True):
        sample = samples[pair["pair_id"]]
        for stored, wanted in ((flash, sample.flash), (studio, sample.studio)):
            drawn = decode_rgb(stored, "a picture")
            assert drawn.shape == (SIZE, SIZE, 3)
            assert np.abs(drawn.astype(int) - wanted).mean() < 12


def test_the_page_runs_its_own_script_alone(shards: Path, tmp_path: Path) -> None:
    show_dataset(shards, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', text)[0]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for element in ("style", "script"):
        content = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"http://www.w3.org/2000/svg", "", text))
    assert " style=" not in text
    assert " onclick=" not in text


def test_a_limit_takes_the_worst_of_each_split(shards: Path, tmp_path: Path) -> None:
    summary = summarize(shards)
    chosen = share_out(summary, 4)
    assert {pair.entry.split for pair in chosen} == {"train", "val", "test"}
    assert len(chosen) == 4
    train = [pair for pair in summary.pairs if pair.entry.split == "train"]
    assert [pair for pair in chosen if pair.entry.split == "train"] == train[:2]
    shown = show_dataset(shards, tmp_path / "page.html", limit=4)
    about, pairs, _ = data_of(tmp_path / "page.html")
    assert (shown.shown, len(pairs), about["notShown"]) == (4, 4, 5)
    assert "9 pairs in = 4 shown + 5 not shown" in shown.sentence()
    assert len(about["values"]["motion"]) == 9


def test_words_of_a_file_never_become_markup(tmp_path: Path) -> None:
    folder = evil_shards(tmp_path / "shards")
    show_dataset(folder, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<img src=x" not in text
    assert text.count("</script>") == 2 + 2 * 2
    assert data_of(tmp_path / "page.html")[1][0]["pose"] == EVIL


def evil_shards(folder: Path) -> Path:
    with ShardWriter(folder) as writer:
        for number in range(2):
            info = {"subject": EVIL, "pair_id": f"P{number}", "pose": EVIL, "valid_fraction": 1.0}
            variant = {"angle_deg": 0, "frame": "wide", "mirrored": False}
            members = encode_sample(picture(number, 48), picture(9, 48), {**info, "variant": variant})
            writer.add("train", f"P{number}", members)
        writer.commit({"size": 48, "notes": [EVIL]})
    return folder


def test_what_cannot_be_shown_is_said(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="would stand in the data set itself"):
        show_dataset(shards, shards / "page.html")
    with pytest.raises(ShardError, match="holds no finished data set"):
        show_dataset(tmp_path, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_page_works_by_keyboard_in_a_real_browser(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    show_dataset(evil_shards(tmp_path / "shards"), page)
    with open_browser(tmp_path / "profile") as browser:
        browser.before_every_page(COMPLAINTS)
        browser.open(page.as_uri())

        def press(key: str) -> None:
            browser.run(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}, bubbles: true}}))")

        assert browser.run("return document.title") == "deepflash: shards"
        assert browser.run("return document.querySelectorAll('#sheet li').length") == 2
        assert browser.run("return document.querySelectorAll('#sheet img[onerror], img[src=x]').length") == 0
        assert browser.run("return document.querySelectorAll('.chart svg[role=img][aria-label]').length") >= 8
        press("j")
        assert browser.run("return document.getElementById('look').open") is True
        first = browser.text("look-title")
        press("j")
        assert {first, browser.text("look-title")} == {"P0", "P1"}
        press(" ")
        assert browser.run("return document.querySelector('#large input').value") == "0"
        press(" ")
        assert browser.run("return document.querySelector('#large input').value") == "100"
        browser.run("document.getElementById('look').close()")
        press("r")
        assert browser.run("return document.getElementById('remarked').getAttribute('aria-pressed')") == "true"
        assert browser.run(UNLABELLED) == 0
        assert browser.run("return faults") == []
