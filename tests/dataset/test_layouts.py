"""The files of published data sets are known by their names."""

from pathlib import Path

import pytest

from deepflash.dataset.layouts import find_layout
from deepflash.errors import DatasetError

LAYOUTS = {
    "ebb": (
        ["Training/original/0.jpg", "Training/bokeh/0.jpg", "Training/original/1.jpg", "readme.txt"],
        [("EBB-Training-0", "original/0.jpg", "bokeh/0.jpg")],
        ["EBB-Training-1"],
    ),
    "dped": (
        [f"{phone}/training_data/{light}/7.jpg" for phone in ("iphone", "sony") for light in (phone, "canon")]
        + ["iphone/test_data/patches/iphone/7.jpg", "iphone/test_data/patches/canon/7.jpg"]
        + ["iphone/training_data/sony/7.jpg", "iphone/test_data/full_size_test_images/1.jpg"],
        [
            ("DPED-iphone-test-7", "iphone/7.jpg", "canon/7.jpg"),
            ("DPED-iphone-training-7", "iphone/7.jpg", "canon/7.jpg"),
            ("DPED-sony-training-7", "sony/7.jpg", "canon/7.jpg"),
        ],
        [],
    ),
    "deepflash": (
        ["a/inputs_origin/1.png", "a/target/1.jpg", "b/inputs_origin/1.png", "b/target/1.png", "inputs_origin/2.png"],
        [("DPD-a-1", "inputs_origin/1.png", "target/1.jpg"), ("DPD-b-1", "inputs_origin/1.png", "target/1.png")],
        ["DPD-2"],
    ),
    "faid": (
        ["People/People_001_ambient.png", "People/People_001_flash.png", "Toys_002_flash.png", "Toys_002_flashPhoto.png"],
        [("FAID-People_001", "People_001_flash.png", "People_001_ambient.png")],
        ["FAID-Toys_002"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_of_published_data_sets_are_put_together(tmp_path: Path, layout: str) -> None:
    files, expected, alone = LAYOUTS[layout]
    for name in files:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).touch()
    found = find_layout(tmp_path / "source", layout)
    assert sorted(each.subject for each in found.candidates) == [subject for subject, _, _ in expected]
    for candidate in found.candidates:
        _, flash, studio = next(entry for entry in expected if entry[0] == candidate.subject)
        assert candidate.flash.as_posix().endswith(flash)
        assert candidate.studio.as_posix().endswith(studio)
    assert [entry.item.partition("/")[0] for entry in found.set_aside] == alone


def test_a_part_of_a_published_data_set_is_understood(tmp_path: Path) -> None:
    for light in ("iphone", "canon"):
        (tmp_path / "iphone" / "training_data" / light).mkdir(parents=True)
        (tmp_path / "iphone" / "training_data" / light / "7.jpg").touch()
    assert [each.subject for each in find_layout(tmp_path / "iphone", "dped").candidates] == ["DPED-iphone-training-7"]


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no layout is called 'celeba'; known are deepflash, faid, ebb, dped"):
        find_layout(tmp_path, "celeba")
