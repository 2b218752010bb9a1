"""Reading and writing photographs, safely.

Headers are read before pixels, so that a decompression bomb is refused and not unpacked.
Arrays are (H, W, 3) RGB `uint8`, upright: the EXIF orientation has been applied.
Coordinates are (x, y) at pixel centres, (0, 0) being the centre of the top-left pixel.
"""

import base64
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.errors import PictureError

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]

MAX_PIXELS = 178_000_000
"""More are refused; Pillow's own limit, which is a setting of the whole process, lies just above."""

_TOO_MANY = f"more than {MAX_PIXELS // 10**6} megapixels"
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself: its upright size in pixels, its real format, its ICC profile, unexamined."""

    width: int
    height: int
    format: str
    profile: bytes | None = None


def read_header(path: Path) -> Header:
    """Read a picture's size and format without decoding it.

    Raises
    ------
    PictureError
        if the file is missing, not a picture, or larger than 178 megapixels.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 (reading shards needs no Pillow)

    if path.exists() and not path.is_file():
        raise PictureError(f"{path} is not a file; give the photograph itself")  # a pipe would be waited for, for ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, which MAX_PIXELS decides, and of damaged EXIF, which does not matter
            with Image.open(path) as image:
                width, height = _stored_size(image)
                orientation = _orientation(image)
                kind, profile = image.format or "unknown", image.info.get("icc_profile")
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path} claims to have {_TOO_MANY}; replace the file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{path} is not a readable picture ({error}); replace the file") from error
    if width * height > MAX_PIXELS:
        raise PictureError(f"{path} claims to have {_TOO_MANY} ({width} x {height} pixels); replace the file")
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Header(width, height, kind, profile)


def read_rgb(path: Path, *, reduce: int = 1) -> Picture:
    """Decode a picture, upright, as (H, W, 3) RGB `uint8`.

    Parameters
    ----------
    path
        A JPEG, PNG, WebP or TIFF file.
    reduce
        1, 2, 4 or 8: decode at that fraction of the size. For JPEG this is several times faster
        than decoding everything and agrees with it to 0.003 px in position (reference: registration.md).

    Raises
    ------
    PictureError
        if the file is missing, truncated, too large or not a picture.
    """
    if _must_be_whole(path, reduce):
        return _shrunk(read_rgb(path), reduce)
    flags = {
        1: cv2.IMREAD_COLOR_RGB,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    decoded = _decode(path, flags[reduce])
    return decoded if reduce == 1 else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_gray(path: Path, *, reduce: int = 1) -> Picture:
    """Decode a picture, upright, as (H, W) grey `uint8`; parameters and errors as `read_rgb`."""
    if _must_be_whole(path, reduce):
        return _shrunk(read_gray(path), reduce)
    flags = {
        1: cv2.IMREAD_GRAYSCALE,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }
    return _decode(path, flags[reduce])


def read_deep_rgb(path: Path) -> NDArray[np.uint8 | np.uint16]:
    """Decode a picture at the depth it has, upright, as (H, W, 3) RGB `uint8` or `uint16`; errors as `read_rgb`.

    Nothing is said of the meaning of the values: 16-bit files are often linear, 8-bit ones hardly ever.
    """
    decoded = _decode_any(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    if decoded.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"{path} has {decoded.dtype} values; convert it to 8 or 16 bits")
    return decoded


def decode_rgb(encoded: bytes | memoryview, name: str) -> Picture:
    """Decode an encoded picture held in memory; `name` stands in the error's sentence."""
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB) if encoded else None
    if decoded is None:
        raise PictureError(f"{name} is truncated or not a picture; replace the file")
    return np.asarray(decoded, dtype=np.uint8)


def encode(picture: Picture, suffix: str, *, quality: int = 95, full_chroma: bool = False) -> bytes:
    """Encode an RGB or grey `uint8` picture.

    Parameters
    ----------
    suffix
        `.png` or `.webp`, both lossless, or `.jpg`. Their settings were chosen by measurement: docs/results.md.
    quality
        Of a JPEG, 1 to 100.
    full_chroma
        Whether a JPEG keeps colour at full resolution (4:4:4) and not at half of it (4:2:0).
    """
    if suffix == ".webp":
        return _encode_webp(picture)
    chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if full_chroma else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = {
        ".png": [
            *(cv2.IMWRITE_PNG_COMPRESSION, 1),
            *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
            *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        ],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma],
    }
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    ok, encoded = cv2.imencode(suffix, stored, options[suffix])
    if not ok:
        raise PictureError(f"a picture of shape {picture.shape} could not be encoded as {suffix}")
    return bytes(encoded.tobytes())


def jpeg_base64(picture: Picture, *, quality: int = 88) -> str:
    """Encode an RGB or grey `uint8` picture as JPEG in base64, for pages that hold their pictures (`data:` addresses)."""
    return base64.b64encode(encode(picture, ".jpg", quality=quality)).decode()


def _encode_webp(picture: Picture) -> bytes:
    """Use Pillow, because OpenCV always takes libwebp's slowest method: twelve times slower, and 10 % smaller."""
    from PIL import Image  # noqa: PLC0415

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, method=0, quality=0, exact=True)
    return file.getvalue()


def _must_be_whole(path: Path, reduce: int) -> bool:
    """Tell whether a picture must be decoded whole: OpenCV 5.0 leaves a TIFF lying that it decodes at a fraction."""
    return reduce > 1 and read_header(path).format == "TIFF"


def _shrunk(picture: Picture, reduce: int) -> Picture:
    height, width = picture.shape[:2]
    size = (math.ceil(width / reduce), math.ceil(height / reduce))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _stored_size(image: "Image.Image") -> tuple[int, int]:
    """Return (width, height) before orientation; of a TIFF, Pillow tells those after it since version 11."""
    from PIL import TiffImagePlugin  # noqa: PLC0415

    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2[TiffImagePlugin.IMAGEWIDTH]), int(image.tag_v2[TiffImagePlugin.IMAGELENGTH])
    return image.size


def _orientation(image: "Image.Image") -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode all pixels to see whether a tag stands behind them
    return int(image.getexif().get(_EXIF_ORIENTATION, 1))


def _decode(path: Path, flags: int) -> Picture:
    return np.asarray(_decode_any(path, flags), dtype=np.uint8)


def _decode_any(path: Path, flags: int) -> NDArray[Any]:
    read_header(path)
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    decoded: Any = cv2.imdecode(encoded, flags)  # unlike imread, which fills the missing part of a JPEG with grey
    if decoded is None:
        raise PictureError(f"{path} is truncated or damaged; photograph or copy it again")
    return np.asarray(decoded)
