"""Pairs are found, committed and read back whole; what is not a pair is set aside in a sentence."""

import dataclasses
import json
import os
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deepflash.errors import PairError
from deepflash.files import sha256_of
from deepflash.pairs import (
    Alignment,
    Face,
    Original,
    Pair,
    alignment_path,
    check_id,
    commit_originals,
    commit_pair,
    find_pairs,
    load_alignment,
    load_alignments,
    read_pair,
    save_alignment,
    take_folder,
)
from deepflash.pictures import encode

RECORD = {"subject": "S001", "session": "a", "take": "01", "pose": "frontal", "settle_s": 0.4}


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, Path]:
    """A flash and a studio photograph, somewhere else."""
    paths = (tmp_path / "card" / "1.jpg", tmp_path / "card" / "2.jpg")
    paths[0].parent.mkdir()
    for level, path in zip((80, 160), paths, strict=True):
        path.write_bytes(encode(np.full((20, 30, 3), level, np.uint8), ".jpg"))
    return paths


def commit(raw: Path, photographs: tuple[Path, Path], **changes: str) -> Pair:
    record = {**RECORD, **changes}
    folder = take_folder(raw, record["subject"], record["session"], record["take"])  # type: ignore[arg-type]
    return commit_pair(folder, *photographs, record)


def alignment(tmp_path: Path, **fields: Any) -> Alignment:
    known: dict[str, Any] = {
        "pair_id": "S001-a-01",
        "subject": "S001",
        "flash": tmp_path / "raw" / "S001" / "a" / "01" / "flash.jpg",
        "studio": tmp_path / "raw" / "S001" / "a" / "01" / "studio.jpg",
        "flash_sha256": "0" * 64,
        "studio_sha256": "1" * 64,
        "size": (3120, 4160),
        "studio_size": (3120, 4160),
        "moving_from_fixed": ((1.0, 0.01, -3.25), (-0.01, 1.0, 1 / 3)),
        "method": "mattes",
        "verdict": "good",
        "quality": {"shift_px": 2.5},
        "flash_face": Face((1.0, 2.0, 3.5, 4.0), {"nose_tip": [(2.0, 3.0)]}),
    }
    return Alignment(**{**known, **fields})


@pytest.mark.parametrize("value", ["", "../x", "a/b", "..", ".", "-rf", "_a", "a b", "a.b", "ä", "a\n", "x" * 33, "a\0"])
def test_ids_that_could_leave_their_folder_are_refused(value: str) -> None:
    with pytest.raises(PairError, match="is not a subject id; use 1 to 32 letters, digits, '_' or '-', such as S001"):
        check_id(value)


@given(value=st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=32))
def test_all_other_ids_make_a_folder_directly_below_the_root(value: str) -> None:
    if value[0] in "_-":
        return
    assert take_folder(Path("/raw"), value, value, value).relative_to("/raw").parts == (value, value, value)


@pytest.mark.parametrize("part", ["subject", "session", "take"])
def test_no_part_of_a_take_can_leave_the_raw_tree(part: str) -> None:
    ids = {"subject": "S001", "session": "a", "take": "01", part: "../x"}
    with pytest.raises(PairError, match=f"'../x' is not a {part} id"):
        take_folder(Path("/raw"), **ids)


