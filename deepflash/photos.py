"""People's own photographs, in and out: any common format, colour space and depth, given back as what came.

A `Photo` holds the pixels upright, in the colour space that the file has, and all that is needed to write such a file
again. Pixels are never brought to sRGB and back, which would clip the colours of a phone's wider space (Display P3) and
cost 16-bit files their depth: what must see sRGB (face detector, network) sees `srgb_of` a reduced copy.
"""

import functools
import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from deepflash.errors import PictureError
from deepflash.pictures import MAX_PIXELS, Picture

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Metadata = Literal["safe", "all", "none"]

RESULT_SUFFIXES = {".png": ".png", ".webp": ".webp", ".tif": ".tif", ".tiff": ".tif"}
"""What a result is written as, by the suffix of the photograph; everything else becomes `.jpg`."""


@dataclass(frozen=True)
class Photo:
    """A photograph, upright.

    Attributes
    ----------
    pixels
        (H, W, 3) RGB, `uint8` or `uint16`, in the space that `profile` describes.
    alpha
        (H, W), of the same type, or None.
    format
        Of the file it was read from: `JPEG`, `PNG`, `WEBP`, `TIFF` or `HEIF`.
    profile
        ICC profile of the pixels; None means sRGB.
    exif
        As it was in the file, or empty.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    format: str = "PNG"
    profile: bytes | None = None
    exif: bytes = b""

    @property
    def depth(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph from a file; see `decode_photo`."""
    try:
        return decode_photo(path.read_bytes(), str(path), max_pixels=max_pixels)
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise PictureError(f"{path} is not a file; give the photograph itself") from None


def decode_photo(encoded: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a photograph, upright; its header is read before its pixels.

    Parameters
    ----------
    encoded
        A whole JPEG, PNG, WebP, TIFF or HEIC file.
    name
        What the error's sentence calls it.
    max_pixels
        More are refused.

    Raises
    ------
    PictureError
        if it is truncated, too large, of another format or no picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded)) as image:
                if image.width * image.height > max_pixels:
                    raise PictureError(f"{name} has more than {max_pixels // 10**6} megapixels; make it smaller")
                exif = image.info.get("exif", b"")
                orientation = image.getexif().get(0x0112, 1)
                upright = _TURNS.get(orientation, lambda pixels: pixels)
                image.load()
                alpha = np.asarray(image.getchannel("A")) if image.mode == "RGBA" else None
                pixels = np.asarray(image.convert("RGB"))
                return Photo(
                    np.ascontiguousarray(upright(pixels)),
                    alpha if alpha is None else np.ascontiguousarray(upright(alpha)),
                    image.format or "PNG",
                    image.info.get("icc_profile"),
                    exif,
                )
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{name} is not a readable picture ({error}); replace the file") from error


def encode_photo(photo: Photo, suffix: str, *, metadata: Metadata = "safe", quality: int = 95) -> bytes:
    """Encode a photograph.

    Parameters
    ----------
    suffix
        `.jpg`, `.png`, `.webp` or `.tif`.
    metadata
        `safe` keeps what says nothing of place or persons, `all` keeps all, `none` nothing; the colour profile is always kept.
    quality
        Of a JPEG or WebP, 1 to 100.
    """
    image = Image.fromarray(photo.pixels)
    if photo.alpha is not None and suffix != ".jpg":
        image.putalpha(Image.fromarray(photo.alpha))
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}[suffix]
    stream = io.BytesIO()
    image.save(stream, kind, quality=quality, icc_profile=photo.profile)
    return stream.getvalue()


def srgb_of(picture: Picture, profile: bytes | None) -> Picture:
    """Bring an 8-bit picture from the space of an ICC profile to sRGB; None is sRGB already.

    Raises
    ------
    PictureError
        if the profile cannot be used.
    """
    return _transformed(picture, profile, to_srgb=True)


def from_srgb(picture: Picture, profile: bytes | None) -> Picture:
    """Bring an 8-bit sRGB picture to the space of an ICC profile; errors as `srgb_of`."""
    return _transformed(picture, profile, to_srgb=False)


def with_pixels(photo: Photo, pixels: Pixels) -> Photo:
    """Return the photograph with other pixels of the same shape and type."""
    return replace(photo, pixels=pixels)


_TURNS: dict[int, Any] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


def _transformed(picture: Picture, profile: bytes | None, *, to_srgb: bool) -> Picture:
    if profile is None:
        return picture
    transformed = ImageCms.applyTransform(Image.fromarray(picture), _transform(profile, to_srgb))
    return np.asarray(transformed, dtype=np.uint8)


@functools.lru_cache(maxsize=4)
def _transform(profile: bytes, to_srgb: bool) -> Any:
    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        source, target = (own, srgb) if to_srgb else (srgb, own)
        return ImageCms.buildTransform(source, target, "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise PictureError(f"the colour profile cannot be used ({error}); remove it") from error
