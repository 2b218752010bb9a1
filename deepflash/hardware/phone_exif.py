"""EXIF for photographs that a browser made from frames, which have none."""

import struct
from datetime import datetime

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

_SOI = b"\xff\xd8"
_APP1 = b"\xff\xe1"
_NAME = b"Exif\0\0"


def with_exif(jpeg: bytes, *, model: str, taken: datetime, exposure_s: float | None) -> bytes:
    """Return a JPEG with what is known of its exposure; as it is if it has EXIF of its own. Its picture stays untouched.

    Parameters
    ----------
    jpeg
        A whole JPEG file.
    model
        Of the camera.
    taken
        When the exposure began, in local time.
    exposure_s
        How long it was; None where that is not known.
    """
    if _NAME in jpeg[:65536]:
        return jpeg
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = model.encode("ascii", "replace").decode()
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    tags[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
    tags[ExifTags.Base.SubsecTimeOriginal] = f"{taken.microsecond // 1000:03d}"
    if exposure_s is not None:
        tags[ExifTags.Base.ExposureTime] = IFDRational(round(exposure_s * 1e6), 10**6)
    content = exif.tobytes()
    return _SOI + _APP1 + struct.pack(">H", len(content) + 2) + content + jpeg[len(_SOI) :]
