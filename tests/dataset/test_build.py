"""A data set is whole or it is none, the same bytes however it was made, and nobody is in two splits."""

import dataclasses
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from deepflash.cli import cli
from deepflash.dataset import build, resampling
from deepflash.dataset.build import PIECES, build_dataset
from deepflash.dataset.gate import Gate
from deepflash.dataset.joining import plan_shards
from deepflash.dataset.parameters import Parameters
from deepflash.dataset.pieces import Piece, render_piece
from deepflash.dataset.statistics import PixelSums
from deepflash.dataset.variant_set import Variant, VariantSet
from deepflash.dataset.verify import verify
from deepflash.errors import DatasetError, ExitCode, PairError, ShardError
from deepflash.files import locked_folder, sha256_of
from deepflash.pairs import Alignment, load_alignments, save_alignment
from deepflash.pictures import read_rgb
from deepflash.shards import is_unaugmented, open_shards

MakeAlignment = Callable[..., Alignment]
SIZE = 32
SMALL = Parameters(size=SIZE, leakage_check=False)  # faces are compared where that is tested


@pytest.fixture
def aligned(tmp_path: Path, make_alignment: MakeAlignment) -> Path:
    """Five pairs of four subjects."""
    folder = tmp_path / "aligned"
    for pair_id in ("S001-a-01", "S001-a-02", "S002-a-01", "S003-a-01", "S004-a-01"):
        save_alignment(folder, make_alignment(pair_id))
    return folder


def change(aligned: Path, pair_id: str, **fields: object) -> Alignment:
    """Store an alignment with other values; return it as it was."""
    alignment = next(entry for entry in load_alignments(aligned)[0] if entry.pair_id == pair_id)
    save_alignment(aligned, dataclasses.replace(alignment, **fields))  # type: ignore[arg-type]
    return alignment


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_pair_gives_twenty_samples_and_no_subject_is_in_two_splits(aligned: Path, tmp_path: Path) -> None:
    account = build_dataset(aligned, tmp_path / "shards", SMALL, workers=1)
    assert account.sentence() == "5 pairs in = 5 done + 0 skipped + 0 set aside"
    shards = open_shards(tmp_path / "shards")
    assert shards.size == SIZE
    assert shards.splits == ("train", "val", "test")
    where: dict[str, set[str]] = {}
    for split in shards.splits:
        entries = shards.entries(split)
        assert len(entries) == 20 * shards.manifest["counts"][split]["pairs"]
        assert sum(is_unaugmented(entry.info) for entry in entries) * 20 == len(entries)
        for entry in entries:
            sample = shards.read(entry)
            where.setdefault(sample.info["subject"], set()).add(split)
            assert sample.flash.shape == sample.studio.shape == (SIZE, SIZE, 3)
            assert entry.info.items() <= sample.info.items()
    assert {subject: len(splits) for subject, splits in where.items()} == {"S001": 1, "S002": 1, "S003": 1, "S004": 1}
    assert {name: set(subjects) for name, subjects in shards.manifest["split"].items()} == {
        split: {subject for subject, splits in where.items() if split in splits} for split in shards.splits
    }


def test_two_workers_and_an_unfinished_build_give_the_same_bytes(aligned: Path, tmp_path: Path) -> None:
    build_dataset(aligned, tmp_path / "one", SMALL, workers=1)
    resumed = tmp_path / "resumed"
    alignments, _ = load_alignments(aligned)
    render_piece(alignments[3], SMALL, resumed / PIECES)
    (resumed / "train-000007.tar").write_bytes(b"of an earlier, longer attempt")
    build_dataset(aligned, resumed, SMALL, workers=2)
    assert content(tmp_path / "one") == content(resumed)


def test_a_piece_that_was_damaged_on_the_disk_is_rendered_again(aligned: Path, tmp_path: Path) -> None:
    build_dataset(aligned, tmp_path / "one", SMALL, workers=1)
    resumed = tmp_path / "resumed"
    alignments, _ = load_alignments(aligned)
    pieces = [render_piece(alignment, SMALL, resumed / PIECES).path for alignment in alignments]
    pieces[0].write_bytes(pieces[0].read_bytes()[:5000])
    pieces[1].write_bytes(b"")
    build_dataset(aligned, resumed, SMALL, workers=1)
    assert content(tmp_path / "one") == content(resumed)