def test_a_committed_pair_is_read_back_with_its_record_and_checksums(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    pair = commit(tmp_path / "raw", photographs)
    assert pair == read_pair(tmp_path / "raw" / "S001" / "a" / "01")
    assert (pair.id, pair.subject, pair.session, pair.take, pair.pose) == ("S001-a-01", "S001", "a", "01", "frontal")
    assert pair.record["settle_s"] == 0.4
    for source, copy, name in zip(photographs, (pair.flash, pair.studio), ("flash", "studio"), strict=True):
        assert copy.read_bytes() == source.read_bytes()
        assert pair.record["files"][name] == {"sha256": sha256_of(source), "size_bytes": source.stat().st_size}


def test_a_take_is_never_overwritten(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    first = commit(tmp_path / "raw", photographs)
    before = first.flash.read_bytes()
    with pytest.raises(PairError, match=r"01 exists already; a take is never overwritten"):
        commit(tmp_path / "raw", photographs[::-1])
    assert first.flash.read_bytes() == before
    assert [path.name for path in first.flash.parent.parent.iterdir()] == ["01"]


def test_a_pair_that_cannot_be_copied_leaves_nothing(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError):
        commit(tmp_path / "raw", (photographs[0], tmp_path / "missing.jpg"))
    assert list((tmp_path / "raw" / "S001" / "a").iterdir()) == []


def test_pairs_of_the_raw_layout_are_found_in_order_and_temporaries_are_not(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    raw = tmp_path / "raw"
    made = [
        commit(raw, photographs, subject=subject, take=take) for subject, take in (("S2", "01"), ("S1", "02"), ("S1", "01"))
    ]
    made[0].flash.parent.rename(made[0].flash.parent.with_name(".tmp-host-1-abc"))
    pairs, set_aside = find_pairs(raw)
    assert [pair.id for pair in pairs] == ["S1-a-01", "S1-a-02"]
    assert set_aside == []


SIDECAR_DAMAGE = {
    "cut short": (lambda text: text[: len(text) // 2], "pair.json is damaged"),
    "empty": (lambda text: "", "pair.json is damaged"),
    "not an object": (lambda text: "[1]", "has format None, this program reads 1 and 2; update deepflash"),
    "a later version": (lambda text: text.replace('"format": 1', '"format": 9'), "has format 9, this program reads 1 and 2"),
    "no subject": (lambda text: text.replace('"subject"', '"object"'), "pair.json lacks 'subject'"),
    "no checksums": (lambda text: text.replace('"studio"', '"lamp"'), "pair.json lacks 'studio'"),
    "a path as subject": (lambda text: text.replace('"S001"', '"../S001"'), "'../S001' is not a subject id"),
    "another size": (
        lambda text: text.replace('"size_bytes": ', '"size_bytes": 9'),
        r"flash.jpg has \d+ bytes, pair.json says 9",
    ),
}


@pytest.mark.parametrize("damage", SIDECAR_DAMAGE)
def test_a_damaged_sidecar_is_set_aside_and_the_other_pairs_are_found(
    tmp_path: Path, photographs: tuple[Path, Path], damage: str
) -> None:
    raw = tmp_path / "raw"
    commit(raw, photographs, take="02")
    sidecar = commit(raw, photographs).flash.with_name("pair.json")
    change, sentence = SIDECAR_DAMAGE[damage]
    sidecar.write_text(change(sidecar.read_text()))
    pairs, set_aside = find_pairs(raw)
    assert [pair.take for pair in pairs] == ["02"]
    assert [item.item for item in set_aside] == [os.path.join("S001", "a", "01")]  # noqa: PTH118
    with pytest.raises(PairError, match=sentence):
        read_pair(sidecar.parent)


def test_a_photograph_that_went_missing_or_short_is_named(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    pair = commit(tmp_path / "raw", photographs)
    pair.studio.write_bytes(pair.studio.read_bytes()[:-1])
    with pytest.raises(PairError, match=r"studio.jpg has \d+ bytes, pair.json says \d+; restore it"):
        read_pair(pair.studio.parent)
    pair.studio.unlink()
    with pytest.raises(PairError, match=r"studio.jpg is missing; restore it"):
        read_pair(pair.studio.parent)


def test_a_copied_take_is_set_aside_and_not_counted_twice(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    pair = commit(tmp_path / "raw", photographs)
    copy = pair.flash.parent.with_name("01 (copy)")
    copy.mkdir()
    for file in pair.flash.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    pairs, set_aside = find_pairs(tmp_path / "raw")
    assert [found.flash for found in pairs] == [pair.flash]
    assert "holds the same take as" in set_aside[0].reason


def test_pairs_by_file_name_are_found_and_what_has_no_partner_is_set_aside(tmp_path: Path) -> None:
    for name in ("10_flash.jpg", "10_studio.PNG", "2_flash.jpeg", "2_studio.jpg", "7_flash.jpg", "8_studio.jpg", "notes.txt"):
        (tmp_path / name).touch()
    for name in (".1_flash.jpg", "..x_flash.jpg", "3_flash.gif", "4_lamp.jpg"):
        (tmp_path / name).touch()
    pairs, set_aside = find_pairs(tmp_path)
    assert [(pair.id, pair.subject, pair.flash.name, pair.studio.name) for pair in pairs] == [
        ("10", "10", "10_flash.jpg", "10_studio.PNG"),
        ("2", "2", "2_flash.jpeg", "2_studio.jpg"),
    ]
    assert {item.item: item.reason.rpartition(os.sep)[2] for item in set_aside} == {
        "7": "7_studio.* is missing; a pair needs both photographs",
        "8": "8_flash.* is missing; a pair needs both photographs",
    }


@pytest.mark.parametrize("name", ["my face", "Müller", "1.2", "x" * 81, ""])
def test_a_pair_whose_name_is_no_id_is_set_aside_and_not_passed_over(tmp_path: Path, name: str) -> None:
    """in = done + skipped + set aside: whoever has photographs of such names must hear of it."""
    for light in ("flash", "studio"):
        (tmp_path / f"{name}_{light}.jpg").touch()
    pairs, set_aside = find_pairs(tmp_path)
    assert pairs == []
    assert [item.item for item in set_aside] == [name]
    assert "cannot name a pair; rename it with 1 to 80 letters, digits" in set_aside[0].reason


def test_two_photographs_for_one_place_are_not_chosen_between(tmp_path: Path) -> None:
    for name in ("1_flash.jpg", "1_flash.png", "1_studio.jpg"):
        (tmp_path / name).touch()
    pairs, set_aside = find_pairs(tmp_path)
    assert pairs == []
    assert set_aside[0].reason.endswith("1_flash stands for 1_flash.jpg and 1_flash.png; keep one of them")


def test_a_folder_without_pairs_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(PairError, match=r"holds no pairs; expected <subject>/<session>/<take>/pair.json or files NN_flash.jpg"):
        find_pairs(tmp_path)
    with pytest.raises(PairError, match="is not a folder"):
        find_pairs(tmp_path / "nowhere")


numbers = st.floats(-1e6, 1e6)
faces = st.none() | st.builds(
    Face,
    st.tuples(numbers, numbers, st.floats(1, 1e6), st.floats(1, 1e6)).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])),
    st.dictionaries(st.sampled_from(["left_eye", "nose_tip"]), st.lists(st.tuples(numbers, numbers), max_size=3)),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.tuples(st.floats(0.1, 10), numbers, numbers),
    flash_face=faces,
    studio_face=faces,
    reasons=st.lists(st.text(max_size=9)).map(tuple),
)
def test_an_alignment_is_read_back_exactly(
    tmp_path: Path,
    row: tuple[float, float, float],
    flash_face: Face | None,
    studio_face: Face | None,
    reasons: tuple[str, ...],
) -> None:
    stored = alignment(
        tmp_path, moving_from_fixed=(row, (0.0, 1.0, 2.0)), flash_face=flash_face, studio_face=studio_face, reasons=reasons
    )
    assert load_alignment(save_alignment(tmp_path / "aligned", stored)) == stored


def test_photographs_and_alignments_may_move_together(tmp_path: Path) -> None:
    save_alignment(tmp_path / "here" / "aligned", alignment(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    moved = load_alignment(alignment_path(tmp_path / "there" / "aligned", "S001-a-01"))
    assert moved.flash == tmp_path / "there" / "raw" / "S001" / "a" / "01" / "flash.jpg"


@pytest.mark.parametrize(
    "change",
    [
        {"moving_from_fixed": [[1, 0, 0]]},
        {"moving_from_fixed": [[1, 0], [0, 1]]},
        {"moving_from_fixed": [[1, 0, float("nan")], [0, 1, 0]]},
        {"moving_from_fixed": [[1, 0, "x"], [0, 1, 0]]},
        {"flash_face": {"box": [1, 2, 3], "landmarks": {}}},
        {"flash_face": {"landmarks": {}}},
        {"flash_face": {"box": [1, 2, 3, 4], "landmarks": []}},
        {"flash_face": {"box": [3, 2, 3, 4], "landmarks": {}}},
        {"flash_face": {"box": [1, 2, 3, float("nan")], "landmarks": {}}},
        {"moving_from_fixed": [[0, 0, 0], [0, 0, 0]]},
        {"size": None},
        {"size": ["a", "b"]},
        {"size": [0, 480]},
        {"studio_size": [640]},
        {"verdict": "great"},
        {"reasons": 3},
        {"quality": None},
        {"versions": None},
        {"flash": None},
        {"studio": "a\0b.jpg"},
        {"flash_sha256": 3},
        {"subject": "../x"},
        {"unknown": 1},
    ],
)
def test_an_alignment_with_nonsense_in_it_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save_alignment(tmp_path, alignment(tmp_path))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(PairError, match=r"S001-a-01.json is not an alignment .*; run align batch again"):
        load_alignment(path)


def test_a_copied_alignment_is_refused_so_that_no_pair_is_in_a_data_set_twice(tmp_path: Path) -> None:
    path = save_alignment(tmp_path, alignment(tmp_path))
    copy = path.with_name("S001-a-01 (copy).json")
    copy.write_bytes(path.read_bytes())
    with pytest.raises(PairError, match=r"\(copy\).json is the alignment of 'S001-a-01'; name it S001-a-01.json, or remove it"):
        load_alignment(copy)


def test_a_file_that_nests_too_deep_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(PairError, match=r"a.json is damaged"):
        load_alignment(tmp_path / "a.json")


def test_damaged_alignments_are_set_aside_and_the_others_come_sorted(tmp_path: Path) -> None:
    for pair_id in ("b", "a", "c"):
        save_alignment(tmp_path, dataclasses.replace(alignment(tmp_path), pair_id=pair_id))
    (tmp_path / "b.json").write_text('{"format": 1, ')
    alignments, set_aside = load_alignments(tmp_path)
    assert [entry.pair_id for entry in alignments] == ["a", "c"]
    assert [item.item for item in set_aside] == ["b"]


def test_a_folder_without_alignments_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(PairError, match="holds no alignments; run align batch RAW"):
            load_alignments(folder)


def test_further_files_stand_beside_the_pair_with_their_checksums(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    raw_file = tmp_path / "0.cr2"
    raw_file.write_bytes(b"II*\0" + bytes(1000))
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")

    pair = commit_pair(folder, *photographs, RECORD, beside={"studio.cr2": raw_file})

    assert (folder / "studio.cr2").read_bytes() == raw_file.read_bytes()
    assert pair.record["beside"] == {"studio.cr2": {"sha256": sha256_of(raw_file), "size_bytes": 1004}}
    assert find_pairs(tmp_path / "raw") == ([pair], [])


@pytest.mark.parametrize("name", ["../x.cr2", "a/b.cr2", ".cr2", "flash.jpg", "pair.json", "", "studio.cr2\n"])
def test_a_name_that_leads_elsewhere_or_is_taken_may_not_stand_beside_a_pair(
    tmp_path: Path, photographs: tuple[Path, Path], name: str
) -> None:
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")

    with pytest.raises(PairError, match="cannot stand beside a pair; use a name such as"):
        commit_pair(folder, *photographs, RECORD, beside={name: photographs[0]})
    assert not folder.exists()


@pytest.fixture
def originals(tmp_path: Path) -> dict[str, Original]:
    """A flash photograph in PNG and a studio photograph in WebP, somewhere else."""
    made = {}
    for light, suffix, level in (("flash", ".png", 80), ("studio", ".webp", 160)):
        path = tmp_path / "elsewhere" / f"{level}{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(path)
        made[light] = Original(path, sha256_of(path), suffix)
    return made


def test_originals_keep_their_format_in_the_raw_tree(tmp_path: Path, originals: dict[str, Original]) -> None:
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")
    pair = commit_originals(folder, record=RECORD, **originals)
    assert (pair.flash, pair.studio) == (folder / "flash.png", folder / "studio.webp")
    assert pair.flash.read_bytes() == originals["flash"].path.read_bytes()
    assert find_pairs(tmp_path / "raw") == ([pair], [])
    pair.studio.unlink()
    with pytest.raises(PairError, match=r"studio.webp is missing; restore it"):
        read_pair(folder)


def test_originals_by_reference_stay_where_they_are(tmp_path: Path, originals: dict[str, Original]) -> None:
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")
    pair = commit_originals(folder, record=RECORD, by_reference=True, **originals)
    assert [path.name for path in folder.iterdir()] == ["pair.json"]
    assert (pair.flash, pair.studio) == (originals["flash"].path, originals["studio"].path)
    assert find_pairs(tmp_path / "raw") == ([pair], [])
    pair.flash.write_bytes(b"shorter")
    with pytest.raises(PairError, match=r"elsewhere.80.png has 7 bytes, pair.json says \d+; restore it"):
        read_pair(folder)


def test_an_original_that_changed_since_it_was_examined_is_not_stored(tmp_path: Path, originals: dict[str, Original]) -> None:
    originals["flash"].path.write_bytes(b"another")
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")
    with pytest.raises(PairError, match=r"80.png changed while it was imported; import it again"):
        commit_originals(folder, record=RECORD, **originals)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    "facts", [{"name": "../../flash.png"}, {"name": "notes.txt"}, {"path": "elsewhere/80.png"}, {"name": 3}]
)
def test_a_sidecar_names_only_what_can_be_its_photograph(
    tmp_path: Path, originals: dict[str, Original], facts: dict[str, Any]
) -> None:
    folder = take_folder(tmp_path / "raw", "S001", "a", "01")
    commit_originals(folder, record=RECORD, **originals)
    content = json.loads((folder / "pair.json").read_text())
    content["files"]["flash"] = {"size_bytes": 1, **facts}
    (folder / "pair.json").write_text(json.dumps(content))
    with pytest.raises(PairError, match=r"pair.json (names .* as its flash photograph|lacks)"):
        read_pair(folder)
