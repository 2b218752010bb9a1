"""Whether eyes are open in one photograph of a pair and shut in the other, by comparing what the map says is one eye.

This needs the corners of the eyes only: landmarks of the lids come from a model that is not for commercial products, and
where it is unsure (spectacles, the red eyes of a flash) they tell less. Of eight real pairs with eyes drawn shut, heights
of the eyes by landmarks betray two, this betrays six.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, compose
from deepflash.pairs import Face
from deepflash.pictures import Picture

_EYES = ("left_eye", "right_eye")
_PATCH = (48, 32)  # pixels of the patch that shows one eye
_PATCH_OF_EYE = 1.5  # the patch's width over the distance of the eye's corners
_REACH_PX = (6, 5)  # of the patch: what the eye may have moved beside the rest of the face
_UPRIGHT, _UNLIKE = 0.2, 0.06  # likeness + 0.2 uprightness: of eyes drawn shut -0.4 to 0.0, open 0.1 to 0.7
_DARK = 12.0  # grey levels under which noise, not light, makes the difference
_LOCAL_PX = 8.0


@dataclass(frozen=True)
class Comparison:
    """The eye that differs most between two photographs.

    Attributes
    ----------
    likeness
        Correlation of the two patches, -1 to 1, each relative to its surroundings so that light matters less.
    uprightness
        The lesser of the patches' logarithms of the energy of upright edges (rims of the iris, corners) over that of lying ones
        (lids and lashes): about -0.8 for open eyes, -1.5 for shut ones.
    """

    likeness: float
    uprightness: float

    @property
    def differ(self) -> bool:
        """Whether this eye may be open in one photograph and shut in the other."""
        return self.likeness + _UPRIGHT * self.uprightness < _UNLIKE


def compare_eyes(flash: Picture, studio: Picture, flash_face: Face, studio_from_flash: Affine) -> Comparison | None:
    """Compare each eye of the flash picture with what the map says is the same eye in the studio picture.

    Parameters
    ----------
    flash, studio
        (H, W, 3) RGB `uint8`.
    flash_face
        In pixels of the flash picture; both corners of each eye suffice.
    studio_from_flash
        (2, 3) map from pixels of the flash picture to those of the studio picture.

    Returns
    -------
    Comparison or None
        Of the eye that is less alike; None without landmarks of eyes.
    """
    if not all(flash_face.landmarks.get(eye) for eye in _EYES):
        return None
    found = []
    for eye in _EYES:
        flash_from_patch = _flash_from_patch(np.array(flash_face.landmarks[eye], dtype=np.float64))
        here = _patch(flash, flash_from_patch)
        there = _patch(studio, compose(studio_from_flash, flash_from_patch))
        across, down = _REACH_PX
        inner = _flattened(here)[down:-down, across:-across]
        likeness = float(cv2.matchTemplate(_flattened(there), inner, cv2.TM_CCOEFF_NORMED).max())
        found.append(Comparison(likeness, min(_uprightness(here), _uprightness(there))))
    return min(found, key=lambda eye: eye.likeness)


def _flash_from_patch(eye: NDArray[np.float64]) -> Affine:
    """Return the map from a patch, upright along the corners of the eye, to the picture."""
    first, last = eye[eye[:, 0].argmin()], eye[eye[:, 0].argmax()]
    right = (last - first) * _PATCH_OF_EYE / _PATCH[0]
    down = np.array([-right[1], right[0]])
    middle = (np.array(_PATCH) - 1) / 2
    return np.column_stack([right, down, (first + last) / 2 - right * middle[0] - down * middle[1]])


def _patch(picture: Picture, picture_from_patch: Affine) -> NDArray[np.float32]:
    """Return the logarithm of the light in a patch."""
    steps = max(1, round(float(np.linalg.norm(picture_from_patch[:, 0]))))  # samples of each pixel, against aliasing
    fine = np.array([[1 / steps, 0, (1 / steps - 1) / 2], [0, 1 / steps, (1 / steps - 1) / 2]])
    size = (_PATCH[0] * steps, _PATCH[1] * steps)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(picture, compose(picture_from_patch, fine), size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    gray = cv2.cvtColor(cv2.resize(sampled, _PATCH, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.asarray(np.log(gray.astype(np.float32) + _DARK), np.float32)


def _flattened(patch: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(patch, (0, 0), 1.0)
    return np.asarray(smooth - cv2.GaussianBlur(patch, (0, 0), _LOCAL_PX), np.float32)


def _uprightness(patch: NDArray[np.float32]) -> float:
    smooth = cv2.GaussianBlur(patch, (0, 0), 0.7)[5:-5, 7:-7]
    across, down = (cv2.Scharr(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return float(np.log((np.square(across).mean() + 1e-6) / (np.square(down).mean() + 1e-6)))
