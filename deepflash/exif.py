"""What a photograph says of itself beside its pixels, and what of it may go out.

EXIF is handled as a file holds it, a small TIFF structure. What goes out has lost its orientation, because
the pixels are upright, and its thumbnail, because that shows the old picture.
"""

import struct
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

_BASE = ExifTags.Base

SAFE_TAGS = {
    *(_BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime, _BASE.XResolution, _BASE.YResolution, _BASE.ResolutionUnit),
    *(_BASE.ExposureTime, _BASE.FNumber, _BASE.ExposureProgram, _BASE.ISOSpeedRatings, _BASE.SensitivityType),
    *(_BASE.RecommendedExposureIndex, _BASE.ExifVersion, _BASE.DateTimeOriginal, _BASE.DateTimeDigitized),
    *(_BASE.SubsecTime, _BASE.SubsecTimeOriginal, _BASE.SubsecTimeDigitized),
    *(_BASE.ShutterSpeedValue, _BASE.ApertureValue, _BASE.BrightnessValue, _BASE.ExposureBiasValue, _BASE.MaxApertureValue),
    *(_BASE.SubjectDistance, _BASE.SubjectDistanceRange, _BASE.MeteringMode, _BASE.LightSource, _BASE.Flash),
    *(_BASE.FocalLength, _BASE.FocalLengthIn35mmFilm, _BASE.ColorSpace, _BASE.SensingMethod, _BASE.CustomRendered),
    *(_BASE.ExposureMode, _BASE.WhiteBalance, _BASE.DigitalZoomRatio, _BASE.SceneCaptureType, _BASE.GainControl),
    *(_BASE.Contrast, _BASE.Saturation, _BASE.Sharpness, _BASE.LensSpecification, _BASE.LensMake, _BASE.LensModel),
}
"""What says nothing of place or persons: which kind of camera and lens, when, and how it was exposed.

A list of what may stay, not of what must go, because anything may stand in a tag that nobody thought of. So these go among
others: position and time zone; artist, copyright, owner of the camera, host computer; serial numbers of body and lens, unique
picture numbers; the maker's note (serial numbers, recognised faces, focus points); descriptions, comments, and everything
unknown.
"""

_OF_A_TIFF = {  # how the pixels of that very file are stored, and what is kept elsewhere: profile, XMP, IPTC
    *range(254, 260), 262, 263, 264, 265, 266, 273, 274, *range(277, 282), 284, 285, *range(288, 292), 297, 301, 317, 318,
    *range(320, 326), *range(330, 348), *range(512, 522), *range(529, 533), 700, 33723, 34377, 34675, 37724,
}  # fmt: skip


def exif_of(image: Image.Image) -> bytes:
    """Return the EXIF of an opened picture, or nothing if there is none or it is damaged."""
    if image.format != "TIFF":
        return bytes(image.info.get("exif") or b"")
    try:  # a TIFF is EXIF as a whole; a copy is made without what only that very file's pixels need
        tags = image.getexif()
        return _written(
            {tag: value for tag, value in tags.items() if tag not in _OF_A_TIFF and tag not in _POINTERS},
            dict(tags.get_ifd(ExifTags.IFD.Exif)),
            dict(tags.get_ifd(ExifTags.IFD.GPSInfo)),
        )
    except _DAMAGED:
        return b""


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an opened picture; 1 if there is none or it is damaged."""
    try:
        return int(image.getexif().get(_BASE.Orientation, 1))
    except _DAMAGED:
        return 1


def outgoing_exif(exif: bytes, size: tuple[int, int], *, safe: bool) -> bytes:
    """Return what of a photograph's EXIF goes out with another picture of it.

    Parameters
    ----------
    exif
        As `exif_of` returned it; may be empty.
    size
        (width, height) of the new picture.
    safe
        Keep `SAFE_TAGS` alone; else everything but orientation and thumbnail.
    """
    before = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which costs tags and nothing else
            before.load(exif)
            shot = _chosen(before.get_ifd(ExifTags.IFD.Exif), safe)
            place = {} if safe else dict(before.get_ifd(ExifTags.IFD.GPSInfo))
            if shot:
                shot |= {_BASE.ExifImageWidth: size[0], _BASE.ExifImageHeight: size[1]}
            return _written(_chosen(before, safe), shot, place)
    except _DAMAGED:
        return b""


def _chosen(tags: Mapping[int, Any], safe: bool) -> dict[int, Any]:
    present = {tag: value for tag, value in tags.items() if tag not in _POINTERS and tag != _BASE.Orientation}
    return {tag: value for tag, value in present.items() if tag in SAFE_TAGS} if safe else present


def _written(tags: dict[int, Any], shot: dict[int, Any], place: dict[int, Any]) -> bytes:
    exif = Image.Exif()
    exif.update(tags)
    for pointer, parts in ((ExifTags.IFD.Exif, shot), (ExifTags.IFD.GPSInfo, place)):
        if parts:
            exif.get_ifd(pointer).update(parts)
    return exif.tobytes() if tags or shot or place else b""


_POINTERS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}
_DAMAGED = (  # what Pillow raises at EXIF of wrong types and lengths, found by damaging files at random
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error),
    *(AttributeError, LookupError, ArithmeticError, RuntimeError),
)
