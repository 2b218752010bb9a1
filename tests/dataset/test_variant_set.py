"""A researcher changes the variants without code, and a slip in the file is said in a sentence."""

from pathlib import Path

import pytest

from deepflash.dataset.variant_set import Variant, load_variants, paper_variants
from deepflash.errors import DatasetError

FILE = """
face_enlargement = 2
[[variants]]
frames = ["wide"]
mirrored = [false]
angles_deg = [0]
[[variants]]
frames = ["face"]
mirrored = [false, true]
angles_deg = [-7.5, 15.0]
"""


def test_tables_are_multiplied_out_and_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILE)
    mine = load_variants(tmp_path / "mine.toml")
    assert mine.face_enlargement == 2
    assert mine.variants == (
        Variant(0, "wide", False),
        Variant(-7.5, "face", False),
        Variant(15, "face", False),
        Variant(-7.5, "face", True),
        Variant(15, "face", True),
    )
    assert repr(mine.variants[2].angle_deg) == "15"  # 15.0 is the same angle and must give the same bytes


def test_the_shipped_file_is_the_papers_set_and_may_be_copied(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "deepflash" / "dataset" / "variants.toml"
    (tmp_path / "copy.toml").write_bytes(shipped.read_bytes())
    assert load_variants(tmp_path / "copy.toml") == paper_variants()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("face_enlargement = 2", "", "the file lacks face_enlargement; add it"),
        ("face_enlargement = 2", "face_enlargement = 20", "face_enlargement is 20.0; it must be from 0.5 to 4.0"),
        ("face_enlargement = 2", 'face_enlargement = "2"', "face_enlargement has '2', which is no number"),
        ("face_enlargement = 2", "face_enlargement = 2\nsize = 3", "the file has an unknown key 'size'; known are"),
        ('frames = ["face"]', 'frames = ["crop"]', "frames has 'crop'; choose from wide, face"),
        ("mirrored = [false, true]", "mirrored = [0, 1]", "mirrored has 0; choose from false, true"),
        ("mirrored = [false, true]", "", r"a table \[\[variants\]\] lacks mirrored; add it"),
        ("[-7.5, 15.0]", "[200]", "angles_deg has 200.0; angles are from -180 to 180 degrees"),
        ("[-7.5, 15.0]", "[]", r"angles_deg is \[\]; it must be a list of at least one value"),
        ("[-7.5, 15.0]", "[5, 5.0]", "the variant 5 degrees, face, not mirrored is declared twice"),
        ("[-7.5, 15.0]", str(list(range(60))), "121 variants are declared; 100 is the most"),
        ("angles_deg = [0]", "angles_deg = [1]", "the photograph as it was taken .* is not among the variants; add it"),
        ("[[variants]]", "[[variants]", "mine.toml: "),
    ],
)
def test_a_slip_is_said_in_a_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in FILE
    (tmp_path / "mine.toml").write_text(FILE.replace(old, new))
    with pytest.raises(DatasetError, match=sentence) as caught:
        load_variants(tmp_path / "mine.toml")
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))


def test_variants_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("face_enlargement = 1\nvariants = 3\n")
    with pytest.raises(DatasetError, match=r"variants must be tables; begin each with \[\[variants\]\]"):
        load_variants(tmp_path / "mine.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.toml does not exist; give a TOML file that declares variants"):
        load_variants(tmp_path / "none.toml")