def test_the_same_command_again_does_nothing(aligned: Path, tmp_path: Path) -> None:
    bad = change(aligned, "S004-a-01", verdict="bad", reasons=("the two photographs do not match",))
    shards = tmp_path / "shards"
    first = build_dataset(aligned, shards, SMALL, workers=1)
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    second = build_dataset(aligned, shards, SMALL, workers=1)
    assert second.sentence() == "5 pairs in = 0 done + 4 skipped + 1 set aside"
    assert second.set_aside == first.set_aside
    assert second.set_aside[0].item == bad.pair_id
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"size": 48}, "differs in size;"),
        ({"seed": 3}, "differs in seed;"),
        ({"proportions": (0.5, 0.25, 0.25)}, "differs in proportions;"),
        ({"gate": Gate(leave_out=("S001-a-01",)), "pictures": "webp"}, "differs in gate and pictures;"),
    ],
)
def test_a_finished_data_set_is_not_replaced_by_another(
    aligned: Path, tmp_path: Path, others: dict[str, object], sentence: str
) -> None:
    shards = tmp_path / "shards"
    build_dataset(aligned, shards, SMALL, workers=1)
    before = content(shards)
    with pytest.raises(DatasetError, match=sentence):
        build_dataset(aligned, shards, dataclasses.replace(SMALL, **others), workers=1)  # type: ignore[arg-type]
    change(aligned, "S002-a-01", moving_from_fixed=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    with pytest.raises(DatasetError, match="was made from other alignments; give another folder, or remove it first"):
        build_dataset(aligned, shards, SMALL, workers=1)
    assert content(shards) == before


def test_what_cannot_be_used_is_set_aside_with_its_reason_and_the_rest_goes_on(aligned: Path, tmp_path: Path) -> None:
    change(aligned, "S001-a-01", verdict="bad", reasons=("the head turned",))
    change(aligned, "S001-a-02", flash_face=None)
    altered = change(aligned, "S002-a-01").studio
    altered.write_bytes(altered.read_bytes() + b"\0")
    change(aligned, "S003-a-01").flash.unlink()
    (aligned / "S009-a-01.json").write_text("{")
    account = build_dataset(aligned, tmp_path / "shards", SMALL, workers=1)
    assert account.sentence() == "6 pairs in = 1 done + 0 skipped + 5 set aside"
    assert account.exit_code == ExitCode.SET_ASIDE
    reasons = {item.item: item.reason for item in account.set_aside}
    assert "registration is bad: the head turned" in reasons["S001-a-01"]
    assert "has no face" in reasons["S001-a-02"]
    assert "is not the file that was registered; restore it, or run align batch again" in reasons["S002-a-01"]
    assert "flash.jpg cannot be read (No such file or directory)" in reasons["S003-a-01"]
    assert "S009-a-01.json is damaged" in reasons["S009-a-01"]
    shards = open_shards(tmp_path / "shards")
    assert [item["item"] for item in shards.manifest["set_aside"]] == sorted(reasons)
    assert {entry.info["pair_id"] for entry in shards.entries("train")} == {"S004-a-01"}


def test_pairs_without_faces_make_a_data_set_whose_variants_want_none(aligned: Path, tmp_path: Path) -> None:
    """Also beside a pair with a face, whose likeness is looked for."""
    whole = VariantSet((Variant(0, "wide", False),), 1.5)
    for pair_id in ("S001-a-01", "S001-a-02", "S002-a-01", "S003-a-01"):
        change(aligned, pair_id, flash_face=None, studio_face=None, verdict="bad", reasons=("no face was found",))
    parameters = dataclasses.replace(SMALL, variants=whole, gate=Gate(verdicts=("good", "bad")), leakage_check=True)
    account = build_dataset(aligned, tmp_path / "shards", parameters, workers=1)
    assert account.sentence() == "5 pairs in = 5 done + 0 skipped + 0 set aside"
    shards = open_shards(tmp_path / "shards")
    assert shards.manifest["leakage"]["subjects_compared"] == 1
    assert not verify(tmp_path / "shards").faults


def test_when_nothing_can_be_used_no_data_set_is_written(tmp_path: Path, make_alignment: MakeAlignment) -> None:
    save_alignment(tmp_path / "aligned", make_alignment(verdict="bad"))
    account = build_dataset(tmp_path / "aligned", tmp_path / "shards", SMALL, workers=1)
    assert account.exit_code == ExitCode.FAILURE
    with pytest.raises(ShardError, match="holds no finished data set"):
        open_shards(tmp_path / "shards")


def test_an_empty_folder_of_alignments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"holds no alignments; run align batch"):
        build_dataset(tmp_path, tmp_path / "shards", workers=1)


