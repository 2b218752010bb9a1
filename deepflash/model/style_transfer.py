"""Portrait style transfer: give a portrait the light, contrast and colours of another one, the example.

Y. Shih, S. Paris, C. Barnes, W. T. Freeman, F. Durand, Style transfer for headshot portraits, ACM Transactions on Graphics
33(4), 2014; with the constants of the paper and, where it gives none, of the authors' program. Both portraits are taken apart
into bands from fine to coarse. In each band the picture's contrast is brought to that of the example, place by place, and the
rest below all bands, which holds light and colour at large, is taken from the example. Nothing is trained, and nothing of the
face is known but where its parts are.

What we do otherwise, and why, is in docs/decisions/0018-style-transfer.md.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.errors import PictureError
from deepflash.faces import LandmarkModel
from deepflash.files import write_durably
from deepflash.model.catchlights import transfer_catchlights
from deepflash.model.correspondence import Correspondence, find_correspondence
from deepflash.model.stacks import Blur, Channel, blurred, laplacian_stack, normalised, resized
from deepflash.pictures import Picture, encode, read_gray

SIGMAS_PX = (4.0, 8.0, 16.0, 32.0, 64.0)
"""Of the Gaussians between the bands, for a face `FACE_PX` wide; in proportion for others."""

FACE_PX = 480.0
"""About the width of the faces in the paper's photographs, which are 1300 px high."""

GAINS = ((0.9, 2.8), (0.0, 2.8), (0.0, 2.8))
"""Least and largest gain of L, a and b: contrast is hardly taken away, and never raised so far that noise is all there is.

The paper clamps L alone. Differences of colour may vanish, or a black-and-white example would leave coloured edges.
"""

EPSILON = 1e-4
"""Beside energies, in squares of Lab's units over 100: less contrast than one such unit does not count."""

_SMOOTHING = 1.5  # the gain's Gaussian over the band's wider one: the paper's beta of 3, over its narrower one
_LAB_UNITS = 100.0  # L from 0 to 1, a and b in the same proportion
_JPEG_QUALITY = 95

Weights = tuple[Channel | None, Channel | None]
"""(H, W) in [0, 1], of the picture and of the example: which pixels count. None: all."""

Mask = NDArray[np.uint8]
"""(H, W): 255 where the subject is, 0 where the background is, between at hair and edges."""


def transfer_style(
    picture: Picture,
    example: Picture,
    *,
    masks: tuple[Mask, Mask] | None = None,
    landmarks: LandmarkModel = "small",
    correspondence: Correspondence | None = None,
) -> Picture:
    """Give a portrait the light, contrast, colours and eye highlights of an example.

    Parameters
    ----------
    picture, example
        (H, W, 3) RGB `uint8`, of any sizes.
    masks
        Where the subject is in the picture and in the example. Subject and background are then given the style of their
        like, each by itself; without them everything counts as one.
    landmarks
        As `find_correspondence` takes it.
    correspondence
        What `find_correspondence` has found for the two, if it is known already.

    Returns
    -------
    Picture
        (H, W, 3) RGB `uint8`, of the picture's size.

    Raises
    ------
    PictureError
        if one of them is not such an array, or a mask has another size than its picture.
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    _check(picture, example, masks)
    found = correspondence or find_correspondence(picture, example, landmarks=landmarks)
    regions = [(None, None)] if masks is None else _regions(*masks)
    channels = [
        _in_regions([_restyled(channel, wanted, found, weights, limits) for weights in regions], regions)
        for channel, wanted, limits in zip(_lab(picture), _lab(example), GAINS, strict=True)
    ]
    return transfer_catchlights(_rgb(channels), picture, example, found)


def gain_field(
    bands: tuple[Channel, Channel],
    sigma_px: float,
    found: Correspondence,
    *,
    weights: Weights = (None, None),
    limits: tuple[float, float] = GAINS[0],
) -> Blur:
    """Return by how much a band's contrast must grow, place by place, to be that of the example.

    The root of the ratio of local energies, as in the paper, clamped and smoothed, so that no single mole or stray
    hair shows its match in the example.

    Parameters
    ----------
    bands
        (H, W) of the picture's stack, and of the example's.
    sigma_px
        The wider Gaussian of the picture's band.
    found
        Between picture and example.
    weights
        Of the picture's pixels and the example's, as `normalised` takes them.
    limits
        Least and largest gain.
    """
    band, example_band = bands
    energy = normalised(band**2, weights[0], sigma_px)
    example_energy = normalised(example_band**2, weights[1], sigma_px * found.scale)
    wanted = found.warp(example_energy.grid, example_band.shape, energy.grid.shape)
    gain = np.sqrt((wanted + EPSILON) / (energy.grid + EPSILON)).clip(*limits)
    smoothing_px = _SMOOTHING * sigma_px * energy.grid.shape[1] / band.shape[1]
    return Blur(blurred(gain, smoothing_px).full(), band.shape)


def transfer_style_file(
    photo: Path,
    example: Path,
    out: Path,
    *,
    masks: tuple[Path, Path] | None = None,
    landmarks: LandmarkModel = "small",
) -> tuple[str, ...]:
    """Do `transfer_style` with files; the result is a JPEG of quality 95 or, by its suffix, a PNG, in sRGB, without metadata.

    Returns
    -------
    tuple
        A sentence for each of the two in which no face was found.

    Raises
    ------
    PictureError
        if a file cannot be used, or `out` is neither `.jpg` nor `.png`, or is one of the others.
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    from deepflash.photos import read_srgb  # noqa: PLC0415 (training machines, which compare, need no Pillow)

    suffix = {".jpeg": ".jpg"}.get(out.suffix.lower(), out.suffix.lower())
    if suffix not in {".jpg", ".png"}:
        raise PictureError(f"{out} is neither .jpg nor .png; give the result one of these suffixes")
    if out.resolve() in {path.resolve() for path in (photo, example, *(masks or ()))}:
        raise PictureError(f"{out} would be replaced by its own result; give the result another name")
    grays = None if masks is None else (read_gray(masks[0]), read_gray(masks[1]))
    pictures = read_srgb(photo), read_srgb(example)
    found = find_correspondence(*pictures, landmarks=landmarks)
    styled = transfer_style(*pictures, masks=grays, correspondence=found)
    write_durably(out, encode(styled, suffix, quality=_JPEG_QUALITY))
    faceless = (path for path, face in ((photo, found.face), (example, found.example_face)) if face is None)
    return tuple(f"no face was found in {path}, so the two were laid upon each other as they are" for path in faceless)


