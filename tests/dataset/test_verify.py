"""Whatever happens to one file of a tree, verification names it; a whole tree has no fault."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepflash.batch import Outcome
from deepflash.dataset.card import card
from deepflash.dataset.verify import Verification, kind_of, verify
from deepflash.errors import DatasetError, ExitCode
from deepflash.files import sha256_of, write_sealed_json
from deepflash.pairs import Alignment, Pair, commit_pair, save_alignment, take_folder
from deepflash.pictures import encode
from deepflash.shards import ShardWriter, encode_sample, open_shards

SIZE = 16


def picture(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write_shards(folder: Path, pictures: str = "png") -> Path:
    """Two shards of train, one of val."""
    with ShardWriter(folder, target_bytes=9000) as writer:
        for split, subjects in (("train", range(3)), ("val", range(3, 4))):
            for subject in subjects:
                info = {"subject": f"S{subject}", "pair_id": f"S{subject}-a", "pose": "frontal", "variant": {}}
                writer.add(
                    split, f"S{subject}-a", encode_sample(picture(subject), picture(9 + subject), info, pictures=pictures)
                )
        writer.commit({"size": SIZE}, card=card)
    return folder


def write_raw(folder: Path) -> Path:
    """Two takes of one session, one of them withdrawn, with a journal, a subject's file, a card's list and an orphan."""
    source = folder.parent / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.jpg").write_bytes(encode(picture(number), ".jpg"))
    session = take_folder(folder, "S001", "20260101T000000", "001").parent
    for number, take in enumerate(("001", "002", "003")):
        record = {"subject": "S001", "session": session.name, "take": take, "pose": "frontal"}
        beside = {"studio.cr2": source / "5.jpg"} if take == "001" else None
        commit_pair(session / take, source / f"{2 * number}.jpg", source / f"{2 * number + 1}.jpg", record, beside=beside)
    (session / ".withdrawn").mkdir()
    (session / "002").rename(session / ".withdrawn" / "002")
    attempts = [{"take": take, "pose": "frontal", "verdict": "good"} for take in ("001", "002", "003")]
    write_sealed_json(session / "session.json", {"format": 2, "attempts": [*attempts, {"take": "004", "verdict": "failed"}]})
    write_sealed_json(session / "card.json", {"format": 1, "cameras": {}})
    write_sealed_json(session.parent / "subject.json", {"format": 1, "id": "S001", "consent": "form 12"})
    orphan = encode(picture(77), ".jpg")
    (source / "orphan.jpg").write_bytes(orphan)
    (session / "orphans").mkdir()
    (session / "orphans" / f"{sha256_of(source / 'orphan.jpg')[:12]}-IMG_0001.JPG").write_bytes(orphan)
    shutil.rmtree(source)
    return folder


def write_aligned(folder: Path) -> Path:
    """Records of two pairs of a raw tree beside it, one with its registered picture."""
    raw = write_raw(folder.parent / "raw")
    for take in ("001", "003"):
        place = raw / "S001" / "20260101T000000" / take
        save_alignment(
            folder, alignment_of(Pair(f"S001-20260101T000000-{take}", "S001", place / "flash.jpg", place / "studio.jpg"))
        )
    (folder / "S001-20260101T000000-001.studio.jpg").write_bytes(encode(picture(5), ".jpg"))
    return folder


def alignment_of(pair: Pair) -> Alignment:
    return Alignment(
        pair.id, pair.subject, pair.flash, pair.studio, sha256_of(pair.flash), sha256_of(pair.studio),
        (SIZE, SIZE), (SIZE, SIZE), ((1.0, 0.0, 0.5), (0.0, 1.0, 0.25)), "by hand", "good",
    )  # fmt: skip


WRITERS: dict[str, Callable[[Path], Path]] = {"shards": write_shards, "raw": write_raw, "aligned": write_aligned}


@pytest.fixture(params=WRITERS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / request.param)


def fully(tree: Path) -> Verification:
    return verify(tree, full=True)


def blamed(outcome: Verification) -> set[str]:
    return {fault.path for fault in outcome.faults}


def files_of(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.is_file())


@pytest.mark.parametrize("full", [False, True])
def test_a_whole_tree_has_no_fault(tree: Path, full: bool) -> None:
    outcome = verify(tree, full=full)
    assert (outcome.faults, outcome.notes, outcome.kind) == ((), (), tree.name)
    assert outcome.exit_code == ExitCode.OK
    assert outcome.files >= len(files_of(tree))
    assert "complete and valid" in outcome.sentence()


def test_any_flipped_bit_of_any_file_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bits of each file, all over it, with another seed for each: the card is a note, for it may be edited."""
    inline(monkeypatch)
    for path in files_of(tree):
        content = path.read_bytes()
        for turn in range(3):
            chosen = random.Random(f"{path.name}{turn}").randrange(8 * len(content))
            altered = bytearray(content)
            altered[chosen // 8] ^= 1 << chosen % 8
            path.write_bytes(altered)
            outcome = fully(tree)
            name = str(path.relative_to(tree))
            if name == "README.md":
                assert outcome.notes[0].startswith("README.md is not as it was written")
            elif name.endswith(".studio.jpg") and tree.name == "aligned":
                pass  # a registered picture can be made again; only that it decodes is promised
            else:
                assert name in blamed(outcome), (name, chosen, outcome)
        path.write_bytes(content)
    assert fully(tree).faults == ()


def test_any_missing_file_is_named(tree: Path) -> None:
    for path in files_of(tree):
        if (
            path.name in {"subject.json", "card.json", "session.json"}
            or path.parent.name == "orphans"
            or ".studio." in path.name
        ):
            continue  # nothing lists these: they may be absent
        content = path.read_bytes()
        path.unlink()
        outcome = verify(tree)
        said = " ".join([*map(str, outcome.faults), *outcome.notes])
        assert path.relative_to(tree).as_posix().removesuffix(".json") in said, path
        path.write_bytes(content)


def test_any_extra_file_is_named(tree: Path) -> None:
    for folder in {path.parent for path in files_of(tree)}:
        (folder / "stranger.txt").write_text("?")
        assert blamed(verify(tree)) == {str((folder / "stranger.txt").relative_to(tree))}
        (folder / "stranger.txt").unlink()


def test_any_file_cut_short_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inline(monkeypatch)
    for path in files_of(tree):
        if path.name == "README.md":
            continue
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 3 // 4])
        assert str(path.relative_to(tree)) in blamed(fully(tree)), path
        path.write_bytes(content)


@pytest.mark.parametrize("pictures", ["png", "webp", "jpeg"])
def test_a_flipped_bit_in_a_tar_is_named_with_its_sample_wherever_it_is(
    tmp_path: Path, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    tree = write_shards(tmp_path / "shards", pictures)
    entry = open_shards(tree).entries("train")[1]
    flash, _, text = entry.members.values()
    header = flash.offset - 512
    padding = text.offset + text.size
    for offset, what in (
        (flash.offset + 20, r"flash\.\w+ does not match its checksum"),
        (text.offset + 2, "S1-a.json does not match its checksum"),
        (header + 3, r"the header of S1-a\.flash"),
        (padding, "the padding of S1-a.json"),
    ):
        path = tree / entry.shard
        content = path.read_bytes()
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
        (fault,) = fully(tree).faults
        assert fault.path == entry.shard
        assert re.search(f"in sample S1-a: .*{what}", fault.what)
        path.write_bytes(content)


def test_swapped_shards_are_named_even_if_equally_long(tmp_path: Path) -> None:
    tree = write_shards(tmp_path / "shards")
    first, second = tree / "train-000000.tar", tree / "val-000000.tar"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert {first.name, second.name} <= blamed(verify(tree))
    assert any("holds what belongs into val-000000.tar" in fault.what for fault in fully(tree).faults)


def test_swapped_photographs_takes_and_records_are_named(tmp_path: Path) -> None:
    aligned = write_aligned(tmp_path / "aligned")
    raw = tmp_path / "raw"
    session = raw / "S001" / "20260101T000000"
    swap(session / "001" / "flash.jpg", session / "001" / "studio.jpg")
    assert {"S001/20260101T000000/001/flash.jpg", "S001/20260101T000000/001/studio.jpg"} <= blamed(fully(raw))
    swap(session / "001" / "flash.jpg", session / "001" / "studio.jpg")
    swap(session / "001", session / "003")
    assert {f"S001/20260101T000000/{take}/pair.json" for take in ("001", "003")} <= blamed(verify(raw))
    swap(session / "001", session / "003")
    records = sorted(aligned.glob("*.json"))
    swap(*records)
    assert {path.name for path in records} <= blamed(verify(aligned))


def test_what_was_stored_wrong_is_found_although_its_checksum_is_right(tmp_path: Path) -> None:
    sample = encode_sample(picture(1), picture(2), {"subject": "S", "pair_id": "p"})
    with ShardWriter(tmp_path / "shards") as writer:
        writer.add("train", "p", {**sample, "studio.png": b"no picture"})
        writer.commit({"size": SIZE})
    (fault,) = fully(tmp_path / "shards").faults
    assert fault.what.startswith("holds a damaged sample p (studio.png: ")


def test_damaged_lists_do_not_hide_damaged_shards(tmp_path: Path) -> None:
    tree = write_shards(tmp_path / "shards")
    for name in ("dataset.json", "index.jsonl"):
        again = tmp_path / name.partition(".")[0]
        shutil.copytree(tree, again)
        (again / name).unlink()
        flip(again / "val-000000.tar", 700)
        assert {name, "val-000000.tar"} <= blamed(fully(again))


def test_pairs_by_name_are_decoded_and_lone_ones_named(tmp_path: Path) -> None:
    for name in ("a_flash.png", "a_studio.png", "b_flash.png"):
        (tmp_path / name).write_bytes(encode(picture(1), ".png"))
    (tmp_path / "a_studio.png").write_bytes((tmp_path / "a_studio.png").read_bytes()[:300])
    (tmp_path / "notes.txt").touch()
    outcome = fully(tmp_path)
    assert outcome.kind == "raw"
    assert blamed(outcome) == {"a_studio.png", "b"}
    assert outcome.exit_code == ExitCode.SET_ASIDE
    assert outcome.notes[0].endswith("other files are no pairs, and were not looked at")


def test_pairs_that_have_no_record_are_noted(tmp_path: Path) -> None:
    aligned = write_aligned(tmp_path / "aligned")
    (aligned / "S001-20260101T000000-003.json").unlink()
    (note,) = verify(aligned).notes
    assert "1 pairs of" in note
    assert "S001-20260101T000000-003" in note


def test_workers_change_nothing(tmp_path: Path) -> None:
    tree = write_shards(tmp_path / "shards")
    flip(tree / "train-000000.tar", 900)
    assert verify(tree, full=True, workers=2) == verify(tree, full=True, workers=1)


def test_what_a_killed_build_left_is_a_note(tmp_path: Path) -> None:
    tree = write_shards(tmp_path / "shards")
    (tree / ".pieces").mkdir()
    (tree / ".tmp-host-1-abc").touch()
    outcome = verify(tree)
    assert outcome.faults == ()
    assert len(outcome.notes) == 2


def test_files_from_before_the_seals_are_noted_and_read(tmp_path: Path) -> None:
    tree = write_shards(tmp_path / "shards")
    content = json.loads((tree / "dataset.json").read_text())
    del content["seal"]
    (tree / "dataset.json").write_text(json.dumps(content, indent=2) + "\n")
    outcome = verify(tree)
    assert outcome.faults == ()
    assert "before there were seals" in outcome.notes[0]


def test_a_folder_of_none_of_these_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds neither pairs, alignments nor shards"):
        kind_of(tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        kind_of(tmp_path / "nowhere")


def test_if_nothing_is_sound_the_exit_code_is_that_of_failure(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("?")
    assert verify(tmp_path).exit_code == ExitCode.FAILURE


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def swap(a: Path, b: Path) -> None:
    spare = a.with_name("spare")
    a.rename(spare)
    b.rename(a)
    spare.rename(b)


def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examine in this process: a pool for each of a hundred verifications would take minutes."""
    monkeypatch.setattr(
        "deepflash.dataset.findings.run_all",
        lambda function, units, workers, report: [Outcome(unit, function(unit), None) for unit in units],
    )


@pytest.mark.parametrize("take", ["x" * 300, "../../..", 5])
def test_a_journal_that_names_no_takes_is_blamed(tmp_path: Path, take: object) -> None:
    raw = write_raw(tmp_path / "raw")
    session = next(raw.rglob("session.json"))
    write_sealed_json(session, {"format": 2, "attempts": [{"take": take, "pose": "frontal", "verdict": "good"}]})
    (fault,) = verify(raw).faults
    assert "is damaged: it lists no attempts" in str(fault)


def test_a_size_that_is_infinite_is_blamed(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    sidecar = next(raw.rglob("pair.json"))
    sidecar.write_text(re.sub(r'"size_bytes": \d+', '"size_bytes": 1e999', sidecar.read_text()))
    assert any("pair.json" in fault.path and "is damaged" in fault.what for fault in verify(raw).faults)
