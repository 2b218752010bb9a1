"""Whether eyes are open in one photograph of a pair and shut in the other, by comparing what a map says is one eye.

An open eye has upright edges, the rims of the iris; a shut one has lying ones, lid and lashes. This needs the corners of the
eyes only: landmarks of the lids come from a model that is not for commercial products, and of eight real pairs with eyes
drawn shut their heights betray two, as spectacles and the red eyes of a flash mislead them.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, compose
from deepflash.pairs import Face
from deepflash.pictures import Picture

Patch = NDArray[np.float32]
Light = Literal["flash", "studio"]

REACH_PX = 5
"""Of a patch 48 px wide: what an eye may have moved beside the rest of a face that is registered."""
LOOSE_REACH_PX = 7
"""The same where the map comes from landmarks alone."""

_EYES = ("left_eye", "right_eye")
_PATCH = (48, 32)  # pixels of the patch that shows one eye
_PATCH_OF_EYE = 1.5  # the patch's width over the distance of the eye's corners
_DARK = 12.0  # grey levels under which noise, not light, makes the difference
_LOCAL_PX = 6.0
_FAINT = 1e-4  # of the energy of edges: a flat patch has none
_INNER = (8, 9)  # rows and columns off each side of the patch: the eye itself
_IRIS = (9, 12)  # the same: the opening of the lids

# Logistic regression on 24 real and emulated pairs with open eyes, and 48 with eyes drawn shut in one photograph, in two ways.
_INTERCEPT, _PER_LIKENESS, _PER_UPRIGHTNESS, _PER_LOSS = 0.84, -8.61, -1.59, 2.25
_DIFFER = 0.8  # of the sum; open eyes reach 0.36


@dataclass(frozen=True)
class Comparison:
    """The eye that differs most between two photographs.

    Attributes
    ----------
    likeness
        Correlation of the upright edges, -1 to 1.
    uprightness
        The lesser one of the patches' logarithms of the energy of upright edges over that of lying ones: about -0.7 for open
        eyes, -1.6 for shut ones.
    loss
        Difference of the logarithms of the energy of upright edges within the lids.
    shut
        In which photograph it is the shut one, if they differ: that with the fewer upright edges.
    """

    likeness: float
    uprightness: float
    loss: float
    shut: Light

    @property
    def score(self) -> float:
        """How much speaks for an eye that is open in one photograph and shut in the other, in logits."""
        evidence = _PER_LIKENESS * self.likeness + _PER_UPRIGHTNESS * self.uprightness + _PER_LOSS * self.loss
        return _INTERCEPT + evidence

    @property
    def differ(self) -> bool:
        return self.score > _DIFFER


def compare_eyes(
    flash: Picture, studio: Picture, flash_face: Face, studio_from_flash: Affine, *, reach_px: int = REACH_PX
) -> Comparison | None:
    """Compare each eye of the flash picture with what the map says is the same eye in the studio picture.

    Parameters
    ----------
    flash, studio
        (H, W, 3) RGB `uint8`.
    flash_face
        In pixels of the flash picture; both corners of each eye suffice.
    studio_from_flash
        (2, 3) map from pixels of the flash picture to those of the studio picture.
    reach_px
        How far an eye may be from where the map says, in pixels of a patch 1.5 eyes and 48 px wide; at most 8.

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
        patches = _patch(flash, flash_from_patch), _patch(studio, compose(studio_from_flash, flash_from_patch))
        found.append(_compared(*patches, reach_px))
    return max(found, key=lambda eye: eye.score)


def _compared(here: Patch, there: Patch, reach_px: int) -> Comparison:
    rows, columns = _INNER
    inner = np.ascontiguousarray(_upright_edges(here)[rows:-rows, columns:-columns])
    around = _upright_edges(there)[rows - reach_px : reach_px - rows, columns - reach_px : reach_px - columns]
    likeness = float(cv2.matchTemplate(np.ascontiguousarray(around), inner, cv2.TM_CCOEFF_NORMED).max())
    in_flash, in_studio = (upright - lying for upright, lying in (_edge_energies(patch, (5, 7)) for patch in (here, there)))
    loss = abs(_edge_energies(here, _IRIS)[0] - _edge_energies(there, _IRIS)[0])
    return Comparison(likeness, min(in_flash, in_studio), loss, "flash" if in_flash < in_studio else "studio")


def _flash_from_patch(eye: NDArray[np.float64]) -> Affine:
    """Return the map from a patch, upright along the corners of the eye, to the picture."""
    first, last = eye[eye[:, 0].argmin()], eye[eye[:, 0].argmax()]
    right = (last - first) * _PATCH_OF_EYE / _PATCH[0]
    down = np.array([-right[1], right[0]])
    middle = (np.array(_PATCH) - 1) / 2
    return np.column_stack([right, down, (first + last) / 2 - right * middle[0] - down * middle[1]])


def _patch(picture: Picture, picture_from_patch: Affine) -> Patch:
    """Return the logarithm of the light in a patch."""
    steps = max(1, round(float(np.linalg.norm(picture_from_patch[:, 0]))))  # samples of each pixel, against aliasing
    fine = np.array([[1 / steps, 0, (1 / steps - 1) / 2], [0, 1 / steps, (1 / steps - 1) / 2]])
    size = (_PATCH[0] * steps, _PATCH[1] * steps)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(picture, compose(picture_from_patch, fine), size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    gray = cv2.cvtColor(cv2.resize(sampled, _PATCH, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return np.asarray(np.log(gray.astype(np.float32) + _DARK), np.float32)


def _upright_edges(patch: Patch) -> Patch:
    """Return the change of light from left to right, relative to all change of light around."""
    smooth = cv2.GaussianBlur(patch, (0, 0), 1.0)
    across, down = (np.asarray(cv2.Scharr(smooth, cv2.CV_32F, *order), np.float32) for order in ((1, 0), (0, 1)))
    strength = np.sqrt(cv2.GaussianBlur(across * across + down * down, (0, 0), _LOCAL_PX) + _FAINT)
    return np.asarray(across / strength, np.float32)


def _edge_energies(patch: Patch, border: tuple[int, int]) -> tuple[float, float]:
    """Return the logarithms of the energy of upright and of lying edges inside a border of rows and columns."""
    rows, columns = border
    smooth = cv2.GaussianBlur(patch, (0, 0), 0.7)[rows:-rows, columns:-columns]
    across, down = (np.asarray(cv2.Scharr(smooth, cv2.CV_32F, *order), np.float64) for order in ((1, 0), (0, 1)))
    return float(np.log(np.square(across).mean() + _FAINT)), float(np.log(np.square(down).mean() + _FAINT))
