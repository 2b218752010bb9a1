"""Other people's ways to register two photographs, each in the configuration one would try, behind one signature.

Every method gets what ours gets - both photographs and the faces found in them - and starts from the shift between the
faces, or from a phase correlation where there is none. All compare grey copies 780 px wide (features: 1040 px). None
uses code of `deepflash.align`. Libraries are imported where they are used, so that the memory of one method does not
count what another needs.

Convention: maps are (2, 3), from pixels of the flash (fixed) to pixels of the studio photograph (moving), (0, 0) being
the centre of the top-left pixel.
"""

# ruff: noqa: PLC0415 (see above)

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import IDENTITY, Affine, compose, inverse, scaling
from deepflash.pairs import Face
from deepflash.pictures import Picture

Plane = NDArray[np.float32]

WIDTH_PX = 780
FEATURES_WIDTH_PX = 1040
_SEED = 1
_ECC_WIDTHS_PX = (195, 390, 780)


class NoAnswerError(Exception):
    """The method says itself that it found nothing; the sentence says why."""


@dataclass(frozen=True)
class Task:
    """What a method may know: two photographs, (H, W, 3) RGB `uint8`, and the faces found in them."""

    flash: Picture
    studio: Picture
    flash_face: Face | None
    studio_face: Face | None


def identity(_task: Task) -> Affine:
    """Leave the pair as it is."""
    return IDENTITY


def phase_correlation(task: Task) -> Affine:
    """Find the shift at which the phases of all frequencies agree (OpenCV)."""
    fixed, moving, reduction = _reduced(task, WIDTH_PX)
    window = cv2.createHanningWindow(fixed.shape[::-1], cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(fixed, moving, window)
    return _enlarged(_shifted(shift), reduction)


def ecc(task: Task, *, edges: bool) -> Affine:
    """Maximise the enhanced correlation coefficient (OpenCV, Evangelidis and Psarakis 2008) coarse to fine, on the face."""
    full = _start(task)
    for width in _ECC_WIDTHS_PX:
        fixed, moving, reduction = _reduced(task, width, edges=edges)
        mask = _face_mask(task.studio_face or task.flash_face, moving.shape, reduction)
        start = compose(reduction, full, inverse(reduction)).astype(np.float32)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
        try:
            _, small = cv2.findTransformECC(fixed, moving, start, cv2.MOTION_AFFINE, criteria, mask, 3)
        except cv2.error as error:
            raise NoAnswerError("the iterations did not converge") from error
        full = _enlarged(small.astype(np.float64), reduction)
    return full


def features(task: Task, detector: Callable[[], Any], norm: int) -> Affine:
    """Match features of the face and fit an affine map by MAGSAC (OpenCV)."""
    planes = [plane.astype(np.uint8) for plane in _reduced(task, FEATURES_WIDTH_PX)[:2]]
    reduction = _reduced(task, FEATURES_WIDTH_PX)[2]
    faces = (task.flash_face or task.studio_face, task.studio_face or task.flash_face)
    found = [
        detector().detectAndCompute(plane, _face_mask(face, plane.shape, reduction, grown=1.5))
        for plane, face in zip(planes, faces, strict=True)
    ]
    (here, first), (there, second) = found
    if first is None or second is None or len(second) < 2:
        raise NoAnswerError("no features")
    matches = cv2.BFMatcher(norm).knnMatch(first, second, k=2)
    best = [two[0] for two in matches if len(two) == 2 and two[0].distance < 0.8 * two[1].distance]
    points = np.array([here[match.queryIdx].pt for match in best])
    targets = np.array([there[match.trainIdx].pt for match in best])
    if len(best) < 3:
        raise NoAnswerError(f"{len(best)} matches")
    small, _ = cv2.estimateAffine2D(
        points, targets, method=cv2.USAC_MAGSAC, ransacReprojThreshold=3.0, maxIters=10_000, confidence=0.999
    )
    if small is None:
        raise NoAnswerError(f"no map among {len(best)} matches")
    return _enlarged(small, reduction)


def simpleitk(
    task: Task,
    optimiser: Callable[[Any], None],
    *,
    edges: bool = False,
    masked: bool = True,
    correlation: bool = False,
    across: float = 1.0,
) -> Affine:
    """Register by SimpleITK: Mattes mutual information (or correlation), three levels.

    `optimiser` sets the optimiser and its scales; in its frame the pictures are `across` units wide. One thread and a
    fixed seed: the same on every run.
    """
    import SimpleITK as sitk  # noqa: N813 (the field's habit)

    fixed, moving, reduction = _reduced(task, WIDTH_PX, edges=edges)
    pixel = across / fixed.shape[1]
    method = sitk.ImageRegistrationMethod()
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    if correlation:
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2 * pixel, pixel, 0])
    if masked:
        mask = _face_mask(task.flash_face or task.studio_face, fixed.shape, reduction)
        method.SetMetricFixedMask(_sitk_image(mask, pixel))
    start = compose(reduction, _start(task), inverse(reduction))
    transform = sitk.AffineTransform(2)
    transform.SetCenter([0.5 * across, 0.5 * fixed.shape[0] * pixel])
    transform.SetTranslation((start[:, 2] * pixel).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    optimiser(method)
    try:
        method.Execute(_sitk_image(fixed, pixel), _sitk_image(moving, pixel))
    except RuntimeError as error:  # "All samples map outside moving image buffer" and its kin
        raise NoAnswerError("the pictures were moved apart") from error
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    centre = np.array(transform.GetCenter())
    offset = (centre + transform.GetTranslation() - linear @ centre) / pixel
    return _enlarged(np.column_stack([linear, offset]), reduction)


def default_descent(method: Any) -> None:
    """As in SimpleITK's own examples: gradient descent, scales and steps from physical shifts."""
    method.SetOptimizerAsGradientDescent(
        learningRate=1.0, numberOfIterations=100, convergenceMinimumValue=1e-6, convergenceWindowSize=10
    )
    method.SetOptimizerScalesFromPhysicalShift()


def tuned_descent(method: Any) -> None:
    """Gradient descent with fixed scales: a linear term counts by the face's radius, a quarter of the width."""
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.01, minStep=1e-5, numberOfIterations=80, relaxationFactor=0.6
    )
    method.SetOptimizerScales(_SCALES)


