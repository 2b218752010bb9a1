"""Photographs in a folder are put together by their names; whatever is no pair is told."""

import os
from pathlib import Path

import pytest

from deepflash.dataset.patterns import sorter_of
from deepflash.dataset.sources import Found, find_pairs_by, natural_order, safe_id
from deepflash.errors import DatasetError
from deepflash.pairs import check_id


def find(folder: Path, pattern: str = "{subject}/{pose}_{light}.*") -> Found:
    return find_pairs_by(sorter_of(pattern), folder, "pattern", f"as {pattern}")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_pairs_come_in_natural_order_with_what_their_names_say(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{subject}/{light}" for subject in ("10", "9") for light in ("a_flash.jpg", "a_studio.png")))
    touch(tmp_path, "9/.a_flash.jpg", ".hidden/a_flash.jpg", "9/._a_flash.jpg")
    found = find(tmp_path)
    assert [(pair.item, pair.subject, pair.pose) for pair in found.candidates] == [("9/a", "9", "a"), ("10/a", "10", "a")]
    assert found.candidates[0].flash == tmp_path / "9" / "a_flash.jpg"
    assert (found.set_aside, found.notes) == ([], [])


def test_what_lacks_a_partner_or_has_two_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, "a/x_flash.jpg", "b/x_studio.jpg", "c/x_flash.jpg", "c/x_flash.png", "c/x_ambient.jpg", "c/x_studio.jpg")
    touch(tmp_path, "d/x_flash.jpg", "d/x_studio.jpg")
    found = find(tmp_path)
    assert [pair.item for pair in found.candidates] == ["d/x"]
    reasons = {entry.item: entry.reason for entry in found.set_aside}
    assert reasons["a/x"] == "a/x_flash.jpg has no studio photograph to it; a pair needs both"
    assert reasons["b/x"] == "b/x_studio.jpg has no flash photograph to it; a pair needs both"
    assert "c/x_flash.jpg and c/x_flash.png would both be its flash photograph" in reasons["c/x"]
    assert "c/x_ambient.jpg and c/x_studio.jpg would both be its studio photograph" in reasons["c/x"]


def test_links_to_folders_are_told_and_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/x_flash.jpg", "a/x_studio.jpg", "notes.txt", "more.txt")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = find(tmp_path)
    assert [pair.item for pair in found.candidates] == ["a/x"]
    assert found.notes == [
        "2 files are not named as {subject}/{pose}_{light}.*; left out: more.txt and so on",
        "2 folders are reached by a link, which is not followed; give its true place; left out: a/loop and so on",
    ]


def test_names_in_any_bytes_and_any_script_are_paired(tmp_path: Path) -> None:
    for name in (b"Ren\xe9", "Rene\u0301e".encode(), "小林 ゆみ".encode(), b"a\nb"):
        touch(tmp_path / os.fsdecode(name), "x_flash.jpg", "x_studio.jpg")
    found = find(tmp_path)
    assert {pair.item for pair in found.candidates} == {"Ren\\udce9/x", "Renée/x", "小林 ゆみ/x", "a\\nb/x"}
    assert all(pair.flash.exists() and pair.studio.exists() for pair in found.candidates)


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "Mu\u0308ller/x_flash.jpg", "M\u00fcller/x_studio.jpg")
    assert [pair.subject for pair in find(tmp_path).candidates] == ["Müller"]


def test_a_folder_in_which_nothing_fits_is_refused_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"no file in .* is named as {subject}.*; it holds no files"):
        find(tmp_path)
    touch(tmp_path, "anna-flash.jpg")
    with pytest.raises(DatasetError, match=r"the first file there is anna-flash.jpg"):
        find(tmp_path)


@pytest.mark.parametrize("word", ["a b", "ä", "../x", "x" * 40, "a/b", "-a", "_a", "a.", "", " ", "a\0", "\udcff", "小"])
def test_any_word_becomes_an_id_of_its_own(word: str) -> None:
    ids = {safe_id(each) for each in (word, word + "a", word + "?", word + "!")}
    assert len(ids) == 4
    assert all(check_id(each) for each in ids if each)


def test_numbers_are_ordered_as_numbers() -> None:
    assert sorted(["10", "9", "9a", "a2", "a10", "1/b", "²"], key=natural_order) == ["1/b", "9", "9a", "10", "a2", "a10", "²"]
