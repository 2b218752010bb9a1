"""Mattes mutual information, by SimpleITK: the robust, global step of the registration."""

# mypy: disable-error-code="no-untyped-call"
# (SimpleITK's wrappers are untyped.)

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the field's habit)
from numpy.typing import NDArray

from deepflash.affine import Affine, apply
from deepflash.align.frame import Level

_BINS = 32
_SAMPLES = 8_000  # 60 iterations on them cost 0.05 s; 20,000 come 0.3 px closer at thrice the cost, which the tiles level out
_SEED = 20_191  # any but 0, which means the clock
_ITERATIONS = 60


def maximise_mutual_information(
    fixed: Level, moving: Level, mask: NDArray[np.bool_], start: Affine, *, step: float
) -> Affine | None:
    """Find the affine map of the largest mutual information, from `start`, at one level of the pyramid.

    Parameters
    ----------
    fixed, moving
        (h, w) levels.
    mask
        (h, w) of `fixed`: where to compare; the map is centred and scaled on it.
    start
        (2, 3) map of the frame.
    step
        The first step of the descent in the frame: about the error of `start`.

    Returns
    -------
    (2, 3) map of the frame, or None where the pictures do not overlap or show too little to compare.
    The same on every run: one thread, whatever the process is set to, and a fixed seed.

    Notes
    -----
    Mattes et al. 2003, "PET-CT image registration in the chest using free-form deformations",
    doi:10.1109/TMI.2003.809072.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) < _BINS**2:
        return None
    centre = apply(fixed.frame_from_pixel, [[columns.mean(), rows.mean()]])[0]
    radius = float(np.hypot(columns.std() * fixed.spacing[0], rows.std() * fixed.spacing[1]))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(image_of(fixed, mask.astype(np.uint8)))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLES / len(rows)), _SEED)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step, minStep=step / 200, numberOfIterations=_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScales([radius**2] * 4 + [1.0, 1.0])
    method.SetInitialTransform(transform_of(start, centre), inPlace=False)
    try:
        found = method.Execute(image_of(fixed, fixed.plane), image_of(moving, moving.plane))
    except RuntimeError:  # "All samples map outside moving image buffer" and its kin
        return None
    return affine_of(found)


def image_of(level: Level, plane: NDArray[np.float32] | NDArray[np.uint8]) -> sitk.Image:
    """Return a plane of the level as a picture whose physical space is the frame."""
    image = sitk.GetImageFromArray(plane)
    image.SetSpacing(level.spacing)
    image.SetOrigin(level.frame_from_pixel[:, 2].tolist())
    return image


def transform_of(affine: Affine, centre: NDArray[np.float64]) -> sitk.AffineTransform:
    """Return a (2, 3) map of the frame as a transform about `centre`, on which its parameters depend least on each other."""
    transform = sitk.AffineTransform(2)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(affine[:, :2].ravel().tolist())
    transform.SetTranslation((apply(affine, centre[None])[0] - centre).tolist())
    return transform


def affine_of(found: sitk.Transform) -> Affine:
    """Return the (2, 3) map of the frame that a registration found."""
    transform = sitk.AffineTransform(sitk.CompositeTransform(found).GetBackTransform())
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    centre = np.array(transform.GetCenter())
    return np.column_stack([linear, centre + np.array(transform.GetTranslation()) - linear @ centre])