def powell(method: Any) -> None:
    """Use Powell's line searches."""
    method.SetOptimizerAsPowell(numberOfIterations=20, maximumLineIterations=30, stepLength=0.01, stepTolerance=1e-5)
    method.SetOptimizerScales(_SCALES)


def lbfgs2(method: Any) -> None:
    """Use the limited-memory quasi-Newton method, whose first step is of length 1: in a frame 100 wide, without scales."""
    method.SetOptimizerAsLBFGS2(numberOfIterations=60, deltaConvergenceTolerance=1e-6)


def elastix(task: Task, *, edges: bool = False, masked: bool = False) -> Affine:
    """Register by elastix (itk-elastix): its own affine parameter map - Mattes metric, adaptive stochastic descent."""
    try:
        import itk
    except ImportError as error:
        raise NoAnswerError("not installed") from error
    itk.set_nthreads(1)
    fixed, moving, reduction = _reduced(task, WIDTH_PX, edges=edges)
    start = compose(reduction, _start(task), inverse(reduction))
    parameters = itk.ParameterObject.New()
    chosen = parameters.GetDefaultParameterMap("affine", 4)
    chosen["AutomaticTransformInitialization"] = ["false"]
    chosen["RandomSeed"] = [str(_SEED)]
    chosen["MaximumNumberOfSamplingAttempts"] = ["8"]
    parameters.AddParameterMap(chosen)
    moving_image = itk.image_view_from_array(moving)
    moving_image.SetOrigin((-start[:, 2]).tolist())  # the shift between the faces, as a start
    options: dict[str, Any] = {"parameter_object": parameters, "log_to_console": False, "number_of_threads": 1}
    if masked:
        mask = _face_mask(task.flash_face or task.studio_face, fixed.shape, reduction)
        options["fixed_mask"] = itk.image_view_from_array(mask)
    try:
        _, result = itk.elastix_registration_method(itk.image_view_from_array(fixed), moving_image, **options)
    except RuntimeError as error:
        raise NoAnswerError("elastix gave up") from error
    last = result.GetParameterMap(0)
    numbers = np.array([float(value) for value in last["TransformParameters"]])
    centre = np.array([float(value) for value in last["CenterOfRotationPoint"]])
    linear = numbers[:4].reshape(2, 2)
    offset = centre + numbers[4:] - linear @ centre + start[:, 2]
    return _enlarged(np.column_stack([linear, offset]), reduction)


