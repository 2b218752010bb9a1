"""Made bokeh: discs in linear light, no colour of the sitter behind him, and who is who on two public portraits."""

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from skimage import data

from deepflash.dataset.portrait_bokeh import subject_matte, with_bokeh, write_bokeh_pairs
from deepflash.faces import find_subject
from deepflash.pictures import Picture, encode, read_rgb

HOPPER = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def test_a_point_of_light_becomes_a_disc_of_the_same_light() -> None:
    picture = np.zeros((61, 61, 3), np.uint8)
    picture[28:33, 28:33] = 255
    found = with_bokeh(picture, np.zeros((61, 61), np.float32), radius_px=8)
    light = (found[..., 0] / 255.0) ** 2.2
    assert light.sum() == pytest.approx(25, rel=0.03)  # rounded to 8 bits
    assert np.ptp(light[26:35, 26:35]) < 0.01  # flat, not like a Gaussian
    far = np.hypot(*(np.mgrid[:61, :61] - 30)) > 8.5 + 2.9
    assert found[far].max() == 0


def test_what_is_the_sitter_stays_and_colours_nothing_behind() -> None:
    picture = np.zeros((80, 100, 3), np.uint8)
    picture[:] = (20, 60, 200)
    picture[20:, 30:70] = (250, 40, 30)
    matte = np.zeros((80, 100), np.float32)
    matte[20:, 30:70] = 1
    assert np.array_equal(with_bokeh(picture, matte, radius_px=12), picture)  # what is flat stays, up to the edge


def test_the_background_loses_its_detail() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    matte = np.zeros((200, 200), np.float32)
    matte[50:150, 50:150] = 1
    found = with_bokeh(picture, matte)
    assert np.array_equal(found[60:140, 60:140], picture[60:140, 60:140])
    assert found[:40].std() < picture[:40].std() / 4


@pytest.mark.parametrize(
    ("picture", "sitter", "behind"),
    [
        (data.astronaut(), [(220, 120), (200, 300), (230, 60)], [(400, 100), (20, 60), (330, 30), (130, 60)]),
        (read_rgb(HOPPER), [(260, 220), (260, 500), (256, 60)], [(30, 100), (450, 100), (480, 250), (60, 250)]),
    ],
    ids=["astronaut", "hopper"],
)
def test_who_sits_is_told_from_what_is_behind(
    picture: Picture, sitter: list[tuple[int, int]], behind: list[tuple[int, int]]
) -> None:
    """At points (x, y) that a person chose: face, clothes, hair; flag, wall, rocket."""
    matte = subject_matte(picture, find_subject(picture)[0])
    assert matte.shape == picture.shape[:2]
    assert 0 <= matte.min() <= matte.max() <= 1
    assert all(matte[y, x] > 0.95 for x, y in sitter)
    assert all(matte[y, x] < 0.05 for x, y in behind)
    assert np.array_equal(matte, subject_matte(picture, find_subject(picture)[0]))


def test_pairs_are_laid_out_as_ebb_and_made_once(tmp_path: Path) -> None:
    photos = [tmp_path / "hopper.jpg", tmp_path / "wall.png", tmp_path / "broken.jpg"]
    photos[0].write_bytes(encode(cv2.resize(read_rgb(HOPPER), (256, 300), interpolation=cv2.INTER_AREA), ".jpg"))
    photos[1].write_bytes(encode(np.full((128, 128, 3), 90, np.uint8), ".png"))
    photos[2].write_bytes(b"no picture")
    photos.append(tmp_path / "others" / "hopper.png")
    account = write_bokeh_pairs(photos, tmp_path / "ebb")
    assert (account.done, account.skipped) == (1, 0)
    assert [entry.item for entry in account.set_aside] == [str(photo) for photo in photos[1:]]
    assert "no face is seen" in account.set_aside[0].reason
    assert "another portrait is called hopper too" in account.set_aside[2].reason
    sharp, soft = (read_rgb(tmp_path / "ebb" / part / "hopper.jpg") for part in ("original", "bokeh"))
    difference = np.abs(sharp.astype(int) - soft).mean(axis=2)
    assert difference[100:150, 100:150].mean() < 3  # her face, in JPEG twice
    assert difference[:60, :60].mean() > 20  # the flag
    again = write_bokeh_pairs(photos[:1], tmp_path / "ebb")
    assert (again.done, again.skipped) == (0, 1)
