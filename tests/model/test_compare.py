"""Comparison: every set, whole and a random sample; who is measured; tables and figures that agree with the evaluation."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepflash.errors import ModelError
from deepflash.model.compare import SAMPLE, compare, drawn
from deepflash.model.comparison import text
from deepflash.model.evaluate import evaluate
from deepflash.model.recipe import load_recipe
from deepflash.pictures import read_rgb
from tests.model.tiny_dataset import write_shards


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> list[Path]:
    """Two runs: one, and another that does not quite know how."""
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    recipe = load_recipe(other / "recipe.toml", ["encoding=A"])
    (other / "recipe.toml").write_text(recipe.as_toml())
    return [finished, other]


def cells_of(page: str, title: str) -> list[list[str]]:
    """Return the rows of the Markdown table under a title, the head first."""
    table = page.partition(f"## {title}")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


def test_the_sample_follows_from_seed_and_keys_alone() -> None:
    keys = [f"S{number:03d}" for number in range(100)]
    sample = drawn(keys, seed=1)
    assert len(set(sample)) == SAMPLE == 30
    assert drawn(reversed(keys), seed=1) == sample
    assert drawn(keys, seed=2) != sample
    assert set(drawn([key for key in keys if key != sample[0]], seed=1)) >= set(sample[1:])


def test_every_pair_is_drawn_about_as_often_as_any_other() -> None:
    """300 of 1000 samples of 30 of 100 hold a certain pair; six standard deviations are 87."""
    keys = [f"S{number:03d}" for number in range(100)]
    often = dict.fromkeys(keys, 0)
    for seed in range(1000):
        for key in drawn(keys, seed):
            often[key] += 1
    assert all(213 < times < 387 for times in often.values())


def test_means_are_those_of_the_evaluation_of_each_set(runs: list[Path], shards: Path, tmp_path: Path) -> None:
    comparison = compare(runs, shards, tmp_path / "out", device="cpu")
    assert [one.whole.split for one in comparison.sets] == ["train", "val", "test"]
    for one in comparison.sets:
        alone = evaluate(runs, shards, split=one.whole.split, out=tmp_path / "alone", device="cpu")
        assert [system.pairs for system in one.whole.systems] == [system.pairs for system in alone.systems]
        assert (tmp_path / "out" / one.whole.split / "evaluation.html").exists()
    assert len(comparison.sets[0].whole.flash.pairs) == 4  # un-augmented: of each subject one of four variants


def test_the_tables_have_the_papers_form_and_the_measured_values(runs: list[Path], shards: Path, tmp_path: Path) -> None:
    comparison = compare(runs, shards, tmp_path, device="cpu")
    page = (tmp_path / "comparison.md").read_text()
    head, *rows = cells_of(page, "Table 1")
    assert head[1:4] == ["training loss ↓", "validation loss ↓", "test loss ↓"]
    assert [row[0] for row in rows] == ["flash picture", "colour matrix", "histogram matching", "finished", "other"]
    accuracy = comparison.sets[0].whole.runs[0].mean("reconstructed")["accuracy"].mean
    assert rows[3][4].strip("*").startswith(f"{accuracy:.2f}")
    head, *rows = cells_of(page, "finished and other")
    assert head[:5] == ["set", "finished SSIM", "other SSIM", "finished PSNR", "other PSNR"]
    assert [row[0] for row in rows][:2] == ["training, all 4 pairs", "validation, the only pair"]
    mine, others, gain = float(rows[-1][3]), float(rows[-1][4]), float(rows[-1][6])
    assert gain == pytest.approx(mine - others, abs=0.011)
    assert "finished" in text(comparison)
    assert (
        "t over the means of 4 subjects (training); no interval: one subject says nothing of others (validation, test)" in page
    )


def test_files_for_programs_agree_with_each_other(runs: list[Path], shards: Path, tmp_path: Path) -> None:
    comparison = compare(runs, shards, tmp_path, device="cpu")
    stored = json.loads((tmp_path / "comparison.json").read_text())
    assert stored == json.loads(json.dumps(comparison.as_dict()))
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row
        for row in rows
        if (row["set"], row["pairs"], row["system"], row["truth"], row["measure"])
        == ("test", "sample", "other", "studio", "psnr")
    ]
    (system,) = [system for system in stored["sets"][2]["systems"] if system["name"] == "other"]
    assert float(row["mean"]) == system["sample"]["studio"]["mean"]["psnr"]["mean"]


def test_of_a_large_set_thirty_pairs_are_the_sample(finished: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", {"test": range(10, 42)})
    comparison = compare([finished], shards, tmp_path / "out", seed=3, pictures=2, device="cpu")
    (test,) = comparison.sets
    keys = [pair.key for pair in test.whole.flash.pairs]
    assert len(keys) == 32
    assert {pair.key for pair in test.sample.flash.pairs} == set(drawn(keys, 3))
    assert test.sample.runs[0].mean("studio") != test.whole.runs[0].mean("studio")
    assert test.sample_in_words() == "30 of 32 pairs"
    assert [pair.key for pair in test.shown] == drawn(keys, 3)[:2]
    assert any("no un-augmented pairs in its split train" in note for note in comparison.notes)


def test_the_figure_shows_input_systems_and_truth(runs: list[Path], shards: Path, tmp_path: Path) -> None:
    comparison = compare(runs, shards, tmp_path, pictures=1, device="cpu")
    (pair,) = comparison.sets[2].shown
    labels = [
        "flash picture",
        "colour matrix",
        "histogram matching",
        "finished",
        "other",
        "reconstructed truth",
        "studio picture",
    ]
    assert list(pair.pictures) == labels
    figure = read_rgb(tmp_path / "figure-test.png")
    for picture in pair.pictures.values():
        tile = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_CUBIC)
        assert cv2.matchTemplate(figure, tile, cv2.TM_SQDIFF_NORMED).min() < 1e-3
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<figure>") == 3 * len(labels)
    assert not re.search(r"\$[a-z]", page), "a place in the template was not filled"


def test_figures_of_an_earlier_comparison_go(finished: Path, shards: Path, tmp_path: Path) -> None:
    compare([finished], shards, tmp_path, device="cpu")
    assert (tmp_path / "figure-val.png").exists()
    compare([finished], shards, tmp_path, pictures=0, device="cpu")
    assert not list(tmp_path.glob("figure-*.png"))


def test_sets_of_an_earlier_comparison_go_and_what_others_wrote_stays(finished: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare([finished], shards, out, device="cpu")
    (out / "train" / "thoughts.txt").write_text("mine")
    compare([finished], write_shards(tmp_path / "shards", {"test": range(5, 6)}), out, device="cpu")
    assert not (out / "val").exists()
    assert [path.name for path in (out / "train").iterdir()] == ["thoughts.txt"]
    assert (out / "test" / "worst").exists()


def test_a_run_that_cannot_be_used_is_said_before_anything_is_measured(finished: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    calls: list[int] = []
    with pytest.raises(ModelError, match=r"empty holds no run"):
        compare([finished, tmp_path / "empty"], shards, tmp_path / "out", report=lambda done, *_: calls.append(done))
    assert calls == []
    assert not (tmp_path / "out").exists()


def test_style_transfer_joins_when_asked(finished: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answer as example it surpasses everybody on these pairs, and is not called the best: it has seen the answer."""
    monkeypatch.setattr("deepflash.model.style_systems._restyled", lambda flash, example: torch_picture(example))
    monkeypatch.setattr("deepflash.model.style_systems._looks", lambda flash: np.array([float(flash.mean())]))
    comparison = compare([finished], shards, tmp_path, style_transfer=True, device="cpu")
    for one in comparison.sets:
        systems = {system.name: system for system in one.whole.systems}
        assert systems["style of the answer"].kind == "bound"
        assert systems["style of the answer"].mean("studio")["psnr"].mean == pytest.approx(100)
        assert systems["style of another"].mean("studio")["psnr"].mean < 60
    assert (
        "the best of a\ncolumn stands out, but for what has seen the answer."
        in (tmp_path / "test" / "evaluation.html").read_text()
    )
    rows = {row[0]: row[1:] for row in cells_of((tmp_path / "comparison.md").read_text(), "The same against the studio")}
    assert not any("**" in cell for cell in rows["style of the answer"])


def test_style_of_another_wants_others(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.model.style_systems._restyled", lambda flash, example: flash)
    shards = write_shards(tmp_path / "shards", {"train": range(1), "test": range(1, 2)})
    comparison = compare([finished], shards, tmp_path / "out", style_transfer=True, device="cpu")
    assert "style of another" not in [system.name for system in comparison.last.systems]
    assert any("at least two people and is left out" in note for note in comparison.all_notes)


def test_progress_counts_every_pass(finished: Path, shards: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    compare([finished], shards, tmp_path, device="cpu", report=lambda done, total, note: calls.append((done, total)))
    assert calls == [(number, 10) for number in range(1, 11)]  # four to fit to, six to measure


def torch_picture(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
