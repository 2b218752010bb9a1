"""Pictures of a pair, in which people see at once whether the studio photograph lies on the flash photograph."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepflash.affine import Affine, compose, scaling
from deepflash.pairs import Alignment
from deepflash.pictures import Picture, read_header, read_rgb

_MARGIN = 0.3  # of the face's box, on every side
_ASPECT = 1.25  # height of the pictures to their width
_GAP_PX = 8
_LEAST_ACROSS_PX = 8  # of the photograph; a record with a smaller face is damaged, but no reason to divide by zero


@dataclass(frozen=True)
class BeforeAfter:
    """The face of a pair, (H, W, 3) RGB `uint8` each.

    Attributes
    ----------
    flash, studio
        The two photographs; the studio one laid on the flash one.
    before, after
        The edges of the flash photograph in red and those of the studio photograph in cyan, as photographed and
        registered: where they lie on each other they are white.
    """

    flash: Picture
    studio: Picture
    before: Picture
    after: Picture


@dataclass(frozen=True)
class FaceViews:
    """The same piece of a pair's photographs, (H, W, 3) RGB `uint8` each.

    Attributes
    ----------
    flash, studio
        As photographed.
    registered
        The studio photograph laid on the flash one.
    view
        The map from pixels of these pictures to those of the flash photograph at full resolution.
    """

    flash: Picture
    studio: Picture
    registered: Picture
    view: Affine


def before_after(alignment: Alignment, width: int = 360) -> BeforeAfter:
    """Draw a pair before and after its registration, cropped around the face.

    Parameters
    ----------
    alignment
        Of a pair whose photographs are still there.
    width
        Of each picture in pixels; the height is 1.25 times that.

    Raises
    ------
    PictureError
        if a photograph cannot be read.
    """
    views = face_views(alignment, width)
    edges = [_edges_over(views.flash, studio) for studio in (views.studio, views.registered)]
    return BeforeAfter(views.flash, views.registered, *edges)


def before_after_strip(alignment: Alignment, width: int = 360) -> Picture:
    """Return flash, studio, before and after side by side; parameters as `before_after`."""
    pictures = before_after(alignment, width)
    gap = np.full((pictures.flash.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.hstack([pictures.flash, gap, pictures.studio, gap, pictures.before, gap, pictures.after])


def face_views(alignment: Alignment, width: int) -> FaceViews:
    """Cut the face out of both photographs, and out of the registered studio photograph, each interpolated once.

    Parameters and errors as `before_after`.
    """
    view = _view(alignment, width)
    size = (width, round(_ASPECT * width))
    flash, studio = (_photograph(path, view) for path in (alignment.flash, alignment.studio))
    registered = compose(np.array(alignment.moving_from_fixed), view)
    return FaceViews(_seen(*flash, view, size), _seen(*studio, view, size), _seen(*studio, registered, size), view)


def _view(alignment: Alignment, width: int) -> Affine:
    """Return the map from the pixels of the drawn picture to those of the flash photograph."""
    left, top, right, bottom = alignment.flash_face.box if alignment.flash_face else (0, 0, *alignment.size)
    margin = _MARGIN if alignment.flash_face else 0.0
    across = max((right - left) * (1 + 2 * margin), (bottom - top) * (1 + 2 * margin) / _ASPECT)
    across = min(across, alignment.size[0], alignment.size[1] / _ASPECT)  # no bars where the face fills the photograph
    across = max(across, _LEAST_ACROSS_PX)
    scale = across / width
    extent = np.array([across, across * _ASPECT])
    corner = np.array([left + right, top + bottom]) / 2 - extent / 2
    corner = np.clip(corner, 0, np.maximum(np.array(alignment.size) - extent, 0))  # inside the photograph if it fits
    return np.column_stack([np.eye(2) * scale, corner + scale / 2 - 0.5])


def _photograph(path: Path, view: Affine) -> tuple[Picture, Affine]:
    """Return a photograph, decoded no larger than `view` needs, and the map to its pixels from those of the full one."""
    shrink = max(1.0, float(np.linalg.norm(view[:, 0])))
    reduce = max(factor for factor in (1, 2, 4, 8) if factor <= shrink) if read_header(path).format == "JPEG" else 1
    photograph = cv2.GaussianBlur(read_rgb(path, reduce=reduce), (0, 0), 0.4 * shrink / reduce)  # against aliasing
    return np.asarray(photograph, dtype=np.uint8), scaling(1 / reduce)


def _seen(photograph: Picture, decoded_from_full: Affine, view: Affine, size: tuple[int, int]) -> Picture:
    """Return what `view` shows of a photograph."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(photograph, compose(decoded_from_full, view), size, flags=flags), dtype=np.uint8)


def _edges_over(flash: Picture, studio: Picture) -> Picture:
    red, cyan = _edges(flash), _edges(studio)
    return np.dstack([red, cyan, cyan])


def _edges(picture: Picture) -> Picture:
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    strength = cv2.magnitude(cv2.Scharr(gray, cv2.CV_32F, 1, 0), cv2.Scharr(gray, cv2.CV_32F, 0, 1))
    local = np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), gray.shape[1] / 20))  # dark pictures have edges, too
    return np.asarray(np.clip(strength / (local + strength.mean() / 2 + 1e-6) * 90, 0, 255), dtype=np.uint8)
