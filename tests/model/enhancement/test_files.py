"""Folders of portraits: names, what is skipped, what is set aside, what is written."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from deepflash.accounts import SetAside
from deepflash.errors import PictureError
from deepflash.model.enhancement.files import Results, enhance_files, result_names
from deepflash.model.enhancement.look import Look
from deepflash.pictures import Picture, encode, read_rgb

WHOLE = Look(whole=True)


@pytest.fixture
def photo_at(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photograph(90, 120), ".png" if name.lower().endswith("png") else ".jpg"))
        return path

    return make


def photograph(width: int, height: int) -> Picture:
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def test_files_are_enhanced_set_aside_and_accounted_for(
    finished: Path, tmp_path: Path, photo_at: Callable[[str], Path]
) -> None:
    photos = [photo_at(name) for name in ("one.jpg", "two.PNG", "grey.jpg", "broken.jpg", "again/one.jpg")]
    photos[2].write_bytes(encode(photograph(90, 120)[..., 0], ".jpg"))
    photos[3].write_bytes(photos[0].read_bytes()[:500])
    calls: list[tuple[int, int, str]] = []

    account = enhance_files(photos, finished, Results(tmp_path / "out"), WHOLE, report=lambda *call: calls.append(call))

    assert account.sentence() == "5 photographs in = 4 done + 0 skipped + 1 set aside"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "again-one.jpg",
        "grey.jpg",
        "photos-one.jpg",
        "two.png",
    ]
    assert read_rgb(tmp_path / "out/two.png").shape == (120, 90, 3)
    assert "broken.jpg is truncated" in account.set_aside[0].reason
    assert calls[-1] == (5, 5, "one.jpg")


@pytest.mark.parametrize(
    ("photos", "names"),
    [
        (["a.jpg", "b.JPEG", "c.tiff", "d.webp", "e.PNG", "f.heic"], ["a.jpg", "b.jpg", "c.tif", "d.webp", "e.png", "f.jpg"]),
        (["x/a.jpg", "x/a.png"], ["a.jpg", "a.png"]),
        (["x/a.jpg", "x/a.heic", "x/A.jpeg"], ["a.jpg.jpg", "a.heic.jpg", "A.jpeg.jpg"]),
        (["S1/3/flash.jpg", "S1/4/flash.jpg", "S2/3/flash.jpg"], ["S1-3-flash.jpg", "4-flash.jpg", "S2-3-flash.jpg"]),
        (["x/a.jpg", "y/a.jpg", "x-a.jpg"], ["x-a.jpg", "y-a.jpg", "x-a.jpg"]),
    ],
)
def test_portraits_are_named_apart(photos: list[str], names: list[str], tmp_path: Path) -> None:
    found = result_names([tmp_path / "in" / photo for photo in photos])
    if photos[-1] == "x-a.jpg":  # a name that folders make can be another's own
        assert len(set(found)) == 3
    else:
        assert found == names
    assert result_names([tmp_path / "in" / photo for photo in reversed(photos)]) == found[::-1]


def test_a_photograph_given_twice_is_enhanced_once(finished: Path, tmp_path: Path, photo_at: Callable[[str], Path]) -> None:
    photo = photo_at("one.jpg")
    account = enhance_files([photo, photo.parent / "../photos/one.jpg"], finished, Results(tmp_path / "out"), WHOLE)
    assert (account.done, account.skipped) == (1, 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.jpg"]


def test_existing_results_are_skipped_unless_forced(finished: Path, tmp_path: Path, photo_at: Callable[[str], Path]) -> None:
    photo, out = photo_at("one.png"), tmp_path / "out"
    assert enhance_files([photo], finished, Results(out), WHOLE).done == 1
    (out / "one.png").write_bytes(b"retouched by hand")
    assert enhance_files([photo], finished, Results(out), WHOLE).skipped == 1
    account = enhance_files([photo], finished, Results(out, compare="split"), WHOLE)
    assert (account.done, (out / "one.png").read_bytes()) == (1, b"retouched by hand")
    assert read_rgb(out / "one.png.compare.jpg").shape == (120, 90, 3)
    assert enhance_files([photo], finished, Results(out, force=True), WHOLE).done == 1
    assert read_rgb(out / "one.png").shape == (120, 90, 3)


def test_a_photograph_is_never_replaced_by_its_result(finished: Path, photo_at: Callable[[str], Path]) -> None:
    photo = photo_at("one.png")
    before = photo.read_bytes()
    account = enhance_files([photo], finished, Results(photo.parent, force=True), WHOLE)
    assert account.set_aside == [SetAside(str(photo), "its result would replace it; choose another output folder")]
    assert photo.read_bytes() == before


def test_no_face_is_a_sentence_that_says_what_to_do(finished: Path, tmp_path: Path) -> None:
    Image.new("RGB", (160, 120), "white").save(tmp_path / "screen.png")
    account = enhance_files([tmp_path / "screen.png"], finished, Results(tmp_path / "out"))
    assert [aside.reason for aside in account.set_aside] == [
        "no face was found in the photograph; turn it if it is not upright; --whole treats the entire picture"
    ]


def test_a_mask_is_read_from_a_file(finished: Path, tmp_path: Path, photo_at: Callable[[str], Path]) -> None:
    Image.new("L", (45, 60), 0).save(tmp_path / "mask.png")
    photo = photo_at("one.png")
    enhance_files([photo], finished, Results(tmp_path / "out"), WHOLE, mask=tmp_path / "mask.png")
    assert np.array_equal(read_rgb(tmp_path / "out/one.png"), read_rgb(photo))
    with pytest.raises(PictureError, match="does not exist"):
        enhance_files([photo], finished, Results(tmp_path / "out"), WHOLE, mask=tmp_path / "none.png")


def test_a_file_in_the_place_of_the_output_folder_is_a_sentence(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(PictureError, match="is a file; give a folder"):
        enhance_files([], finished, Results(tmp_path / "out"))
