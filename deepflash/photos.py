"""People's own photographs, in and out: any common format, colour space and depth, given back as what came.

A `Photo` holds the pixels upright, in the colour space that the file has, and all that is needed to write such a file
again. Pixels are never brought to sRGB and back, which would clip the colours of a phone's wider space (Display P3) and
cost 16-bit files their depth: what must see sRGB (face detector, network) sees `srgb_of` a reduced copy.
"""

import functools
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from deepflash.errors import PictureError
from deepflash.exif import exif_of, orientation_of, outgoing_exif
from deepflash.pictures import MAX_PIXELS, Picture

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Metadata = Literal["safe", "all", "none"]

MAX_BYTES = 2 * 10**9
"""Of a file: 178 megapixels of 16 bits and alpha have 1.4 GB."""

RESULT_SUFFIXES = {".png": ".png", ".webp": ".webp", ".tif": ".tif", ".tiff": ".tif"}
"""What a result is written as, by the suffix of the photograph; everything else becomes `.jpg`."""

_FORMATS = ["JPEG", "PNG", "WEBP", "TIFF"]
_HALF_CHROMA = 2  # Pillow's word for 4:2:0
_FOREIGN = "save it as JPEG, PNG, WebP or TIFF"


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
    exif, xmp
        As they were in the file, or empty.
    chroma
        How a JPEG stored colour, in Pillow's numbers: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
    lossless
        Whether a WebP kept every pixel.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    format: str = "PNG"
    profile: bytes | None = None
    exif: bytes = b""
    xmp: bytes = b""
    chroma: int = _HALF_CHROMA
    lossless: bool = False

    @property
    def depth(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photograph from a file; see `decode_photo`."""
    if not path.exists():
        raise PictureError(f"{path} does not exist")
    if not path.is_file():
        raise PictureError(f"{path} is not a file; give the photograph itself")
    if path.stat().st_size > MAX_BYTES:
        raise PictureError(f"{path} has more than {MAX_BYTES // 10**6} MB; make it smaller")
    return decode_photo(path.read_bytes(), str(path), max_pixels=max_pixels)


def read_srgb(path: Path) -> Picture:
    """Read a photograph as (H, W, 3) sRGB `uint8`, upright, without transparency; errors as `read_photo`."""
    photo = read_photo(path)
    return srgb_of(_in_bytes(photo).pixels.astype(np.uint8, copy=False), photo.profile)


def decode_photo(encoded: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a photograph, upright; its header is read before its pixels.

    Grey and palette pictures become RGB, CMYK becomes sRGB. Of a file with several pictures (a phone's MPO, a TIFF of several
    pages, a burst) the first is taken; an animation is refused. A colour profile that cannot be used is left
    out, as viewers do.

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
            warnings.simplefilter("ignore")  # of bombs, which max_pixels decides, and of damaged EXIF, which does not matter
            with _opened(encoded, name) as image:
                _check(image, name, max_pixels)
                return _decoded(image, encoded, name)
    except Image.DecompressionBombError:
        raise PictureError(f"{name} claims to have more than {max_pixels // 10**6} megapixels; make it smaller") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a photograph of a known format; {_FOREIGN}") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, cv2.error) as error:  # RuntimeError: libheif's limits
        raise PictureError(f"{name} is truncated or damaged ({error}); photograph or copy it again") from error


def encode_photo(photo: Photo, suffix: str, *, metadata: Metadata = "safe", quality: int = 95) -> bytes:
    """Encode a photograph, with its colour profile.

    Parameters
    ----------
    suffix
        `.jpg`, `.png`, `.webp` or `.tif`. JPEG and WebP have 8 bits; a JPEG shows what is transparent on white.
    metadata
        `safe`: EXIF's `deepflash.exif.SAFE_TAGS`; `all`: EXIF and XMP, without orientation and thumbnail; `none`: nothing.
        A TIFF of 16 bits keeps its profile alone.
    quality
        Of a JPEG or a WebP that was lossy, 1 to 100.
    """
    height, width = photo.pixels.shape[:2]
    exif = b"" if metadata == "none" else outgoing_exif(photo.exif, (width, height), safe=metadata == "safe")
    xmp = photo.xmp if metadata == "all" else b""
    if suffix == ".png":
        return _png(photo, exif, xmp)
    if suffix == ".tif" and photo.depth > 255:
        return _deep_tiff(photo)
    image = Image.fromarray(_on_white(photo) if suffix == ".jpg" else _with_alpha(_in_bytes(photo)))
    options: dict[str, dict[str, Any]] = {
        ".jpg": {"format": "JPEG", "quality": quality, "subsampling": photo.chroma, "xmp": xmp},
        ".webp": {"format": "WEBP", "quality": quality, "lossless": photo.lossless, "method": 2, "xmp": xmp},
        ".tif": {"format": "TIFF"} | ({"tiffinfo": {700: xmp}} if xmp else {}),  # compressed, it would lose its EXIF
    }
    stream = io.BytesIO()
    image.save(stream, icc_profile=photo.profile, exif=exif, **options[suffix])
    return stream.getvalue()


def suffix_for(photo: Photo) -> str:
    """Return the suffix that a result of this photograph is written with: that of its format, `.jpg` for HEIC."""
    return {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}.get(photo.format, ".jpg")


def srgb_of(picture: Picture, profile: bytes | None) -> Picture:
    """Bring an 8-bit RGB picture from the space of an ICC profile to sRGB; without one that can be used it stays as it is."""
    return _transformed(picture, profile, to_srgb=True)


def from_srgb(picture: Picture, profile: bytes | None) -> Picture:
    """Bring an 8-bit sRGB picture to the space of an ICC profile; None is sRGB already."""
    return _transformed(picture, profile, to_srgb=False)


def _opened(encoded: bytes, name: str) -> Image.Image:
    if encoded[4:8] != b"ftyp":
        return Image.open(io.BytesIO(encoded), formats=_FORMATS)
    try:
        from pillow_heif import HeifImagePlugin  # noqa: F401, PLC0415 (an extra; Pillow knows the format from here on)
    except ImportError:
        sentence = f"{name} is a HEIC photograph; read such with: pip install pillow-heif (or {_FOREIGN})"
        raise PictureError(sentence) from None
    return Image.open(io.BytesIO(encoded), formats=["HEIF"])


def _check(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height} pixels"
        raise PictureError(f"{name} claims to have more than {max_pixels // 10**6} megapixels ({size}); make it smaller")
    if image.format in {"PNG", "WEBP"} and getattr(image, "is_animated", False):
        raise PictureError(f"{name} is an animation; give a single photograph")


def _decoded(image: Image.Image, encoded: bytes, name: str) -> Photo:
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    exif, xmp, profile = exif_of(image), image.info.get("xmp", b""), image.info.get("icc_profile")
    chroma = JpegImagePlugin.get_sampling(image) if kind == "JPEG" else -1
    channels: Pixels
    if _bits(image, encoded) > 8:
        orientation = 1 if kind == "TIFF" else orientation_of(image)  # OpenCV reads a TIFF upright, and nothing else
        channels, profile = _deep_channels(encoded, name), profile if _space(profile) == "RGB" else None
    else:
        image.load()  # before the orientation is asked for: Pillow turns a TIFF itself
        orientation = orientation_of(image)
        channels, profile = _channels(image, profile, name)
    upright = np.ascontiguousarray(_TURNS.get(orientation, _as_is)(channels))
    alpha = np.ascontiguousarray(upright[..., 3]) if upright.shape[2] == 4 else None
    return Photo(
        upright if alpha is None else np.ascontiguousarray(upright[..., :3]),
        alpha,
        kind,
        profile,
        exif,
        xmp if isinstance(xmp, bytes) else b"",
        chroma if chroma >= 0 else _HALF_CHROMA,
        kind == "WEBP" and b"VP8L" in encoded,
    )


def _bits(image: Image.Image, encoded: bytes) -> int:
    """Return the bits of a channel, which Pillow's mode does not tell: it reads 16-bit colour as 8-bit."""
    if image.format == "PNG":
        return encoded[24]  # in the header, which is always the first chunk
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 8


def _deep_channels(encoded: bytes, name: str) -> NDArray[np.uint16]:
    """Decode 16-bit pixels as RGB or RGBA."""
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise PictureError(f"{name} is truncated or damaged; photograph or copy it again")
    if decoded.dtype != np.uint16:
        raise PictureError(f"{name} has values of the kind {decoded.dtype}; convert it to 8 or 16 bits")
    count = 1 if decoded.ndim == 2 else decoded.shape[2]
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[count]
    return np.asarray(cv2.cvtColor(decoded, conversion), dtype=np.uint16)


def _channels(image: Image.Image, profile: bytes | None, name: str) -> tuple[Picture, bytes | None]:
    """Return 8-bit pixels as RGB or RGBA, and the profile that describes them."""
    if image.mode not in _MODES:
        raise PictureError(f"{name} has colours of the kind {image.mode}; convert it to RGB")
    space = _space(profile)
    if profile and (image.mode, space) in {("L", "GRAY"), ("CMYK", "CMYK")}:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return np.asarray(converted, dtype=np.uint8), None
    rgb = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(rgb, dtype=np.uint8), profile if space == "RGB" and image.mode != "CMYK" else None


def _png(photo: Photo, exif: bytes, xmp: bytes) -> bytes:
    """Encode with OpenCV: Pillow knows no 16-bit colour. The settings are those of `deepflash.pictures.encode`."""
    pixels = _with_alpha(photo)
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if photo.alpha is not None else cv2.COLOR_RGB2BGR)
    blocks = {
        cv2.IMAGE_METADATA_EXIF: exif.removeprefix(b"Exif\0\0"),
        cv2.IMAGE_METADATA_XMP: xmp,
        cv2.IMAGE_METADATA_ICCP: photo.profile or b"",
    }
    present = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    options = [
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    ]
    _ok, encoded = cv2.imencodeWithMetadata(".png", stored, list(present), list(present.values()), options)
    return bytes(encoded.tobytes())


