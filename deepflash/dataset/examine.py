"""Examining a pair from elsewhere before it is taken in: headers before pixels, real formats, sizes, every pixel, checksums."""

from dataclasses import dataclass, field
from pathlib import Path

from deepflash.dataset.rotated import Look, look_at
from deepflash.dataset.sources import LIGHTS, Candidate
from deepflash.errors import DatasetError
from deepflash.files import sha256_of
from deepflash.pairs import Original
from deepflash.pictures import Header, Picture, read_header, read_rgb

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
    try:
        headers, originals = {}, {}
        for light in LIGHTS:
            path: Path = getattr(candidate, light)
            headers[light] = _header_of(path)
            originals[light] = Original(path.absolute(), sha256_of(path), _SUFFIXES[headers[light].format])
        _refuse_what_is_no_pair(candidate, headers, originals)
        pictures = {light: _pixels_of(originals[light].path, headers[light]) for light in LIGHTS}
        size_bytes = sum(original.path.stat().st_size for original in originals.values())
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read ({error.strerror}); mend that, and import again") from error
    return Examined(candidate, **originals, size_bytes=size_bytes, look=look_at(pictures["studio"]) if look else None)


def _header_of(path: Path) -> Header:
    _refuse_what_is_no_photograph(path)
    header = read_header(path)
    if header.format not in _SUFFIXES:
        raise DatasetError(f"{path} is a {header.format} file; convert it to JPEG, PNG, TIFF or WebP")
    return header


def _pixels_of(path: Path, header: Header) -> Picture:
    """Decode a photograph, for a file may be cut short, and what decodes it must read its orientation as its header says."""
    picture = read_rgb(path)
    height, width = picture.shape[:2]
    if (width, height) != (header.width, header.height):
        raise DatasetError(
            f"{path} has {width} x {height} pixels, its header says {header.width} x {header.height}; save it again, upright"
        )
    return picture


def _refuse_what_is_no_pair(candidate: Candidate, headers: dict[str, Header], originals: dict[str, Original]) -> None:
    flash, studio = (headers[light] for light in LIGHTS)
    if (flash.width, flash.height) != (studio.width, studio.height):
        raise DatasetError(
            f"{candidate.flash} has {flash.width} x {flash.height} pixels when upright and {candidate.studio.name}"
            f" {studio.width} x {studio.height}; a pair needs two photographs of one size"
        )
    if originals["flash"].sha256 == originals["studio"].sha256:
        raise DatasetError(f"{candidate.flash} and {candidate.studio.name} are copies of one photograph; a pair needs two")


def _refuse_what_is_no_photograph(path: Path) -> None:
    if path.suffix.lower() in _RAW_SUFFIXES:
        raise DatasetError(f"{path} is a camera's RAW file; develop it to JPEG or TIFF, or name the JPEG beside it")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
            raise DatasetError(f"{path} is a HEIC picture, which is not read here; convert it to JPEG")
