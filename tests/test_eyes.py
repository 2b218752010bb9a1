"""Eyes that are open in one photograph and shut in the other are noticed, whatever the light."""

import numpy as np
import pytest

from deepflash.affine import Affine
from deepflash.eyes import Comparison, compare_eyes
from deepflash.faces import find_faces
from deepflash.hardware.emulator import scene as emulated_scene
from deepflash.hardware.emulator.scene import Scene, true_moving_from_fixed
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.pairs import Face
from deepflash.pictures import Picture

SIZE = (780, 1040)


@pytest.fixture(scope="module", params=["S001", "S002"])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(load_sitter(SitterChoice(request.param)), SIZE, 0)


def photographed(scene: Scene, flash_shut: bool, studio_shut: bool) -> tuple[Picture, Picture, Affine]:
    """Return flash and studio photograph of the emulated studio, and the true map."""
    pictures, truths = [], []
    for shot, (lamps, flash, shut) in enumerate(((1.0, False, studio_shut), (0.007, True, flash_shut))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(emulated_scene, "_blinks", lambda _seed, _shot, shut=shut: shut)
            picture, truth = scene.render(shot, lamps, flash)
        pictures.append(picture)
        truths.append(truth)
    return pictures[1], pictures[0], np.asarray(true_moving_from_fixed(*truths))


def compared(flash: Picture, studio: Picture, affine: Affine) -> Comparison:
    found = compare_eyes(flash, studio, find_faces(flash)[0], affine)
    assert found is not None
    return found


@pytest.mark.parametrize(("flash_shut", "studio_shut"), [(True, False), (False, True)])
def test_eyes_shut_in_one_photograph_are_noticed(scene: Scene, flash_shut: bool, studio_shut: bool) -> None:
    found = compared(*photographed(scene, flash_shut, studio_shut))

    assert found.differ
    assert found.shut == ("flash" if flash_shut else "studio")


def test_open_eyes_under_lamps_and_flash_are_alike(scene: Scene) -> None:
    found = compared(*photographed(scene, False, False))

    assert not found.differ
    assert found.likeness > 0.6


def test_a_photograph_is_like_itself_and_a_face_without_eyes_cannot_be_compared(scene: Scene) -> None:
    flash, _, _ = photographed(scene, False, False)

    assert compared(flash, flash, np.eye(2, 3)).likeness == pytest.approx(1, abs=1e-4)
    assert compare_eyes(flash, flash, Face((100, 100, 300, 300)), np.eye(2, 3)) is None
