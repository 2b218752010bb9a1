"""The private list of who is who."""

import stat
from pathlib import Path

import pytest

from deepflash.dataset.names import Name, erase_name, names_path, next_number, read_names, write_names
from deepflash.errors import DatasetError, DeepflashError

ANNA = Name("S001", "/photos", "Anna Bauer")
SAME = Name("S001", "/list.csv", "A. Bauer")
BO = Name("S002", "/photos", "小林\u0301")


def test_the_list_is_read_back_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    assert read_names(path) == []
    write_names(path, [ANNA, SAME, BO])
    assert read_names(path) == [ANNA, SAME, BO]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_person_is_erased_under_every_name(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    write_names(path, [ANNA, SAME, BO])
    assert erase_name(path, "S001")
    assert read_names(path) == [BO]
    assert b"Bauer" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not erase_name(path, "S001")


def test_the_list_stands_beside_the_tree_and_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_path(Path("raw")) == tmp_path / "raw-subjects.json"
    assert names_path(Path("data/raw/")) == tmp_path / "data" / "raw-subjects.json"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 9}',
        '{"format": 1}',
        '{"format": 1, "subjects": [{"id": "../x", "source": "", "word": ""}]}',
        "\udcff",
    ],
)
def test_a_damaged_list_is_refused_lest_somebody_get_the_id_of_somebody_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DeepflashError):
        read_names(path)


def test_a_list_of_another_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text('{"format": 9, "subjects": []}')
    with pytest.raises(DatasetError, match="another version of deepflash; update deepflash"):
        read_names(path)


def test_numbers_go_on_after_the_highest() -> None:
    assert next_number(set()) == 1
    assert next_number({"S999", "S1000", "Sx", "FAID-1", "s2000"}) == 1001
