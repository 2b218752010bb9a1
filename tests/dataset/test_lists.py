"""Lists of pairs, from whoever wrote them."""

from pathlib import Path
from typing import Any

import pytest

from deepflash.dataset.lists import read_list
from deepflash.errors import DatasetError


def written(folder: Path, text: str | bytes, name: str = "pairs.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_row_is_a_pair_with_what_it_says(tmp_path: Path, delimiter: str) -> None:
    lines = [
        ["Flash", "studio", "subject", "pose", "consent", "remark"],
        ["a/1.jpg", "a/2.jpg", "Anna", "left", "form 12", '"two\nlines"'],
        [],
        ["b 1.jpg", "b2.jpg", "小林", "", "", ""],
    ]
    text = "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines)
    found = read_list(written(tmp_path, text))
    assert found.set_aside == []
    first, second = found.candidates
    assert (first.item, first.flash, first.studio) == ("pairs.csv, line 3", tmp_path / "a" / "1.jpg", tmp_path / "a" / "2.jpg")
    assert (first.subject, first.pose, first.consent, first.take) == ("Anna", "left", "form 12", "")
    assert (second.subject, second.flash) == ("小林", tmp_path / "b 1.jpg")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "../a.jpg,b.jpg,Anna",
            "its flash photograph '../a.jpg' lies outside the list's folder; write the path relative to it",
        ),
        ("a.jpg,/etc/passwd,Anna", "its studio photograph '/etc/passwd' lies outside"),
        ("a/../../b.jpg,b.jpg,Anna", "lies outside"),
        ("C:\\a.jpg,b.jpg,Anna", "lies outside"),
        ("a\0.jpg,b.jpg,Anna", "lies outside"),
        (",b.jpg,Anna", "its flash is empty; fill it in"),
        ("a.jpg,b.jpg, ", "its subject is empty"),
        ("a.jpg,b.jpg", "it has 2 fields and the first line 3; mend the line"),
        ("a.jpg,b.jpg,Anna,x", "it has 4 fields and the first line 3"),
    ],
)
def test_a_row_that_is_no_pair_is_set_aside_and_the_rest_goes_on(tmp_path: Path, row: str, reason: str) -> None:
    found = read_list(written(tmp_path, f"flash,studio,subject\n{row}\nc.jpg,d.jpg,Bo\n"))
    assert [pair.subject for pair in found.candidates] == ["Bo"]
    (entry,) = found.set_aside
    assert entry.item == "pairs.csv, line 2"
    assert reason in entry.reason


def test_the_paths_may_be_relative_to_another_folder(tmp_path: Path) -> None:
    found = read_list(written(tmp_path, "flash,studio,subject\na.jpg,b.jpg,Anna\n"), root=tmp_path / "elsewhere")
    assert found.candidates[0].flash == tmp_path / "elsewhere" / "a.jpg"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flash,studio\na,b\n", "has no column subject; its first line must name flash, studio, subject"),
        ("", "has no column flash and none studio and none subject"),
        ("flash,studio,subject,flash\n", "has the column flash twice"),
        ("flash,studio,subject\n", "holds no rows"),
        ("flash,studio,subject\na,b,Ren\xe9\n".encode("latin-1"), "is not UTF-8 .*; save it as UTF-8"),
        ('flash,studio,subject\n"a,b,c\n', "is damaged at line"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read_list(written(tmp_path, text))


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a file; give a list of pairs"):
        read_list(tmp_path / "none.csv")


def test_a_parquet_list_is_read_as_a_csv_would_be(tmp_path: Path) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed (deepflash[parquet])")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    columns = {"Flash": ["a.jpg", None, "../c.jpg"], "studio": ["b.jpg"] * 3, "subject": [7, 8, 9], "embedding": [[1.0]] * 3}
    parquet.write_table(pyarrow.table(columns), tmp_path / "pairs.parquet")
    found = read_list(tmp_path / "pairs.parquet")
    (pair,) = found.candidates
    assert (pair.item, pair.subject, pair.flash) == ("pairs.parquet, row 1", "7", tmp_path / "a.jpg")
    assert [entry.reason.partition(";")[0] for entry in found.set_aside] == [
        "its flash is empty",
        "its flash photograph '../c.jpg' lies outside the list's folder",
    ]
    parquet.write_table(pyarrow.table({"flash": ["a"]}), tmp_path / "pairs.parquet")
    with pytest.raises(DatasetError, match="has no column studio and none subject"):
        read_list(tmp_path / "pairs.parquet")
    with pytest.raises(DatasetError, match="is not a readable Parquet file"):
        read_list(written(tmp_path, b"PAR1 or not", "damaged.parquet"))


def test_without_pyarrow_a_parquet_list_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r"needs pyarrow; run pip install 'deepflash\[parquet\]', or save the list as .csv"):
        read_list(written(tmp_path, b"PAR1", "pairs.parquet"))
