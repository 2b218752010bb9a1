"""Aligning folders: everything accounted for, resumable, the same for any number of workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepflash.affine import apply
from deepflash.align import frame
from deepflash.align.batch import align_batch, align_pair, registered_studio
from deepflash.errors import AlignError, PairError, PictureError
from deepflash.pairs import Pair, commit_pair, find_pairs, load_alignment, load_alignments, take_folder
from deepflash.pictures import encode, read_rgb

from ..clusters import kill, local_cluster
from .sitters import face_of, mean_error, pair_of, write_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three good pairs and one of each kind of bad one."""
    raw = tmp_path_factory.mktemp("raw")
    for number, name in enumerate(["astronaut", "hopper", "hopper"], start=1):
        write_pair(raw, f"0{number}", name, seed=number)
    write_pair(raw, "04", "hopper", seed=4)
    truncated = raw / "04_studio.jpg"
    truncated.write_bytes(truncated.read_bytes()[:9000])
    write_pair(raw, "05", "hopper", seed=5)
    (raw / "05_studio.jpg").write_bytes(encode(pair_of("hopper", 5, 400)[1], ".jpg"))
    write_pair(raw, "06", "hopper", seed=6)
    (raw / "06_studio.jpg").unlink()
    write_pair(raw, "07", "hopper", seed=7)
    (raw / "07_flash.jpg").write_text("not a picture")
    return raw


