"""Portraits from Python, against the enhancer that the command line uses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

import deepflash
from deepflash.errors import ModelError, PictureError
from deepflash.model.enhancement.look import Look
from deepflash.model.recipe import Recipe
from deepflash.pictures import Picture
from tests.model.tiny_run import write_run

WHOLE = Look(whole=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("portraits") / "run", Recipe(width=0.0625, size=32))


def photograph(width: int = 90, height: int = 120) -> Picture:
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def test_a_folder_as_text_a_path_and_a_loaded_run_give_the_same_portrait(run: Path) -> None:
    enhancer = deepflash.load_enhancer(run)
    wanted = enhancer.enhance_picture(photograph(), WHOLE)
    assert not np.array_equal(wanted, photograph())
    for source in (str(run), run, enhancer):
        assert np.array_equal(deepflash.enhance(photograph(), source, whole=True), wanted)


def test_options_are_those_of_the_look(run: Path) -> None:
    enhancer, photo = deepflash.load_enhancer(run), photograph()
    assert np.array_equal(deepflash.enhance(photo, enhancer, whole=True, strength=0), photo)
    half = deepflash.enhance(photo, enhancer, whole=True, strength=0.5, background="enhance")
    assert np.array_equal(half, enhancer.enhance_picture(photo, Look(whole=True, strength=0.5, background="enhance")))
    with pytest.raises(ModelError, match="strength"):
        deepflash.enhance(photo, enhancer, strength=2)
    with pytest.raises(ModelError, match="background 'beach' is none"):
        deepflash.enhance(photo, enhancer, background="beach")


def test_the_picture_itself_is_not_changed_and_sixteen_bits_stay(run: Path) -> None:
    photo = photograph()
    before = photo.copy()
    deepflash.enhance(photo, run, whole=True)
    assert np.array_equal(photo, before)
    assert deepflash.enhance(photo.astype(np.uint16) * 257, run, whole=True).dtype == np.uint16


def test_a_picture_without_a_face_is_a_sentence_that_can_be_caught(run: Path) -> None:
    with pytest.raises(deepflash.DeepflashError, match="no face was found"):
        deepflash.enhance(np.full((80, 80, 3), 90, np.uint8), run)


def test_many_pictures_of_any_sizes_go_through_one_object(run: Path) -> None:
    photos = [photograph(), photograph(50, 40)]
    portraits = deepflash.Portraits(run, whole=True).fit(photos).transform(photos)
    assert [portrait.shape for portrait in portraits] == [photo.shape for photo in photos]
    assert all(np.array_equal(a, deepflash.enhance(b, run, whole=True)) for a, b in zip(portraits, photos, strict=True))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_array_of_pictures_becomes_an_array(run: Path, count: int) -> None:
    photos = np.empty((count, 40, 50, 3), np.uint8)
    photos[:] = photograph(50, 40)
    portraits = deepflash.Portraits(run, whole=True).fit_transform(photos)
    assert isinstance(portraits, np.ndarray)
    assert (portraits.shape, portraits.dtype) == (photos.shape, np.uint8)


def test_a_picture_that_cannot_be_used_is_named_by_its_place(run: Path) -> None:
    with pytest.raises(PictureError, match=r"images\[1\]: a photograph must be \(H, W, 3\)"):
        deepflash.Portraits(run, whole=True).transform([photograph(), np.zeros((4, 4), np.uint8)])


def test_options_can_be_read_and_changed_as_scikit_learn_does(run: Path, tmp_path: Path) -> None:
    portraits = deepflash.Portraits(run, whole=True)
    options = portraits.get_params()
    assert options == {
        "run": run, "strength": 1.0, "background": "keep", "red_eye": True, "whole": True, "device": None,
    }  # fmt: skip
    assert deepflash.Portraits(**options) == portraits
    photo = photograph()
    changed = portraits.transform([photo])[0]
    assert np.array_equal(portraits.set_params(strength=0.0).transform([photo])[0], photo)
    other = write_run(tmp_path / "run", Recipe(width=0.0625, size=32, seed=3))
    again = portraits.set_params(run=other, strength=1.0).transform([photo])[0]
    assert np.array_equal(again, deepflash.enhance(photo, other, whole=True))
    assert not np.array_equal(again, changed)
    with pytest.raises(ValueError, match="there are no options strenght; there are run, strength"):
        portraits.set_params(strenght=1)


def test_it_stands_in_a_pipeline(run: Path) -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed; nothing of ours needs it")
    pipeline = pytest.importorskip("sklearn.pipeline")
    photos = photograph()[None]
    steps = pipeline.make_pipeline(base.clone(deepflash.Portraits(run, whole=True)))
    assert np.array_equal(steps.fit(photos).transform(photos)[0], deepflash.enhance(photos[0], run, whole=True))
    steps.set_params(portraits__strength=0.0)
    assert np.array_equal(steps.transform(photos), photos)
