"""Pairs to learn bokeh from, made of ordinary portraits, for those who have not the EBB! data set.

Who sits is told from what is behind, and what is behind is blurred as a lens would: each point of it becomes a disc, in linear
light. It is a stand-in and no measurement: there are two distances, the sitter's and the background's, all of the sitter is in
focus, and the edge of the hair is where GrabCut thinks it is (Rother et al., SIGGRAPH 2004). The files are laid out as those of
EBB!, so that `deepflash import --layout ebb` reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.accounts import Account, SetAside
from deepflash.errors import PictureError
from deepflash.faces import find_subject, subject_face
from deepflash.files import write_durably
from deepflash.pairs import Face
from deepflash.photos import read_srgb
from deepflash.pictures import Picture, encode
from deepflash.progress import Report, silent

Plane = NDArray[np.float32]

RADIUS_SHARE = 0.025
"""Of the discs, of the picture's longer side: 13 px of 512, 38 of 1536."""

_CUT_PX = 256  # longer side of the copy that is cut
_CUT_ROUNDS = 5
_EDGE_SHARE = 0.01  # radius of the matte's refinement, of the longer side
_EDGE_EPSILON = 1e-4  # variance of the guide, in [0, 1], below which an edge is none
_GAMMA = 2.2


def write_bokeh_pairs(photos: Sequence[Path], folder: Path, *, report: Report = silent) -> Account:
    """Make a pair of each portrait: `folder/original/NAME.jpg` as it is, `folder/bokeh/NAME.jpg` with a blurred background.

    Both are in sRGB. Pairs that are there already are skipped. Set aside is what cannot be read, shows no face, or is called as
    another.

    Raises
    ------
    FaceError
        if faces cannot be found on this machine.
    """
    account = Account(unit="portrait")
    names: set[str] = set()
    for number, photo in enumerate(photos, start=1):
        sharp, soft = (folder / part / f"{photo.stem}.jpg" for part in ("original", "bokeh"))
        try:
            if photo.stem in names:
                raise PictureError(f"another portrait is called {photo.stem} too; rename one")
            names.add(photo.stem)
            if sharp.exists() and soft.exists():
                account.skipped += 1
                continue
            picture, blurred = _pair(photo)
            write_durably(soft, encode(blurred, ".jpg"))
            write_durably(sharp, encode(picture, ".jpg"))
            account.done += 1
        except PictureError as error:
            account.set_aside.append(SetAside(str(photo), str(error)))
        report(number, len(photos), photo.name)
    return account


def subject_matte(picture: Picture, face: Face) -> Plane:
    """Return how much of each pixel is the sitter, (H, W) float32 in [0, 1].

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`, a portrait down to the chest or further.
    face
        The sitter's, in pixels of the picture.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, _CUT_PX / max(height, width))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    labels = _first_guess(small.shape[:2], tuple(scale * value for value in face.box))
    cv2.setRNGSeed(0)  # GrabCut begins with random clusters
    cv2.grabCut(small, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), _CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    sitter = _whole(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    rough = _plane(cv2.resize(_plane(sitter), (width, height), interpolation=cv2.INTER_LINEAR))
    guide = _plane(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) / np.float32(255)
    return _along_edges(rough, guide, max(2, round(_EDGE_SHARE * max(height, width))))


def with_bokeh(picture: Picture, matte: Plane, *, radius_px: int | None = None) -> Picture:
    """Blur what is not the sitter, as a lens with a round aperture does.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`.
    matte
        (H, W) in [0, 1]: how much of each pixel stays.
    radius_px
        Of the disc that a point becomes; `RADIUS_SHARE` of the longer side if None.

    Returns
    -------
    Picture
        As large as the first. No colour of the sitter is spread into the background.
    """
    radius = max(1, round(RADIUS_SHARE * max(picture.shape[:2]))) if radius_px is None else radius_px
    linear = _plane(picture / 255) ** np.float32(_GAMMA)
    behind = _plane(1 - matte)[..., None]
    light, share = _disc_blur(linear * behind, radius), _disc_blur(behind, radius)
    blurred = light / np.maximum(share[..., None], 1e-3)  # deep inside the sitter no background is within reach, nor needed
    mixed = matte[..., None] * linear + behind * blurred
    return (np.clip(mixed, 0, 1) ** (1 / _GAMMA) * 255 + 0.5).astype(np.uint8)


def _pair(photo: Path) -> tuple[Picture, Picture]:
    picture = read_srgb(photo)
    face = subject_face(find_subject(picture), picture.shape[1], picture.shape[0])
    if face is None:
        raise PictureError("no face is seen, so nobody knows what is in focus")
    return picture, with_bokeh(picture, subject_matte(picture, face))


def _first_guess(shape: tuple[int, ...], box: tuple[float, ...]) -> NDArray[np.uint8]:
    """Mark what is the sitter for sure, what may be, and what cannot be, by the face alone."""
    left, top, right, bottom = box
    middle, eyes, side = (left + right) / 2, (top + bottom) / 2, (right - left + bottom - top) / 2
    y, x = np.mgrid[: shape[0], : shape[1]]
    aside, down = np.abs(x - middle) / side, (y - eyes) / side  # in faces, from the middle of the face
    labels = np.full(shape, cv2.GC_PR_BGD, np.uint8)
    shoulders = (down > 0.7) & (aside < 0.7 + 1.2 * (down - 0.7))
    labels[((aside / 0.8) ** 2 + (down / 1.05) ** 2 < 1) | shoulders] = cv2.GC_PR_FGD
    labels[((aside / 0.4) ** 2 + (down / 0.6) ** 2 < 1) | ((down > 0) & (aside < 0.3))] = cv2.GC_FGD
    labels[(down < -1.6) | ((down < 0.3) & (aside > 1.7))] = cv2.GC_BGD
    return labels


def _whole(sitter: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest piece, and fill the holes in it that are small."""
    pieces = _pieces(sitter)
    sitter = pieces == np.argmax(np.bincount(pieces[sitter])) if sitter.any() else sitter
    holes = _pieces(~sitter)
    sizes = np.bincount(holes.ravel())
    return sitter | (sizes[holes] < 0.005 * sitter.size)


def _pieces(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8))[1], dtype=np.int32)


def _along_edges(rough: Plane, guide: Plane, radius: int) -> Plane:
    """Fit the matte to the picture's edges: the guided filter (He et al., ECCV 2010)."""

    def mean(plane: Plane) -> Plane:
        return _plane(cv2.blur(plane, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT))

    mean_guide, mean_rough = mean(guide), mean(rough)
    slope = (mean(guide * rough) - mean_guide * mean_rough) / (mean(guide * guide) - mean_guide**2 + _EDGE_EPSILON)
    offset = mean_rough - slope * mean_guide
    return _plane(np.clip(mean(slope) * guide + mean(offset), 0, 1))


def _disc_blur(planes: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = _plane(x**2 + y**2 <= (radius + 0.5) ** 2)
    return _plane(cv2.filter2D(planes, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT))


def _plane(values: NDArray[Any]) -> Plane:
    return np.asarray(values, dtype=np.float32)
