"""Nobody who is forgotten is left in what `evaluate`, `compare` and `demo` made, nor in a tree within a given folder."""

import json
import shutil
from pathlib import Path

import pytest

from deepflash.dataset.forget import erase, find_traces
from deepflash.files import write_json
from deepflash.model.compare import compare
from deepflash.model.evaluate import evaluate
from deepflash.model.recipe import Recipe
from deepflash.shards import open_shards
from tests.model.tiny_dataset import write_shards
from tests.model.tiny_run import write_run

SUBJECTS = {"train": range(2), "val": range(4, 5), "test": range(5, 6)}
SHOWN = "S005"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a run, and all that is written about them. Only to be read."""
    place = tmp_path_factory.mktemp("made")
    shards = write_shards(place / "shards", SUBJECTS)
    run = write_run(place / "runs" / "run", Recipe(network="light", width=0.25, size=32))
    evaluate([run], shards, device="cpu")
    evaluate([run], shards, split="val", out=place / "elsewhere", device="cpu")
    compare([run], shards, place / "comparison", device="cpu")
    return place


@pytest.fixture
def workshop(made: Path, tmp_path: Path) -> Path:
    """The same to write into."""
    return Path(shutil.copytree(made, tmp_path / "workshop"))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def words(folder: Path) -> str:
    return " ".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_tables_and_pictures_go_and_those_without_the_person_stay(workshop: Path) -> None:
    results = [workshop / "runs" / "run", workshop / "elsewhere", workshop / "comparison"]
    weights = {"run.json", "recipe.toml", "weights.safetensors"}
    others = files(workshop / "elsewhere") | {f"comparison/{split}/{name}" for split in ("train", "val") for name in
        files(workshop / "comparison" / split)}  # fmt: skip
    assert f"worst/01-{SHOWN}-00a.png" in files(workshop / "runs/run/evaluation-test")
    assert "figure-test.png" in files(workshop / "comparison")
    erase(find_traces(SHOWN, results))
    assert files(workshop / "runs" / "run") == weights
    left = files(workshop / "elsewhere") | {f"comparison/{name}" for name in files(workshop / "comparison")}
    assert left == others
    assert SHOWN not in words(workshop / "elsewhere") + words(workshop / "comparison")


def test_whatever_is_in_a_folder_that_is_given_is_reached(workshop: Path) -> None:
    """A folder such as the demo's: the data set in it must not stay because there are runs beside it."""
    for name in ("report.html", "contact-sheet.png", f"portraits/{SHOWN}-a-01.jpg"):
        (workshop / name).parent.mkdir(exist_ok=True)
        (workshop / name).write_text(f"of {SHOWN}")
    traces = find_traces(SHOWN, [workshop])
    assert {trace.kind for trace in traces.trees if trace} == {"shards", "results"}
    erase(traces)
    assert SHOWN not in words(workshop)
    assert not any(SHOWN in name for name in files(workshop))
    assert {name for name in files(workshop) if "/" not in name} == set()
    assert open_shards(workshop / "shards").splits == ("train", "val")
    assert find_traces(SHOWN, [workshop]).notes == ()


def test_what_a_killed_evaluation_and_comparison_left_goes_too(workshop: Path) -> None:
    run, comparison = workshop / "runs" / "run", workshop / "comparison"
    for tables in (run / "evaluation-test", comparison):
        for path in tables.glob("*.*"):
            if path.suffix != ".png":
                path.unlink()
    erase(find_traces(SHOWN, [run, comparison]))
    assert not list(run.rglob("*.png"))
    assert not list(comparison.glob("*.png"))


def test_files_that_nothing_of_ours_made_are_named_and_stay(workshop: Path) -> None:
    for name in (f"runs/run/{SHOWN}_flash.compare.jpg", "comparison/report.html"):
        (workshop / name).write_text(SHOWN)
    traces = find_traces(SHOWN, [workshop])
    notes = " ".join(traces.notes)
    assert "compare.jpg names S005" in notes
    assert "report.html names S005" in notes
    erase(traces)
    assert (workshop / "comparison" / "report.html").exists()


def test_a_run_of_a_data_set_that_is_not_given_says_what_is_known_of_it(workshop: Path) -> None:
    """`run.json` names subjects by ids, which another data set may have given to somebody else."""
    run = workshop / "runs" / "run"
    (run / "samples").mkdir()
    (run / "samples" / "step-000010.png").write_bytes(b"faces")
    traces = find_traces("S001", [run])
    assert [(one.run, one.elsewhere) for one in traces.runs] == [(run, True)]
    assert "if that is the same person, train it anew" in traces.runs[0].sentence()
    assert traces.notes == (f"{run}: samples/ shows people of a data set that was not given; give it, too, if S001 was in it",)
    identity = open_shards(workshop / "shards").manifest["index"]["sha256"]
    write_json(run / "run.json", {**json.loads((run / "run.json").read_text()), "dataset": identity})
    known = find_traces("S001", [workshop])
    assert [(one.splits, one.elsewhere) for one in known.runs] == [(("train",), False)]
    assert known.notes == ()
