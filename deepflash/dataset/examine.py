"""Examining a pair from elsewhere before it is taken in: headers before pixels, real formats, sizes, every pixel, checksums."""

from dataclasses import dataclass, field
from pathlib import Path

from deepflash.dataset.rotated import Look, look_at
from deepflash.dataset.sources import LIGHTS, Candidate
from deepflash.errors import DatasetError
from deepflash.files import sha256_of
from deepflash.pairs import Original
from deepflash.pictures import read_header, read_rgb

_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
_RAW_SUFFIXES = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2"}  # many open as TIFF, to a thumbnail
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"mif1", b"msf1"}


@dataclass(frozen=True)
class Examined:
    """A pair whose photographs can be used.

    Attributes
    ----------
    candidate
        The pair as its source describes it.
    flash, studio
        The photographs, with their checksums and the suffixes of their real formats.
    size_bytes
        Of both together.
    look
        What the studio photograph looks like, if that was asked.
    """

    candidate: Candidate
    flash: Original
    studio: Original
    size_bytes: int
    look: Look | None = field(default=None, compare=False)

    @property
    def content(self) -> tuple[str, str]:
        return self.flash.sha256, self.studio.sha256


def examine(candidate: Candidate, *, look: bool = False) -> Examined:
    """Read both photographs of a pair to the last pixel.

    Parameters
    ----------
    candidate
        The pair.
    look
        Keep what is needed to recognise the pair at another angle.

    Raises
    ------
    PictureError
        if a photograph is missing, damaged or too large.
    DatasetError
        if the two are no pair of photographs: of different upright sizes, one and the same, or of a format that is not read.
    """
    headers = {}
    originals = {}
    for light in LIGHTS:
        path: Path = getattr(candidate, light)
        _refuse_what_is_no_photograph(path)
        headers[light] = read_header(path)
        suffix = _SUFFIXES.get(headers[light].format)
        if suffix is None:
            raise DatasetError(f"{path} is a {headers[light].format} file; convert it to JPEG, PNG, TIFF or WebP")
        originals[light] = Original(path.absolute(), sha256_of(path), suffix)
    (flash, studio) = (headers[light] for light in LIGHTS)
    if (flash.width, flash.height) != (studio.width, studio.height):
        raise DatasetError(
            f"{candidate.flash} has {flash.width} x {flash.height} pixels when upright and {candidate.studio.name}"
            f" {studio.width} x {studio.height}; a pair needs two photographs of one size"
        )
    if originals["flash"].sha256 == originals["studio"].sha256:
        raise DatasetError(f"{candidate.flash} and {candidate.studio.name} are copies of one photograph; a pair needs two")
    pictures = {light: read_rgb(originals[light].path) for light in LIGHTS}  # to the last pixel: a file may be cut short
    size_bytes = sum(original.path.stat().st_size for original in originals.values())
    return Examined(candidate, **originals, size_bytes=size_bytes, look=look_at(pictures["studio"]) if look else None)


def _refuse_what_is_no_photograph(path: Path) -> None:
    if path.suffix.lower() in _RAW_SUFFIXES:
        raise DatasetError(f"{path} is a camera's RAW file; develop it to JPEG or TIFF, or name the JPEG beside it")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
            raise DatasetError(f"{path} is a HEIC picture, which is not read here; convert it to JPEG")