def _deep_tiff(photo: Photo) -> bytes:
    stream = io.BytesIO()
    extra = None if photo.alpha is None else ["unassalpha"]
    tifffile.imwrite(
        stream,
        _with_alpha(photo),
        photometric="rgb",
        extrasamples=extra,
        compression="zlib",
        iccprofile=photo.profile,
        metadata=None,
        software=False,
    )
    return stream.getvalue()


def _with_alpha(photo: Photo) -> Pixels:
    return photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])  # type: ignore[return-value]


def _in_bytes(photo: Photo) -> Photo:
    """Return the photograph with 8 bits."""
    if photo.depth == 255:
        return photo
    alpha = None if photo.alpha is None else _byte(photo.alpha)
    return replace(photo, pixels=_byte(photo.pixels), alpha=alpha)


def _byte(values: Pixels) -> Picture:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(photo: Photo) -> Picture:
    eight = _in_bytes(photo)
    if eight.alpha is None:
        return np.asarray(eight.pixels, dtype=np.uint8)
    share = eight.alpha[..., None].astype(np.float32) / 255
    return np.rint(eight.pixels * share + 255 * (1 - share)).astype(np.uint8)


def _as_is(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels


_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}

_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {  # EXIF 2.32, tag 0x0112
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


def _transformed(picture: Picture, profile: bytes | None, *, to_srgb: bool) -> Picture:
    if profile is None or _space(profile) != "RGB" or _is_srgb(profile):
        return picture
    return np.asarray(ImageCms.applyTransform(Image.fromarray(picture), _transform(profile, to_srgb)), dtype=np.uint8)


@functools.lru_cache(maxsize=4)
def _transform(profile: bytes, to_srgb: bool) -> ImageCms.ImageCmsTransform:
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    source, target = (own, srgb) if to_srgb else (srgb, own)
    return ImageCms.buildTransform(source, target, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


@functools.lru_cache(maxsize=4)
def _space(profile: bytes | None) -> str:
    """Return which colours a profile describes, such as `RGB`; nothing if there is none that can be used both ways."""
    if not profile:
        return ""
    try:
        space = str(ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space).strip()
        if space == "RGB":
            _transform(profile, True), _transform(profile, False)
    except (ImageCms.PyCMSError, OSError):
        return ""
    return space


@functools.lru_cache(maxsize=4)
def _is_srgb(profile: bytes) -> bool:
    return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
