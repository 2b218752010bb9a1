"""A flash photograph made of two pictures: one by the flash alone, one by the ambient light alone.

Light adds up, so in values that are proportional to light (linear values) the photograph that a phone takes with its flash is
the sum of the two, as far as the sensor reaches: what exceeds it is clipped.

The Flash and Ambient Illuminations Dataset stores such pictures as 16-bit PNG in the linear colours of its cameras. A text in
the file, `Comment`, holds the camera's matrix from CIE XYZ (nine numbers, the `ColorMatrix` of Adobe's DNG specification),
another, `Description`, the light that it was calibrated for, as EXIF numbers lights. Both pictures are brought to sRGB by the
inverse of the matrix and Bradford's adaptation of that light's white to D65.

Sources
-------
Y. Aksoy et al., A Dataset of Flash and Ambient Illumination Pairs from the Crowd, ECCV 2018. DNG 1.7 specification, chapter 6.
IEC 61966-2-1 (sRGB). White points: ASTM E308. Bradford: K. M. Lam, Metamerism and Colour Constancy, 1985.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepflash.errors import DatasetError
from deepflash.pictures import Picture, read_deep_rgb

Linear = NDArray[np.float32]

_WHITES = {  # CIE XYZ of lights by their EXIF numbers
    17: (1.09850, 1.0, 0.35585),  # standard light A
    18: (0.99072, 1.0, 0.85223),  # B
    19: (0.98074, 1.0, 1.18232),  # C
    20: (0.95682, 1.0, 0.92149),  # D55
    21: (0.95047, 1.0, 1.08883),  # D65
    22: (0.94972, 1.0, 1.22638),  # D75
    23: (0.96422, 1.0, 0.82521),  # D50
}
_D65 = 21
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_FROM_XYZ = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


@dataclass(frozen=True)
class Photographs:
    """What a phone would have seen with and without its flash: (H, W, 3) sRGB `uint8`, upright.

    Attributes
    ----------
    flash, studio
        Both lights, and the ambient light.
    clipped_fraction
        The part of the flash photograph's pixels, 0 to 1, in which the sum exceeded the sensor.
    colours
        How linear values were had: `camera matrix` (linear values of a camera), `linear` or `srgb`.
    """

    flash: Picture
    studio: Picture
    clipped_fraction: float
    colours: str


def add_lights(flash_only: Path, ambient: Path) -> Photographs:
    """Add the light of the flash to the ambient light.

    Parameters
    ----------
    flash_only, ambient
        Pictures of one size: 16-bit ones are linear, in the colours of the camera if the file holds its matrix, else in sRGB's;
        8-bit ones are sRGB.

    Raises
    ------
    PictureError
        if one cannot be read.
    DatasetError
        if the two do not go together, or a file's colour matrix is none.
    """
    pictures = (read_deep_rgb(flash_only), read_deep_rgb(ambient))
    if pictures[0].shape != pictures[1].shape or pictures[0].dtype != pictures[1].dtype:
        raise DatasetError(f"{flash_only} and {ambient.name} differ in size or depth; they are no pair")
    deep = pictures[0].dtype == np.uint16
    matrix = srgb_from_camera(ambient) if deep else None
    flash, rest = (_linear(picture) for picture in pictures)
    both = flash + rest
    clipped = float(np.mean(np.any(both > 1, axis=2)))
    colours = "camera matrix" if matrix is not None else "linear" if deep else "srgb"
    shown = [_encoded(_recoloured(np.minimum(light, 1), matrix)) for light in (both, rest)]
    return Photographs(shown[0], shown[1], round(clipped, 6), colours)


def srgb_from_camera(path: Path) -> NDArray[np.float64] | None:
    """Return the (3, 3) matrix from a file's linear camera colours to linear sRGB, or None if the file holds none.

    Raises
    ------
    DatasetError
        if the matrix in the file is not one that can be inverted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            texts = {name: str(image.info.get(name, "")) for name in ("Comment", "Description")}
    if not texts["Comment"].strip():
        return None
    try:
        camera_from_xyz = np.array([float(number) for number in texts["Comment"].split()]).reshape(3, 3)
        light = int(texts["Description"] or _D65)
        xyz_from_camera = np.linalg.inv(np.asarray_chkfinite(camera_from_xyz))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise DatasetError(
            f"{path} holds a colour matrix that is none ({error}); take the file from the data set again"
        ) from error
    return np.asarray(_SRGB_FROM_XYZ @ _to_d65(_WHITES.get(light, _WHITES[_D65])) @ xyz_from_camera)


def _to_d65(white: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return Bradford's adaptation from a white point to D65, (3, 3), for CIE XYZ."""
    gains = (_BRADFORD @ _WHITES[_D65]) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD)


def _linear(picture: NDArray[np.uint8 | np.uint16]) -> Linear:
    if picture.dtype == np.uint16:
        return np.asarray(picture, dtype=np.float32) / np.float32(65535)
    levels = np.arange(256) / 255
    table = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[picture]


def _recoloured(light: Linear, matrix: NDArray[np.float64] | None) -> Linear:
    return light if matrix is None else np.asarray(cv2.transform(light, matrix), dtype=np.float32)


def _encoded(light: Linear) -> Picture:
    clipped = np.clip(light, 0, 1)
    encoded = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), dtype=np.uint8)