def test_one_subject_alone_is_trained_on_and_the_data_set_says_so(tmp_path: Path, make_alignment: MakeAlignment) -> None:
    save_alignment(tmp_path / "aligned", make_alignment())
    build_dataset(tmp_path / "aligned", tmp_path / "shards", SMALL, workers=1)
    shards = open_shards(tmp_path / "shards")
    assert shards.splits == ("train",)
    assert "because there is only one subject" in shards.manifest["notes"][0]


def test_a_folder_with_something_else_in_it_is_left_alone(aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"raw is neither empty nor a data set \(S001-a-01 is in it\)"):
        build_dataset(aligned, tmp_path / "raw", SMALL, workers=1)


def test_a_folder_that_cannot_be_written_is_named(aligned: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file.shards cannot be written .*; make room or give another folder"):
        build_dataset(aligned, tmp_path / "file" / "shards", SMALL, workers=1)


@pytest.mark.parametrize("size", [0, 15, 5000])
def test_a_size_out_of_range_is_refused(aligned: Path, tmp_path: Path, size: int) -> None:
    with pytest.raises(DatasetError, match=f"samples of {size} pixels are refused; give a size from 16 to 4096"):
        build_dataset(aligned, tmp_path / "shards", Parameters(size=size), workers=1)


def test_no_tag_of_the_photograph_reaches_the_shards(tmp_path: Path, make_alignment: MakeAlignment) -> None:
    alignment = make_alignment()
    exif = Image.Exif()
    exif[0x013B] = "SECRETOWNER"  # Artist
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    for path in (alignment.flash, alignment.studio):
        with Image.open(path) as image:
            image.save(path, exif=exif)
    assert b"SECRETOWNER" in alignment.flash.read_bytes()
    now = dataclasses.replace(alignment, flash_sha256=sha256_of(alignment.flash), studio_sha256=sha256_of(alignment.studio))
    save_alignment(tmp_path / "aligned", now)
    build_dataset(tmp_path / "aligned", tmp_path / "shards", SMALL, workers=1)
    shards = open_shards(tmp_path / "shards")
    for name, written in content(tmp_path / "shards").items():
        assert b"SECRETOWNER" not in written, name
        assert str(tmp_path).encode() not in written, name
    members = shards.read_members(shards.entries("train")[0])
    assert chunks(members["flash.png"]) <= {"IHDR", "IDAT", "IEND"}


@pytest.mark.parametrize("moment", [f"{PIECES}/*.tar", "*.tar"])
def test_killed_at_any_moment_it_leaves_nothing_that_reads_as_a_data_set_and_goes_on(
    aligned: Path, tmp_path: Path, moment: str
) -> None:
    build_dataset(aligned, tmp_path / "undisturbed", SMALL, workers=1)
    shards = tmp_path / "shards"
    program = (
        "import sys; from pathlib import Path; from deepflash.dataset.build import build_dataset\n"
        "from deepflash.dataset.parameters import Parameters\n"
        f"parameters = Parameters(size={SIZE}, leakage_check=False)\n"
        "if __name__ == '__main__': build_dataset(Path(sys.argv[1]), Path(sys.argv[2]), parameters, workers=2)"
    )
    script = tmp_path / "build.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, script, aligned, shards])
    deadline = time.monotonic() + 60
    while not list(shards.glob(moment)) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(shards.glob(moment)), "it was killed before it had begun"
    if not (shards / "dataset.json").exists():  # else it was faster than the signal
        with pytest.raises(ShardError, match="no finished data set"):
            open_shards(shards)
    account = build_dataset(aligned, shards, SMALL, workers=1)
    assert account.total == 5
    assert content(shards) == content(tmp_path / "undisturbed")


def test_a_folder_that_another_process_builds_in_is_left_to_it(aligned: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    with locked_folder(shards), pytest.raises(DatasetError, match=r"another process writes .*shards; wait until it has ended"):
        build_dataset(aligned, shards, SMALL, workers=1)
    assert list(shards.iterdir()) == []
    assert build_dataset(aligned, shards, SMALL, workers=1).done == 5


def test_a_data_set_remembers_what_made_it(aligned: Path, tmp_path: Path) -> None:
    build_dataset(aligned, tmp_path / "shards", dataclasses.replace(SMALL, seed=7), workers=1)
    manifest = json.loads((tmp_path / "shards" / "dataset.json").read_text())
    assert manifest["format"] == 1
    assert manifest["parameters"]["seed"] == 7
    assert manifest["parameters"]["face_enlargement"] == 1.5
    assert len(manifest["parameters"]["variants"]) == 20
    assert manifest["versions"]["numpy"] == np.__version__
    assert set(manifest["shards"]) == {path.name for path in (tmp_path / "shards").glob("*.tar")}


def chunks(png: bytes) -> set[str]:
    """The types of a PNG's chunks, by the specification: length, type, data, CRC."""
    found, offset = set(), 8
    while offset < len(png):
        length = int.from_bytes(png[offset : offset + 4], "big")
        found.add(png[offset + 4 : offset + 8].decode())
        offset += 12 + length
    return found


def test_the_bytes_do_not_depend_on_where_it_is_built(aligned: Path, tmp_path: Path) -> None:
    """Also not those of pairs that were set aside for a photograph: a moved tree gives the same data set."""
    change(aligned, "S003-a-01").flash.unlink()
    (aligned / "S009-a-01.json").write_text("{")
    build_dataset(aligned, tmp_path / "one", SMALL, workers=1)
    elsewhere = tmp_path / "another" / "machine"
    elsewhere.mkdir(parents=True)
    for name in ("raw", "aligned"):
        shutil.copytree(tmp_path / name, elsewhere / name)
    build_dataset(elsewhere / "aligned", elsewhere / "shards", SMALL, workers=1)
    assert content(tmp_path / "one") == content(elsewhere / "shards")
    set_aside = {item["item"]: item["reason"] for item in open_shards(tmp_path / "one").manifest["set_aside"]}
    assert set_aside["S003-a-01"].startswith("../raw/S003-a-01/flash.jpg cannot be read")
    assert set_aside["S009-a-01"].startswith("S009-a-01.json is damaged")


def test_a_pair_that_was_mended_since_is_said_to_be(aligned: Path, tmp_path: Path) -> None:
    missing = change(aligned, "S003-a-01").flash
    photograph = missing.read_bytes()
    missing.unlink()
    build_dataset(aligned, tmp_path / "shards", SMALL, workers=1)
    assert "cannot be read" in build_dataset(aligned, tmp_path / "shards", SMALL, workers=1).set_aside[0].reason
    missing.write_bytes(photograph)
    reason = build_dataset(aligned, tmp_path / "shards", SMALL, workers=1).set_aside[0].reason
    assert reason.startswith("it was mended after this data set was made")
    assert reason.endswith("remove the folder and build again")


def test_each_photograph_is_decoded_once(
    make_alignment: MakeAlignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def count(path: Path, *, reduce: int = 1) -> np.ndarray:
        decoded.append(path.name)
        return read_rgb(path, reduce=reduce)

    monkeypatch.setattr(resampling, "read_rgb", count)
    render_piece(make_alignment(), Parameters(size=SIZE), tmp_path, embed=True)
    assert sorted(decoded) == ["flash.jpg", "studio.jpg"]


def test_one_person_under_two_ids_is_warned_of_and_no_face_is_stored(tmp_path: Path, make_alignment: MakeAlignment) -> None:
    """The astronaut sits for both, once darker."""
    astronaut = make_alignment("S001-a-01")
    darker = np.asarray(read_rgb(astronaut.flash) * 0.7, dtype=np.uint8)
    for alignment in (astronaut, make_alignment("S002-a-01", flash=darker)):
        save_alignment(tmp_path / "aligned", alignment)
    build_dataset(tmp_path / "aligned", tmp_path / "shards", Parameters(size=SIZE), workers=2)
    manifest = open_shards(tmp_path / "shards").manifest
    assert manifest["leakage"]["subjects_compared"] == 2
    suspect = manifest["leakage"]["suspects"][0]
    assert suspect["subjects"] == ["S001", "S002"]
    assert sorted(suspect["parts"]) == ["test", "train"]
    assert suspect["distance"] < manifest["leakage"]["threshold"]
    assert suspect["sentence"] in manifest["notes"]
    assert set(manifest["leakage"]) == {"subjects_compared", "threshold", "suspects"}
    assert not (tmp_path / "shards" / PIECES).exists()


def test_the_statistics_are_those_of_the_unaugmented_training_pictures(aligned: Path, tmp_path: Path) -> None:
    build_dataset(aligned, tmp_path / "shards", SMALL, workers=2)
    shards = open_shards(tmp_path / "shards")
    samples = [shards.read(entry) for entry in shards.entries("train") if is_unaugmented(entry.info)]
    for light in ("flash", "studio"):
        pixels = np.concatenate([getattr(sample, light).reshape(-1, 3) for sample in samples]) / 255
        np.testing.assert_allclose(shards.manifest["statistics"][light]["mean"], pixels.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(shards.manifest["statistics"][light]["std"], pixels.std(axis=0), atol=1e-9)


def test_the_split_the_poses_and_the_gate_are_those_asked_for(aligned: Path, tmp_path: Path) -> None:
    change(aligned, "S001-a-02", pose="left", quality={"tile_residual": 0.5})
    change(aligned, "S004-a-01", quality={"tile_residual": 0.1})
    parameters = dataclasses.replace(
        SMALL,
        fixed={"S001": "test", "S002": "train"},
        gate=Gate(at_most={"tile_residual": 0.2}, allow=("S001-a-01", "S002-a-01", "S003-a-01", "S0O9-a-01")),
        pictures="webp",
    )
    account = build_dataset(aligned, tmp_path / "shards", parameters, workers=1)
    assert [(item.item, item.reason) for item in account.set_aside] == [
        ("S001-a-02", "its tile_residual is 0.5, and at most 0.2 was asked for")
    ]
    shards = open_shards(tmp_path / "shards")
    assert shards.manifest["split"]["test"][0] == "S001"
    assert "S002" in shards.manifest["split"]["train"]
    assert sum(table["frontal"] for table in shards.manifest["poses"].values()) == 4
    assert "pair S0O9-a-01 is listed to allow, but there is no such alignment" in " ".join(shards.manifest["notes"])
    assert shards.manifest["pictures"] == "webp"
    assert shards.manifest["parameters"]["fixed"] == {"S001": "test", "S002": "train"}


def test_variants_of_ones_own_are_made_and_remembered(aligned: Path, tmp_path: Path) -> None:
    variants = VariantSet((Variant(0, "wide", False), Variant(45, "face", True)), 2.0)
    build_dataset(aligned, tmp_path / "shards", dataclasses.replace(SMALL, variants=variants), workers=1)
    shards = open_shards(tmp_path / "shards")
    assert shards.manifest["index"]["samples"] == 10
    assert shards.manifest["parameters"]["face_enlargement"] == 2.0
    assert shards.manifest["parameters"]["variants"][1] == {"angle_deg": 45, "frame": "face", "mirrored": True}


def test_shards_are_filled_to_their_size_in_the_order_of_the_pieces() -> None:
    """Against what a writer would do that takes sample after sample."""
    rng = np.random.default_rng(5)
    pieces = [
        (
            ("train", "test")[number % 3 == 2],
            Piece(Path(f"{number:03d}"), rng.integers(1, 40, 7).tolist(), PixelSums(), PixelSums(), None),
        )
        for number in range(30)
    ]
    for split in ("train", "test"):
        plans = [plan for plan in plan_shards(pieces, target_bytes=100) if plan.split == split]
        wanted = [(piece.path, n, size) for own, piece in pieces if own == split for n, size in enumerate(piece.sample_bytes)]
        sizes = {(path, number): size for path, number, size in wanted}
        planned = [[(part.piece, n) for part in plan.parts for n in range(part.first, part.last)] for plan in plans]
        assert [sample for shard in planned for sample in shard] == [(path, number) for path, number, _ in wanted]
        totals = [sum(sizes[sample] for sample in shard) for shard in planned]
        assert max(totals) <= 100
        following = [sizes[shard[0]] for shard in planned[1:]]
        assert all(total + first > 100 for total, first in zip(totals[:-1], following, strict=True))
        assert [plan.name for plan in plans] == [f"{split}-{number:06d}.tar" for number in range(len(plans))]


def test_many_small_shards_have_the_same_bytes_whatever_the_number_of_workers(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "plan_shards", functools.partial(plan_shards, target_bytes=60_000))
    for workers in (1, 2):
        build_dataset(aligned, tmp_path / str(workers), SMALL, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    shards = open_shards(tmp_path / "1")
    assert len(shards.manifest["shards"]) > 5
    keys = [entry.key for split in shards.splits for entry in shards.entries(split)]
    assert len(set(keys)) == 100
    for entry in shards.entries("train")[::7]:
        shards.read(entry)


def test_a_full_disk_is_said_in_a_sentence_and_the_build_goes_on_when_there_is_room(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(build, "commit_shards", full)
        with pytest.raises(DatasetError, match=r"cannot be written .*No space left on device.*; make room"):
            build_dataset(aligned, shards, SMALL, workers=1)
    before = {path: path.stat().st_mtime_ns for path in shards.rglob("*.tar")}
    build_dataset(aligned, shards, SMALL, workers=1)
    build_dataset(aligned, tmp_path / "undisturbed", SMALL, workers=1)
    assert content(shards) == content(tmp_path / "undisturbed")
    after = {path: path.stat().st_mtime_ns for path in shards.glob("*.tar")}
    assert after == {path: when for path, when in before.items() if path.parent == shards}, "finished shards were written again"


def test_adding_a_subject_moves_nobody(aligned: Path, tmp_path: Path, make_alignment: MakeAlignment) -> None:
    build_dataset(aligned, tmp_path / "before", SMALL, workers=1)
    save_alignment(aligned, make_alignment("S005-a-01"))
    build_dataset(aligned, tmp_path / "after", SMALL, workers=1)
    before, after = (open_shards(tmp_path / name).manifest["split"] for name in ("before", "after"))
    for split, subjects in before.items():
        assert set(subjects) <= set(after[split])


def test_every_option_of_the_command_reaches_the_data_set(
    aligned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(aligned, "S004-a-01", quality={"confidence": 0.2, "shift": 0.1, "overlap": 1.0})
    (tmp_path / "mine.toml").write_text(
        'face_enlargement = 2\n[[variants]]\nframes = ["wide"]\nmirrored = [false]\nangles_deg = [0, 3]\n'
    )
    (tmp_path / "split.toml").write_text('val = ["S001"]\n')
    (tmp_path / "allow.txt").write_text("S001-a-01\nS001-a-02\nS003-a-01\n")
    (tmp_path / "leave-out.txt").write_text("S002-a-01\n")
    options = "--size 32 --proportions 0.6,0.2,0.2 --seed 4 --balance --verdicts good --min-confidence 0.1 --format webp"
    limits = "--at-most shift=0.2 --at-least overlap=0.9 --no-leakage-check --workers 1 --json"
    files = {"--variants": "mine.toml", "--split": "split.toml", "--allow": "allow.txt", "--leave-out": "leave-out.txt"}
    named = [text for option, name in files.items() for text in (option, str(tmp_path / name))]
    arguments = ["build-dataset", str(aligned), str(tmp_path / "shards"), *options.split(), *limits.split(), *named]
    assert cli.main(arguments, standalone_mode=False) == ExitCode.SET_ASIDE
    output = capsys.readouterr()
    assert json.loads(output.out)["set_aside"] == [{"item": "S002-a-01", "reason": "it is on the list of pairs to leave out"}]
    manifest = open_shards(tmp_path / "shards").manifest
    assert manifest["split"]["val"] == ["S001"]
    assert manifest["leakage"] is None
    assert manifest["index"]["samples"] == 8
    parameters = manifest["parameters"]
    assert {name: parameters[name] for name in ("size", "seed", "balance", "pictures", "proportions")} == {
        "size": 32,
        "seed": 4,
        "balance": True,
        "pictures": "webp",
        "proportions": [0.6, 0.2, 0.2],
    }
    assert parameters["gate"] == {
        "verdicts": ["good"],
        "at_most": {"shift": 0.2},
        "at_least": {"overlap": 0.9, "confidence": 0.1},
        "allow": ["S001-a-01", "S001-a-02", "S003-a-01"],
        "leave_out": ["S002-a-01"],
    }


@pytest.mark.parametrize("text", ["0.8,0.2", "all,of,it", "0.8"])
def test_proportions_that_are_not_three_numbers_are_a_usage_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=r"is not three numbers, such as 0.8,0.1,0.1"):
        cli.main(["build-dataset", str(tmp_path), str(tmp_path / "s"), "--proportions", text], standalone_mode=False)