@pytest.fixture(scope="module")
def aligned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return that folder aligned by two workers."""
    out = tmp_path_factory.mktemp("out") / "aligned"
    account = align_batch(folder, out, workers=2)
    assert account.sentence() == "7 pairs in = 3 done + 0 skipped + 4 set aside"
    reasons = {entry.item: entry.reason for entry in account.set_aside}
    assert reasons.keys() == {"04", "05", "06", "07"}
    for item, word in {"04": "truncated", "05": "one size", "06": "missing", "07": "not a readable picture"}.items():
        assert word in reasons[item]
        assert item in reasons[item], "the sentence names the file"
    return out


def test_good_pairs_are_done_and_bad_ones_set_aside_with_their_reason(aligned: Path) -> None:
    alignments, set_aside = load_alignments(aligned)

    assert [alignment.pair_id for alignment in alignments] == ["01", "02", "03"]
    assert not set_aside
    assert {alignment.verdict for alignment in alignments} <= {"good", "check"}
    assert all(alignment.flash_face and alignment.studio_face for alignment in alignments)


def test_the_stored_map_is_the_true_one(aligned: Path) -> None:
    truth = pair_of("hopper", 2, 390)[2]

    stored = load_alignment(aligned / "02.json").moving_from_fixed

    assert mean_error(np.array(stored), truth, face_of("hopper", 390)) < 0.4


def test_one_worker_and_two_write_the_same_bytes(folder: Path, aligned: Path, tmp_path: Path) -> None:
    other = aligned.parent / "other"  # beside the first: stored paths are relative

    align_batch(folder, other, workers=1)

    for path in aligned.glob("*.json"):
        assert (other / path.name).read_bytes() == path.read_bytes()


def test_finished_pairs_are_skipped_and_changed_or_damaged_ones_done_again(tmp_path: Path) -> None:
    raw, aligned = tmp_path / "raw", tmp_path / "aligned"
    for number in (1, 2, 3):
        write_pair(raw, f"0{number}", "hopper", seed=number)
    assert align_batch(raw, aligned, workers=1).done == 3

    write_pair(raw, "01", "hopper", seed=9)
    (aligned / "02.json").write_text('{"format": 1')
    account = align_batch(raw, aligned, workers=1)

    assert (account.done, account.skipped) == (2, 1)
    assert (
        mean_error(
            np.array(load_alignment(aligned / "01.json").moving_from_fixed),
            pair_of("hopper", 9, 390)[2],
            face_of("hopper", 390),
        )
        < 0.4
    )


def test_finished_pairs_are_recognised_however_the_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path / "raw", "01", "hopper", seed=1, width=260)
    align_batch(tmp_path / "raw", tmp_path / "aligned", workers=1)
    monkeypatch.chdir(tmp_path / "aligned")

    assert align_batch(Path("../raw"), Path("../aligned"), workers=1).skipped == 1


def test_images_are_written_on_demand_and_lie_on_the_flash_picture(tmp_path: Path) -> None:
    raw, aligned = tmp_path / "raw", tmp_path / "aligned"
    truth = write_pair(raw, "01", "hopper", seed=1)
    align_batch(raw, aligned, workers=1)
    assert not (aligned / "01.studio.jpg").exists()

    account = align_batch(raw, aligned, workers=1, write_images=True)

    assert account.done == 1
    assert align_batch(raw, aligned, workers=1, write_images=True).skipped == 1
    written = read_rgb(aligned / "01.studio.jpg").astype(float)
    studio = read_rgb(raw / "01_studio.jpg")
    expected = cv2.warpAffine(studio, truth, studio.shape[1::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    face = (slice(120, 340), slice(90, 310))
    assert np.abs(written[face] - expected[face]).mean() < 4


def test_large_photographs_are_registered_on_a_reduced_copy_with_a_full_size_map(tmp_path: Path) -> None:
    flash, studio, truth = pair_of("hopper", 3, 780)
    for light, picture in (("flash", flash), ("studio", studio)):
        large = cv2.resize(picture, (3120, 4160), interpolation=cv2.INTER_LINEAR)
        (tmp_path / f"01_{light}.jpg").write_bytes(encode(np.asarray(large, np.uint8), ".jpg"))

    alignment = align_pair(Pair("01", "01", tmp_path / "01_flash.jpg", tmp_path / "01_studio.jpg"))

    assert alignment.size == (3120, 4160)
    true_map = frame.in_pixels(frame.in_frame(truth, 780), 3120)
    assert mean_error(np.array(alignment.moving_from_fixed), true_map, face_of("hopper", 3120)) < 1.5
    assert registered_studio(alignment).shape == (4160, 3120, 3)


def test_a_face_found_in_one_picture_only_is_taken_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = write_pair(tmp_path, "01", "hopper", seed=1)
    found = [[], [face_of("hopper", 390)]]  # in the flash and in the studio picture
    monkeypatch.setattr("deepflash.align.subjects.find_subject", lambda picture: found.pop(0))
    monkeypatch.setattr("deepflash.align.subjects.find_near", lambda picture, expected: None)

    alignment = align_pair(Pair("01", "01", tmp_path / "01_flash.jpg", tmp_path / "01_studio.jpg"))

    assert alignment.verdict == "check"
    assert any("no face was found in the flash photograph" in reason for reason in alignment.reasons)
    assert alignment.flash_face
    assert alignment.studio_face
    assert alignment.registered_face == alignment.flash_face
    for name, points in alignment.flash_face.landmarks.items():
        np.testing.assert_allclose(apply(truth, points), alignment.studio_face.landmarks[name], atol=0.5)


def test_pairs_without_a_face_are_done_with_the_verdict_bad(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (300, 240, 3), dtype=np.uint8)
    for brighter, light in enumerate(("flash", "studio")):
        (raw / f"01_{light}.png").write_bytes(encode(noise + np.uint8(brighter), ".png"))

    account = align_batch(raw, tmp_path / "aligned", workers=1)

    assert account.done == 1
    alignment = load_alignment(tmp_path / "aligned" / "01.json")
    assert alignment.verdict == "bad"
    assert alignment.flash_face is None
    assert "no face" in alignment.reasons[0]


def test_a_photograph_that_is_not_the_captured_one_is_noticed(tmp_path: Path) -> None:
    write_pair(tmp_path, "01", "hopper", seed=1)
    folder = take_folder(tmp_path / "raw", "S001", "1", "1")
    record = {"subject": "S001", "session": "1", "take": "1", "pose": "frontal"}
    pair = commit_pair(folder, tmp_path / "01_flash.jpg", tmp_path / "01_studio.jpg", record)
    assert align_pair(pair).subject == "S001"
    content = bytearray(pair.flash.read_bytes())
    content[-100] ^= 1
    pair.flash.write_bytes(content)

    with pytest.raises(PairError, match="checksum"):
        align_pair(pair)


def test_two_pairs_of_one_id_do_not_overwrite_each_other(tmp_path: Path) -> None:
    write_pair(tmp_path / "files", "01", "hopper", seed=1, width=260)
    record = {"subject": "S001", "session": "1", "take": "1", "pose": "frontal"}
    for copy in ("first", "second"):
        folder = take_folder(tmp_path / "raw" / copy, "S001", "1", "1")
        commit_pair(folder, tmp_path / "files" / "01_flash.jpg", tmp_path / "files" / "01_studio.jpg", record)

    account = align_batch(tmp_path / "raw", tmp_path / "aligned", workers=1)

    assert (account.done, [entry.item for entry in account.set_aside]) == (1, ["S001-1-1"])
    assert "remove one of them" in account.set_aside[0].reason


def test_one_pair_refuses_in_one_sentence(tmp_path: Path, folder: Path) -> None:
    pairs = {pair.id: pair for pair in find_pairs(folder)[0]}

    with pytest.raises(AlignError, match="one size"):
        align_pair(pairs["05"])
    with pytest.raises(PictureError, match="truncated"):
        align_pair(pairs["04"])


def test_an_empty_folder_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairError, match="holds no pairs"):
        align_batch(tmp_path / "empty", tmp_path / "aligned", workers=1)

    write_pair(tmp_path / "raw", "01", "hopper", seed=1)
    (tmp_path / "file").touch()
    with pytest.raises(PairError, match="is a file"):
        align_batch(tmp_path / "raw", tmp_path / "file", workers=1)
    with pytest.raises(PairError, match="holds the photographs; give another folder"):
        align_batch(tmp_path / "raw", tmp_path / "empty" / ".." / "raw", workers=1)
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["01_flash.jpg", "01_studio.jpg"]


def test_one_photograph_in_both_places_is_no_pair(tmp_path: Path) -> None:
    """It registers perfectly, so nothing later would notice."""
    write_pair(tmp_path, "01", "hopper", seed=1)
    (tmp_path / "01_studio.jpg").write_bytes((tmp_path / "01_flash.jpg").read_bytes())
    with pytest.raises(PairError, match=r"01_flash.jpg and 01_studio.jpg are copies of one photograph"):
        align_pair(find_pairs(tmp_path)[0][0])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with seven small pairs, of which one is truncated and one lacks a photograph."""
    raw = tmp_path_factory.mktemp("small") / "raw"
    for number in range(1, 8):
        write_pair(raw, f"0{number}", "hopper", seed=number, width=260)
    (raw / "04_studio.jpg").write_bytes((raw / "04_studio.jpg").read_bytes()[:5000])
    (raw / "06_flash.jpg").unlink()
    return raw


