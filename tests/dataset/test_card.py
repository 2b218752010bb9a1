"""A data set's card says what is in it, loads with other people's libraries, and holds nothing of this machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepflash.dataset.card import card
from deepflash.shards import ShardWriter, encode_sample, open_shards

SIZE = 16
STATISTICS = {light: {"mean": [0.1, 0.2, 0.3], "std": [0.04, 0.05, 0.06]} for light in ("flash", "studio")}


def write(folder: Path, pictures: str = "png") -> Path:
    with ShardWriter(folder, target_bytes=9000) as writer:
        for split, subjects in (("train", range(4)), ("val", range(4, 6))):
            for number in subjects:
                flash = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                info = {"subject": f"S{number}", "pair_id": f"S{number}-a", "pose": "frontal", "valid_fraction": 1.0}
                writer.add(split, f"S{number}-a", encode_sample(flash, 255 - flash, info, pictures=pictures))
        writer.commit(
            {
                "size": SIZE,
                "split": {"train": ["S0", "S1", "S2", "S3"], "val": ["S4", "S5"], "test": []},
                "notes": ["test has no subject"],
                "parameters": {"seed": 7, "variants": [{}] * 20},
                "statistics": STATISTICS,
                "set_aside": [{"item": "x", "reason": "y"}],
                "versions": {"deepflash": "1.2"},
            },
            card=card,
        )
    return folder


@pytest.fixture(scope="module", params=["png", "webp", "jpeg"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("card") / "shards", request.param)


def test_the_front_matter_is_what_hugging_face_reads(shards: Path) -> None:
    _, front, _ = (shards / "README.md").read_text().split("---\n", 2)
    content = yaml.safe_load(front)
    assert content["license"] == "unknown"
    assert content["task_categories"] == ["image-to-image"]
    assert content["size_categories"] == ["n<1K"]
    assert content["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": "train", "path": "train-*.tar"}, {"split": "validation", "path": "val-*.tar"}],
        }
    ]


def test_counts_subjects_parameters_statistics_and_the_licence_are_told(shards: Path) -> None:
    text = (shards / "README.md").read_text()
    count = len(list(shards.glob("train-*.tar")))
    assert f"| train | 4 | 4 | 4 | {count} |" in text
    assert "| val | 2 | `S4`, `S5` |" in text
    assert "1 of the pairs offered were left out" in text
    assert "- test has no subject" in text
    assert "| `variants` | 20 of them, see `dataset.json` |" in text
    assert "| flash | 0.1000 | 0.2000 | 0.3000 | 0.0400 | 0.0500 | 0.0600 |" in text
    assert "Nobody has stated a licence" in text
    assert "With deepflash 1.2." in text


def test_the_card_is_a_function_of_the_manifest_and_holds_no_place(shards: Path, tmp_path: Path) -> None:
    manifest = open_shards(shards).manifest
    text = (shards / "README.md").read_text()
    assert card({name: value for name, value in manifest.items() if name != "card"}) == card(manifest) == text
    assert str(shards.parent) not in text
    assert write(tmp_path / "again", manifest["pictures"]).joinpath("README.md").read_text() == text


def test_a_bare_manifest_has_a_card(tmp_path: Path) -> None:
    sample = encode_sample(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), {})
    with ShardWriter(tmp_path) as writer:
        writer.add("test", "k", sample)
        text = card(writer.commit({"size": 4}))
    assert "split: test" in text
    assert "## Statistics" not in text


PROGRAMS = {
    "webdataset": """
import glob, sys, json, webdataset
paths = sorted(glob.glob(sys.argv[1] + "/train-*.tar"))
for sample in webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode("rgb8"):
    names = sorted(name for name in sample if name.startswith(("flash.", "studio.")))
    print(json.dumps([sample["__key__"], *(int(sample[name].sum()) for name in names), sample["json"]["subject"]]))
""",
    "datasets": """
import glob, sys, json, numpy, datasets
datasets.disable_progress_bars()
options = {"cache_dir": sys.argv[2]}
folder = datasets.load_dataset(sys.argv[1], split="train", **options)
assert set(datasets.load_dataset(sys.argv[1], **options)) == {"train", "validation"}
files = datasets.load_dataset("webdataset", data_files={"train": sys.argv[1] + "/train-*.tar"}, split="train", **options)
for sample, same in zip(folder, files, strict=True):
    names = sorted(name for name in sample if name.startswith(("flash.", "studio.")))
    assert all(numpy.array_equal(sample[name], same[name]) for name in names)
    sums = [int(numpy.asarray(sample[name]).sum()) for name in names]
    print(json.dumps([sample["__key__"], *sums, sample["json"]["subject"]]))
""",
}


@pytest.mark.parametrize("library", PROGRAMS)
def test_other_libraries_read_the_same_pictures(shards: Path, library: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    command = [sys.executable, "-c", PROGRAMS[library], str(shards), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    dataset = open_shards(shards)
    samples = [dataset.read(entry) for entry in dataset.entries("train")]
    ours = [[s.key, int(s.flash.sum()), int(s.studio.sum()), s.info["subject"]] for s in samples]
    assert [json.loads(line) for line in ended.stdout.splitlines()] == ours
