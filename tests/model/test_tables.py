"""Tables: what is in them, that names cannot break them, and that old pictures go."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepflash.model.cost import Cost
from deepflash.model.measures import Evaluation, Measures, PairMeasures, Scored, ShownPair
from deepflash.model.tables import markdown, page, text, write_tables

NASTY = "run | <b>&"


def scored(name: str, kind: str, psnr: float, subjects: int) -> Scored:
    """Pairs S001-01, S002-01, ..., each a decibel better than the one before."""
    measures = [Measures(psnr + number, 0.5 + psnr / 100, 0.9, 3.0, 0.1, 95.0, 0.01) for number in range(subjects)]
    pairs = tuple(PairMeasures(f"S{n:03d}-01", f"S{n:03d}", one, one) for n, one in enumerate(measures, start=1))
    return Scored(name, kind, "about", Cost(29_443_331, 121_100_000_000, 12.34) if kind == "run" else None, pairs)


def evaluation(subjects: int = 3, *, second: str = NASTY, notes: tuple[str, ...] = ()) -> Evaluation:
    systems = (
        scored("flash picture", "baseline", 13, subjects),
        scored("mine", "run", 20, subjects),
        scored(second, "run", 24, subjects),
    )
    pictures = {
        name: np.full((32, 32, 3), 40 * number, np.uint8) for number, name in enumerate(["flash picture", "mine", second])
    }
    worst = (ShownPair("S001-01", {"flash picture": 13.0, "mine": 20.0, second: 24.0}, pictures),)
    return Evaluation("test", "0" * 64, 512, "cpu, 1 thread", notes, systems, worst)


def test_the_text_holds_means_intervals_costs_and_the_worst_pairs() -> None:
    shown = text(evaluation())
    assert "3 pairs of 3 subjects, 512 px" in shown
    assert re.search(r"^mine +21\.00 ±2\.48 ", shown, re.MULTILINE)  # 4.3027 * 1 / sqrt(3)
    assert re.search(r"^mine +29\.44 M +121\.10 +12\.3$", shown, re.MULTILINE)
    keys = [line.split()[0] for line in shown.splitlines() if re.match(r"S\d\d\d-01", line)]
    assert keys == ["S001-01", "S002-01", "S003-01"]
    assert "PSNR of the worst pairs" in shown


def test_the_terminal_is_spared_a_long_list_of_pairs() -> None:
    shown = text(evaluation(30))
    assert len(re.findall(r"^S\d\d\d-01", shown, re.MULTILINE)) == 8
    assert "bootstrap" in shown


def test_a_single_subject_has_means_without_intervals() -> None:
    one = evaluation(1)
    assert "±" not in text(one)
    assert "no interval: one subject says nothing of others" in markdown(one)
    assert "| mine | 20.00 |" in markdown(one)
    assert "<small>" not in page(one)


def test_markdown_has_one_row_for_each_system_and_the_best_is_bold() -> None:
    shown = markdown(evaluation(notes=("look here",)))
    assert "> **Note:** look here." in shown
    table = shown.partition("## Against the reconstructed")[2].partition("##")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({row.count("|") for row in rows}) == 1, "a name with a bar must not begin a new column"
    assert "**25.00** [22.52, 27.48]" in rows[4]
    assert "**" not in rows[3].split("|")[2]
    assert "+4.00 [+4.00, +4.00]" in shown.partition("## Difference from mine")[2]


def test_long_names_are_told_apart_in_the_plots() -> None:
    """Two runs of one name are called by their paths, which begin alike."""
    names = [f"/data/runs/of-last-year/fold-{number}/hdrnet-c" for number in (1, 2)]
    shown = page(evaluation(second=names[0])) + page(evaluation(second=names[1]))
    (one, other) = sorted(set(re.findall(r'class="name">([^<]*…[^<]*)<', shown)))
    assert one != other
    assert len(one) <= 20


def test_the_page_is_whole_and_safe_from_names() -> None:
    shown = page(evaluation(notes=("<script>alert(1)</script>",)))
    assert "<script>alert" not in shown
    assert NASTY not in shown
    assert "run | &lt;b&gt;&amp;" in shown
    assert "column stands out. In" in shown
    assert not re.search(r"\$[a-z]", shown), "a place in the template was not filled"
    assert not re.search(r'(src|href)="(?!data:)', shown), "the page must need nothing else"

    opened: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "img", "input"}:
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            """Of the drawings: they close themselves."""

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Tags().feed(shown)
    assert opened == []


def test_csv_gives_the_same_means_and_every_pair(tmp_path: Path) -> None:
    write_tables(evaluation(), tmp_path)
    with (tmp_path / "evaluation.csv").open(newline="") as file:
        means = {(row["system"], row["truth"], row["measure"]): row for row in csv.DictReader(file)}
    assert float(means[NASTY, "studio", "psnr"]["mean"]) == 25
    assert float(means["mine", "", "parameters"]["mean"]) == 29_443_331
    assert float(means["mine", "studio", "psnr"]["low"]) == pytest.approx(21 - 4.3027 / 3**0.5)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * 2
    assert {row["subject"] for row in rows} == {"S001", "S002", "S003"}


def test_the_worst_pictures_stand_side_by_side_and_older_ones_go(tmp_path: Path) -> None:
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst" / "01-old.png").write_bytes(b"")
    (tmp_path / "worst" / "mine.png").write_bytes(b"not ours")
    write_tables(evaluation(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "worst").iterdir()) == ["01-S001-01.png", "mine.png"]
    strip = cv2.imread(str(tmp_path / "worst" / "01-S001-01.png"))
    assert strip.shape == (256 + 40, 3 * 256, 3)
    assert [int(strip[-10, column, 0]) for column in (128, 384, 640)] == [0, 40, 80]
    assert strip[:40].min() < 100, "the labels are there"


def test_a_long_name_stays_within_its_picture(tmp_path: Path) -> None:
    write_tables(evaluation(second="a-very-long-name-of-a-run-" * 4), tmp_path)
    strip = cv2.imread(str(tmp_path / "worst" / "01-S001-01.png"))
    assert strip[:40, 512:516].min() == 255
    assert strip[:40, -4:].min() == 255