@pytest.fixture(scope="module")
def small_aligned(small: Path) -> dict[str, bytes]:
    """Return what one worker writes for them, by file name."""
    account = align_batch(small, small.parent / "aligned", workers=1, write_images=True)
    assert account.sentence() == "7 pairs in = 5 done + 0 skipped + 2 set aside"
    return content(small.parent / "aligned")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_parts_together_are_the_whole(small: Path, small_aligned: dict[str, bytes]) -> None:
    """Three jobs at the same time, as of a Slurm array, write into one folder and know nothing of each other."""
    aligned = small.parent / "by-parts"
    command = [sys.executable, "-m", "deepflash", "align", "batch", str(small), str(aligned), "--write-images", "--json"]
    command += ["--workers", "1"]
    jobs = [subprocess.Popen([*command, "--part", f"{k}/3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for k in (1, 2, 3)]
    accounts = [json.loads(job.communicate(timeout=120)[0]) for job in jobs]

    assert content(aligned) == small_aligned
    assert [account["part"] for account in accounts] == ["1/3", "2/3", "3/3"]
    assert sum(account["done"] for account in accounts) == 5
    assert sorted(entry["item"] for account in accounts for entry in account["set_aside"]) == ["04", "06"]
    for account, job in zip(accounts, jobs, strict=True):
        assert account["in"] == account["done"] + account["skipped"] + len(account["set_aside"])
        assert job.returncode == (0 if not account["set_aside"] else 3 if account["done"] else 1)


def test_a_cluster_writes_the_same_bytes_although_a_worker_is_killed(small: Path, small_aligned: dict[str, bytes]) -> None:
    aligned = small.parent / "by-cluster"
    killed: list[int] = []
    with local_cluster(small.parent) as cluster:

        def kill_one(done: int, total: int, note: str) -> None:
            if done and not killed:
                killed.append(cluster.worker_pids()[0])
                kill(killed[0])

        account = align_batch(small, aligned, cluster=cluster.address, write_images=True, report=kill_one)
        command = [sys.executable, "-m", "deepflash", "align", "batch", "raw", "by-cluster", "--cluster", cluster.address]
        again = subprocess.run(
            [*command, "--json", "--write-images"], cwd=small.parent, capture_output=True, text=True, timeout=120, check=False
        )

    assert killed
    assert account.sentence() == "7 pairs in = 5 done + 0 skipped + 2 set aside"
    assert content(aligned) == small_aligned
    assert again.returncode == 3, again.stderr
    assert (json.loads(again.stdout)["skipped"], json.loads(again.stdout)["done"]) == (5, 0)


CRASHING = """
import ctypes
import sys
from pathlib import Path
import deepflash.align.batch as batch

read_rgb = batch.read_rgb

def crashing(path, **options):
    if path.name == "02_flash.jpg":
        ctypes.string_at(0)
    return read_rgb(path, **options)

batch.read_rgb = crashing  # in the workers too: they import this file

if __name__ == "__main__":
    account = batch.align_batch(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
    print(account.sentence(), *(f"{entry.item}: {entry.reason}" for entry in account.set_aside), sep="\\n")
"""


def test_a_pair_that_crashes_native_code_is_set_aside_and_the_rest_done(
    small: Path, small_aligned: dict[str, bytes], tmp_path: Path
) -> None:
    script, aligned = tmp_path / "crashing.py", small.parent / "crashed"
    script.write_text(CRASHING)

    said = subprocess.run(
        [sys.executable, str(script), str(small), str(aligned)], capture_output=True, text=True, timeout=120, check=True
    ).stdout

    assert said.startswith("7 pairs in = 4 done + 0 skipped + 3 set aside")
    assert "02: the worker process died 3 times on this item alone (a crash in native code" in said
    expected = {name: stored for name, stored in small_aligned.items() if name.endswith(".json") and name != "02.json"}
    assert content(aligned) == expected


def test_what_another_method_finished_is_done_again_and_its_picture_goes(tmp_path: Path) -> None:
    raw, aligned = tmp_path / "raw", tmp_path / "aligned"
    write_pair(raw, "01", "hopper", seed=1, width=260)
    assert align_batch(raw, aligned, workers=1, write_images=True).done == 1

    account = align_batch(raw, aligned, workers=1, method="mattes")

    assert account.done == 1
    assert load_alignment(aligned / "01.json").method_asked == "mattes"
    assert load_alignment(aligned / "01.json").method == "mattes"
    assert not (aligned / "01.studio.jpg").exists(), "it was made with the other map"
    assert align_batch(raw, aligned, workers=1, method="mattes").skipped == 1
    assert align_batch(raw, aligned, workers=1, method="mattes", write_images=True).done == 1


RUN = """
import sys
from pathlib import Path
from deepflash.align import frame
from deepflash.align.batch import align_batch

if __name__ == "__main__":
    print(align_batch(Path(sys.argv[1]), Path(sys.argv[2]), workers=1).sentence())
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    raw, aligned, script = tmp_path / "raw", tmp_path / "aligned", tmp_path / "run.py"
    script.write_text(RUN)
    for number in range(1, 7):
        write_pair(raw, f"0{number}", "astronaut", seed=number, width=260)
    killed = subprocess.Popen([sys.executable, str(script), str(raw), str(aligned)])
    deadline_s = time.monotonic() + 60
    while not list(aligned.glob("*.json")):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=30)
    finished = {path: path.stat().st_mtime_ns for path in aligned.glob("*.json")}

    account = align_batch(raw, aligned, workers=1)

    assert account.skipped >= len(finished) > 0
    assert account.done + account.skipped == 6
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert all(json.loads(path.read_text())["format"] == 1 for path in aligned.glob("*.json"))
    assert len(list(aligned.iterdir())) == 6, "nothing temporary is left"