PEERS: dict[str, Callable[[Task], Affine]] = {
    "identity": identity,
    "phase correlation, OpenCV": phase_correlation,
    "SimpleITK, Mattes on grey, its defaults": functools.partial(simpleitk, optimiser=default_descent, masked=False),
    "SimpleITK, Mattes on grey, tuned, on the face": functools.partial(simpleitk, optimiser=tuned_descent),
    "the same, Powell": functools.partial(simpleitk, optimiser=powell),
    "the same, L-BFGS2": functools.partial(simpleitk, optimiser=lbfgs2, across=100.0),
    "SimpleITK, Mattes on edges, tuned, on the face": functools.partial(simpleitk, optimiser=tuned_descent, edges=True),
    "the same, correlation for Mattes": functools.partial(simpleitk, optimiser=tuned_descent, edges=True, correlation=True),
    "elastix, its affine defaults": elastix,
    "elastix on edges, on the face": functools.partial(elastix, edges=True, masked=True),
    "ECC on grey, on the face, OpenCV": functools.partial(ecc, edges=False),
    "ECC on edges, on the face, OpenCV": functools.partial(ecc, edges=True),
    "SIFT and MAGSAC, OpenCV": functools.partial(features, detector=lambda: cv2.SIFT_create(0, 3, 0.01), norm=cv2.NORM_L2),
    "ORB and MAGSAC, OpenCV": functools.partial(features, detector=lambda: cv2.ORB_create(4000), norm=cv2.NORM_HAMMING),
}

_SCALES = [1 / 16] * 4 + [1.0, 1.0]


def _reduced(task: Task, width: int, *, edges: bool = False) -> tuple[Plane, Plane, Affine]:
    """Return both photographs grey and reduced, as grey levels or as edge strength, and the map from full to reduced pixels."""
    factor = min(1.0, width / task.flash.shape[1])
    planes = []
    for picture in (task.flash, task.studio):
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
        planes.append(_edge_strength(small) if edges else small)
    return planes[0], planes[1], scaling(factor)


def _edge_strength(gray: Plane) -> Plane:
    """Return the length of the gradient, divided by its local strength: what light changes least."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.5)
    strength = cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    return np.asarray(np.sqrt(strength / (np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), 12)) + 20)), dtype=np.float32)


def _face_mask(face: Face | None, shape: tuple[int, ...], reduction: Affine, grown: float = 1.15) -> Picture:
    """Return 255 in an ellipse on the face (on the middle of the picture where there is none), 0 elsewhere."""
    height, width = shape[:2]
    left, top, right, bottom = (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    if face is not None:
        left, top, right, bottom = np.multiply(face.box, reduction[0, 0])
    mask = np.zeros((height, width), np.uint8)
    sides = (grown * (right - left), grown * (bottom - top))
    cv2.ellipse(mask, (((left + right) / 2, (top + bottom) / 2), sides, 0), 255, -1)
    return mask


def _start(task: Task) -> Affine:
    if task.flash_face and task.studio_face:
        there, here = (np.array(face.box).reshape(2, 2).mean(axis=0) for face in (task.studio_face, task.flash_face))
        return _shifted(there - here)
    return phase_correlation(task)


def _shifted(shift: Any) -> Affine:
    return np.column_stack([np.eye(2), np.asarray(shift, dtype=np.float64)])


def _enlarged(small: Affine, reduction: Affine) -> Affine:
    return compose(inverse(reduction), small, reduction)


def _sitk_image(plane: Plane | Picture, pixel: float) -> Any:
    import SimpleITK as sitk  # noqa: N813 (the field's habit)

    image = sitk.GetImageFromArray(plane)
    image.SetSpacing([pixel, pixel])
    image.SetOrigin([pixel / 2, pixel / 2])
    return image
