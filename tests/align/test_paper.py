"""The paper's registration: SimpleITK's with the toolbox's numbers, and what it can and cannot do."""

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from deepflash.affine import IDENTITY
from deepflash.align.registration import register
from deepflash.pictures import Picture

from .sitters import face_of, mean_error, moved, pair_of, portrait

WIDTH = 240
SMALL_MOTION = np.array([[1.01, 0.015, 3.0], [-0.01, 0.995, -4.0]])


def test_a_known_motion_is_found_although_bright_and_dark_are_exchanged() -> None:
    """Mutual information asks only that the one picture says what the other shows."""
    picture = portrait("hopper", WIDTH)

    registration = register(255 - picture, moved(picture, SMALL_MOTION), fixed_face=None, moving_face=None, method="paper")

    face = face_of("hopper", WIDTH)
    assert registration.method == "paper"
    assert mean_error(registration.moving_from_fixed, SMALL_MOTION, face) < 1.0
    assert mean_error(IDENTITY, SMALL_MOTION, face) > 4.0


def test_it_is_what_simpleitk_finds_with_the_toolboxs_numbers() -> None:
    flash, studio, _ = pair_of("hopper", 3, WIDTH)

    ours = register(flash, studio, fixed_face=None, moving_face=None, method="paper").moving_from_fixed

    np.testing.assert_allclose(ours, _plainly(flash, studio), atol=1e-4)


def _plainly(flash: Picture, studio: Picture) -> np.ndarray:
    """Return the map by SimpleITK in plain pixels: parameters in units of a width, the origin in the picture's middle."""
    fixed, moving = (
        sitk.Cast(sitk.GetImageFromArray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)), sitk.sitkFloat32) / 255
        for picture in (flash, studio)
    )
    width, height = fixed.GetSize()
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetOptimizerAsOnePlusOneEvolutionary(100, epsilon=1.5e-6, initialRadius=6.25e-3, growthFactor=1.05, seed=20_191)
    method.SetOptimizerScales([1, 1, 1, 1, 1 / width, 1 / width])
    start = sitk.AffineTransform(2)
    start.SetCenter([(width - 1) / 2, (height - 1) / 2])
    method.SetInitialTransform(start)
    method.Execute(fixed, moving)
    origin = np.array(start.TransformPoint((0.0, 0.0)))
    columns = [np.array(start.TransformPoint(point)) - origin for point in ((1.0, 0.0), (0.0, 1.0))]
    return np.column_stack([*columns, origin])


def test_pictures_of_one_gray_stay_where_they_are() -> None:
    gray = np.full((200, 200), 128, np.uint8)

    registration = register(gray, gray, fixed_face=None, moving_face=None, method="paper")

    assert np.isfinite(registration.moving_from_fixed).all()
    assert registration.fixed_from_moving is None


@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_not_our_default_for_a_reason(seed: int) -> None:
    """In the light of a flash its answer lies farther off than that of `refined`."""
    flash, studio, truth = pair_of("astronaut", seed, WIDTH)
    face = face_of("astronaut", WIDTH)

    published, refined = (
        mean_error(register(flash, studio, fixed_face=face, moving_face=None, method=method).moving_from_fixed, truth, face)
        for method in ("paper", "refined")
    )

    assert refined < published
