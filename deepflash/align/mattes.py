"""Mattes mutual information, by SimpleITK: the robust, global step of the registration."""

# mypy: disable-error-code="no-untyped-call"
# (SimpleITK's wrappers are untyped.)

import numpy as np
import SimpleITK as sitk  # noqa: N813 (the field's habit)
from numpy.typing import NDArray

from deepflash.affine import Affine, apply
from deepflash.align.frame import Level

_BINS = 32
_SAMPLES = 20_000  # 40 iterations on them cost 0.18 s (reference: registration.md)
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
    The same on every run: one thread, a fixed seed.

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
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(_image(fixed, mask.astype(np.uint8)))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLES / len(rows)), _SEED)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step, minStep=step / 200, numberOfIterations=_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScales([radius**2] * 4 + [1.0, 1.0])
    method.SetInitialTransform(_transform(start, centre), inPlace=False)
    try:
        found = method.Execute(_image(fixed, fixed.plane), _image(moving, moving.plane))
    except RuntimeError:  # "All samples map outside moving image buffer" and its kin
        return None
    return _affine(sitk.AffineTransform(sitk.CompositeTransform(found).GetBackTransform()))


def _image(level: Level, plane: NDArray[np.float32] | NDArray[np.uint8]) -> sitk.Image:
    image = sitk.GetImageFromArray(plane)
    image.SetSpacing(level.spacing)
    image.SetOrigin(level.frame_from_pixel[:, 2].tolist())
    return image


def _transform(affine: Affine, centre: NDArray[np.float64]) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(2)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(affine[:, :2].ravel().tolist())
    transform.SetTranslation((apply(affine, centre[None])[0] - centre).tolist())
    return transform


def _affine(transform: sitk.AffineTransform) -> Affine:
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    centre = np.array(transform.GetCenter())
    return np.column_stack([linear, centre + np.array(transform.GetTranslation()) - linear @ centre])