def _restyled(
    channel: Channel, example: Channel, found: Correspondence, weights: Weights, limits: tuple[float, float]
) -> Channel:
    """Give a channel the local contrast and the residual of the example's."""
    sigmas_px = [sigma_px * found.face_px / FACE_PX for sigma_px in SIGMAS_PX]
    stack = laplacian_stack(channel, sigmas_px, weights[0])
    example_stack = laplacian_stack(example, [sigma_px * found.scale for sigma_px in sigmas_px], weights[1])
    restyled = np.zeros_like(channel)
    for sigma_px in sigmas_px:
        band, example_band = next(stack), next(example_stack)
        restyled += band * gain_field((band, example_band), sigma_px, found, weights=weights, limits=limits).full()
    residual = found.warp(next(example_stack), example.shape, found.points.shape[:2])
    return restyled + resized(residual, channel.shape)


def _in_regions(parts: list[Channel], regions: Sequence[Weights]) -> Channel:
    """Return the sum of the parts, each where its region is."""
    weighted = [part if weight is None else weight * part for part, (weight, _) in zip(parts, regions, strict=True)]
    return np.sum(weighted, axis=0, dtype=np.float32) if len(weighted) > 1 else weighted[0]


def _regions(mask: Mask, example_mask: Mask) -> list[Weights]:
    """Return the weights of the subject in picture and example, and those of the background."""
    subject, example_subject = (np.asarray(one / 255, np.float32) for one in (mask, example_mask))
    background, example_background = (np.asarray(1 - one, np.float32) for one in (subject, example_subject))
    return [(subject, example_subject), (background, example_background)]


def _lab(picture: Picture) -> list[Channel]:
    """Return the channels of CIE Lab (D65), L from 0 to 1."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return [np.asarray(channel / _LAB_UNITS, np.float32) for channel in cv2.split(lab)]


def _rgb(channels: list[Channel]) -> Picture:
    rgb = cv2.cvtColor(np.stack(channels, axis=2) * np.float32(_LAB_UNITS), cv2.COLOR_Lab2RGB)
    return np.asarray((rgb * 255).round().clip(0, 255), dtype=np.uint8)


def _check(picture: Picture, example: Picture, masks: tuple[Mask, Mask] | None) -> None:
    for one in (picture, example):
        if one.ndim != 3 or one.shape[2] != 3 or one.dtype != np.uint8 or not one.size:
            raise PictureError(f"a portrait must be (H, W, 3) RGB uint8, not {one.shape} {one.dtype}; convert it first")
    for name, one, mask in zip(("photograph", "example"), (picture, example), masks or (), strict=False):
        if mask.shape != one.shape[:2] or mask.dtype != np.uint8:
            raise PictureError(
                f"the mask of the {name} is {mask.shape} {mask.dtype}, but must be {one.shape[:2]} uint8; make it anew"
            )
