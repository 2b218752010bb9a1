"""People's photographs are read upright, in their own colours and depth, and given back as what came, without secrets."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational
from skimage import data

from deepflash.errors import PictureError
from deepflash.photos import Photo, decode_photo, encode_photo, from_srgb, read_photo, read_srgb, srgb_of, suffix_for
from deepflash.pictures import Picture
from tests.profiles import WIDE
from tests.test_pictures import UPRIGHT

BASE = ExifTags.Base
DEEP = np.uint16(257)


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return np.ascontiguousarray(np.asarray(data.astronaut())[:128, 150:342])


def saved(picture: NDArray[np.generic], kind: str, **options: object) -> bytes:
    """Write with Pillow, independently of our own encoder."""
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def far(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def secret_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[BASE.Orientation], exif[BASE.Make], exif[BASE.Model] = orientation, "Maker", "Model 1"
    exif[BASE.Artist], exif[BASE.Copyright], exif[BASE.ImageDescription] = "SECRET artist", "SECRET owner", "SECRET words"
    exif[BASE.HostComputer], exif[BASE.XPAuthor] = "SECRET host", "SECRET".encode("utf-16-le")
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    shot[BASE.ExposureTime], shot[BASE.DateTimeOriginal] = IFDRational(1, 60), "2024:05:06 07:08:09"
    shot[BASE.OffsetTimeOriginal], shot[BASE.MakerNote] = "+05:45", b"SECRET note" * 9
    shot[BASE.CameraOwnerName], shot[BASE.BodySerialNumber], shot[BASE.LensSerialNumber] = "SECRET a", "SECRET b", "SECRET c"
    shot[BASE.UserComment], shot[BASE.ImageUniqueID], shot[0xC0DE] = b"SECRET d", "SECRET e", "SECRET unknown"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (IFDRational(27), IFDRational(42), IFDRational(0)), 29: "2024:05:06"})
    return exif


@pytest.mark.parametrize(("kind", "tolerance"), [("JPEG", 4), ("PNG", 0), ("WEBP", 4), ("TIFF", 0)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_orientation_is_read_upright_and_written_without_a_tag(
    astronaut: Picture, kind: str, tolerance: float, orientation: int
) -> None:
    photo = decode_photo(saved(astronaut, kind, exif=secret_exif(orientation)), "a")
    assert photo.format == kind
    assert far(photo.pixels, UPRIGHT[orientation](astronaut)) <= tolerance
    for metadata in ("safe", "all", "none"):
        again = Image.open(io.BytesIO(encode_photo(photo, suffix_for(photo), metadata=metadata)))
        assert again.format == kind
        assert again.size == photo.pixels.shape[1::-1]
        assert again.getexif().get(BASE.Orientation, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_place_and_persons_stay_behind(astronaut: Picture, kind: str) -> None:
    xmp = {"xmp": b"<x:xmpmeta>SECRET xmp</x:xmpmeta>"} if kind in {"JPEG", "WEBP"} else {}
    encoded = saved(astronaut, kind, exif=secret_exif().tobytes(), **xmp)
    photo = decode_photo(encoded, "a")

    safe = encode_photo(photo, suffix_for(photo))
    exif = Image.open(io.BytesIO(safe)).getexif()
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    assert (exif[BASE.Make], exif[BASE.Model]) == ("Maker", "Model 1")
    assert (float(shot[BASE.ExposureTime]), shot[BASE.DateTimeOriginal]) == (1 / 60, "2024:05:06 07:08:09")
    assert not exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert b"SECRET" not in safe
    assert "SECRET".encode("utf-16-le") not in safe
    assert b"+05:45" not in safe

    everything = encode_photo(photo, suffix_for(photo), metadata="all")
    for words in (b"SECRET artist", b"SECRET note", b"SECRET unknown", *([b"SECRET xmp"] if xmp else [])):
        assert words in everything
    assert Image.open(io.BytesIO(everything)).getexif().get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"

    nothing = encode_photo(photo, suffix_for(photo), metadata="none")
    assert b"SECRET" not in nothing
    assert BASE.Make not in Image.open(io.BytesIO(nothing)).getexif()


def test_the_thumbnail_of_the_old_picture_goes(astronaut: Picture) -> None:
    """Image.Exif does not write one, so the file is made by hand: IFD0 with a tag, IFD1 that points to a JPEG."""
    thumbnail = saved(astronaut[:32, :32], "JPEG", comment="THUMBNAIL")
    first = struct.pack("<H", 1) + struct.pack("<HHI4s", BASE.Make, 2, 3, b"Me\0\0") + struct.pack("<I", 26)
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 56) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + bytes(4) + thumbnail
    photo = decode_photo(saved(astronaut, "JPEG", exif=exif), "a")
    assert b"THUMBNAIL" in photo.exif
    for metadata in ("safe", "all"):
        encoded = encode_photo(photo, ".jpg", metadata=metadata)
        assert Image.open(io.BytesIO(encoded)).getexif()[BASE.Make] == "Me"
        assert b"THUMBNAIL" not in encoded


def test_damaged_exif_is_left_out(astronaut: Picture) -> None:
    photo = decode_photo(saved(astronaut, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense"), "a")
    assert Image.open(io.BytesIO(encode_photo(photo, ".jpg"))).size == (192, 128)


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif")])
def test_the_colour_profile_comes_back_and_pixels_keep_their_values(astronaut: Picture, kind: str, suffix: str) -> None:
    photo = decode_photo(saved(astronaut, kind, icc_profile=WIDE), "a")
    assert photo.profile == WIDE
    assert far(photo.pixels, astronaut) < 4
    for metadata in ("safe", "none"):
        assert decode_photo(encode_photo(photo, suffix, metadata=metadata), "b").profile == WIDE


def test_srgb_of_a_wider_space_is_what_its_primaries_say() -> None:
    """Oracle: gamma, matrix to XYZ for D50, matrix to sRGB (Lindbloom, Bradford-adapted), sRGB's curve; to 1.5 levels."""
    space = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
    to_srgb = np.array([[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]])
    colours = np.array([[(60, 60, 60), (200, 150, 120), (90, 120, 80), (250, 250, 250)]], np.uint8)
    linear = ((colours / 255) ** (563 / 256)) @ space.T @ to_srgb.T
    expected = 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055)
    assert np.abs(srgb_of(colours, WIDE) - expected).max() < 1.5
    assert np.abs(from_srgb(srgb_of(colours, WIDE), WIDE).astype(int) - colours).max() <= 2


@pytest.mark.parametrize(("name", "depth"), [("wide.jpg", np.uint8), ("deep.png", np.uint16)])
def test_a_photograph_of_any_space_and_depth_can_be_read_as_srgb(
    astronaut: Picture, tmp_path: Path, name: str, depth: type[np.unsignedinteger]
) -> None:
    pixels = astronaut if depth is np.uint8 else astronaut.astype(np.uint16) * 257
    (tmp_path / name).write_bytes(encode_photo(Photo(pixels, profile=WIDE, chroma=0), Path(name).suffix, quality=100))
    found = read_srgb(tmp_path / name)
    assert found.dtype == np.uint8
    assert far(found, srgb_of(astronaut, WIDE)) < 1.5
    assert far(found, astronaut) > 3


def test_a_damaged_profile_is_left_out_and_srgb_is_left_alone(astronaut: Picture) -> None:
    assert decode_photo(saved(astronaut, "JPEG", icc_profile=b"no profile" * 20), "a").profile is None
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert srgb_of(astronaut, srgb) is astronaut
    assert srgb_of(astronaut, None) is astronaut


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen_bits(astronaut: Picture, suffix: str, alpha: bool) -> None:
    deep = astronaut.astype(np.uint16) * DEEP + np.arange(192, dtype=np.uint16)[None, :, None] % 200
    stored = np.dstack([deep, deep[..., 0] // 2]) if alpha else deep
    order = cv2.COLOR_RGBA2BGRA if alpha else cv2.COLOR_RGB2BGR
    encoded = cv2.imencode(suffix, cv2.cvtColor(stored, order))[1].tobytes()
    photo = decode_photo(encoded, "a")
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, deep)
    assert (photo.alpha is not None) == alpha
    again = decode_photo(encode_photo(Photo(photo.pixels, photo.alpha, profile=WIDE), suffix), "b")
    assert np.array_equal(again.pixels, deep)
    assert alpha is False or np.array_equal(again.alpha, deep[..., 0] // 2)
    assert again.profile == WIDE


def test_a_deep_photograph_as_jpeg_is_rounded(astronaut: Picture) -> None:
    deep = Photo(astronaut.astype(np.uint16) * DEEP)
    assert encode_photo(deep, ".jpg") == encode_photo(Photo(astronaut), ".jpg")


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_turned_deep_tiff_is_read_upright(astronaut: Picture, orientation: int) -> None:
    stream = io.BytesIO()
    tags = [(int(BASE.Orientation), "H", 1, orientation, True)]
    tifffile.imwrite(stream, astronaut.astype(np.uint16) * DEEP, photometric="rgb", metadata=None, extratags=tags)
    photo = decode_photo(stream.getvalue(), "a")
    assert np.array_equal(photo.pixels, UPRIGHT[orientation](astronaut.astype(np.uint16) * DEEP))


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_deep_png_is_read_upright(astronaut: Picture, orientation: int) -> None:
    deep = astronaut.astype(np.uint16) * DEEP
    plain = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    exif = secret_exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    photo = decode_photo(plain[:33] + chunk + plain[33:], "a")  # after the header
    assert np.array_equal(photo.pixels, UPRIGHT[orientation](deep))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_kept_and_shown_on_white_where_there_is_none(astronaut: Picture, kind: str) -> None:
    alpha = np.full((128, 192), 255, np.uint8)
    alpha[:, :90] = 0
    photo = decode_photo(saved(np.dstack([astronaut, alpha]), kind, lossless=True), "a")
    assert np.array_equal(photo.alpha, alpha)
    assert np.array_equal(decode_photo(encode_photo(photo, suffix_for(photo)), "b").alpha, alpha)
    assert decode_photo(encode_photo(photo, ".jpg"), "c").pixels[:, :80].min() > 250


def test_grey_palette_and_cmyk_become_colour(astronaut: Picture) -> None:
    grey = np.asarray(Image.fromarray(astronaut).convert("L"))
    assert far(decode_photo(saved(grey, "PNG"), "a").pixels, np.dstack([grey] * 3)) == 0
    assert np.array_equal(decode_photo(saved(grey.astype(np.uint16) * DEEP, "PNG"), "a").pixels, np.dstack([grey * DEEP] * 3))
    palette = Image.fromarray(astronaut).quantize(64)
    assert far(decode_photo(saved(palette, "PNG"), "a").pixels, np.asarray(palette.convert("RGB"))) == 0
    cmyk = decode_photo(saved(Image.fromarray(astronaut).convert("CMYK"), "JPEG", quality=95), "a")
    assert far(cmyk.pixels, astronaut) < 4
    assert cmyk.profile is None


def test_a_phones_jpeg_of_several_pictures_is_its_first(astronaut: Picture) -> None:
    second = Image.fromarray(astronaut[:64, :64])
    encoded = saved(astronaut, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(encoded)).format == "MPO"
    photo = decode_photo(encoded, "a")
    assert photo.format == "JPEG"
    assert far(photo.pixels, astronaut) < 4


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_the_way_it_stores_colour(astronaut: Picture, subsampling: int) -> None:
    photo = decode_photo(saved(astronaut, "JPEG", subsampling=subsampling), "a")
    again = Image.open(io.BytesIO(encode_photo(photo, ".jpg")))
    assert again.layer[0][1:3] == [(1, 1), (2, 1), (2, 2)][subsampling]


def test_a_lossless_webp_stays_lossless(astronaut: Picture) -> None:
    photo = decode_photo(saved(astronaut, "WEBP", lossless=True), "a")
    assert np.array_equal(decode_photo(encode_photo(photo, ".webp"), "b").pixels, astronaut)


def test_heic_is_read_upright_where_the_library_is_and_written_as_jpeg(astronaut: Picture) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra deepflash[heic] is not installed")
    stream = io.BytesIO()
    exif = secret_exif(6)
    heif.from_pillow(Image.fromarray(astronaut)).save(stream, quality=95, exif=exif.tobytes())
    photo = decode_photo(stream.getvalue(), "a.heic")
    assert (photo.format, suffix_for(photo)) == ("HEIF", ".jpg")
    assert photo.pixels.shape in {(192, 128, 3), (128, 192, 3)}
    assert b"SECRET" not in encode_photo(photo, ".jpg")


def test_heic_without_the_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PictureError, match="pip install pillow-heif"):
        decode_photo(bytes(4) + b"ftypheic" + bytes(99), "a.heic")


def test_what_is_no_photograph_is_refused_with_a_sentence(astronaut: Picture, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(PictureError, match=r"text\.jpg is not a photograph of a known format; save it as"):
        read_photo(text)
    with pytest.raises(PictureError, match="does not exist"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(PictureError, match="is not a file"):
        read_photo(tmp_path)
    with pytest.raises(PictureError, match="not a photograph of a known format"):
        decode_photo(saved(astronaut, "GIF"), "a.gif")
    with pytest.raises(PictureError, match="not a photograph"):
        decode_photo(b"", "empty.jpg")
    frames = [Image.fromarray(astronaut), Image.fromarray(astronaut[::-1])]
    for kind in ("PNG", "WEBP"):
        with pytest.raises(PictureError, match="is an animation; give a single photograph"):
            decode_photo(saved(frames[0], kind, save_all=True, append_images=frames[1:]), "a")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_truncated_photographs_are_refused(astronaut: Picture, kind: str) -> None:
    encoded = saved(astronaut, kind)
    with pytest.raises(PictureError, match=r"a\.pic is (truncated|not a photograph)"):
        decode_photo(encoded[: len(encoded) // 2], "a.pic")


def test_floating_values_are_refused(astronaut: Picture) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, astronaut.astype(np.float32), photometric="rgb", metadata=None)
    with pytest.raises(PictureError, match="not a photograph of a known format"):
        decode_photo(stream.getvalue(), "a.tif")


def test_bombs_are_refused_by_their_header() -> None:
    """A PNG that claims 20000 x 20000 pixels and holds none."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", b"")):
        bomb += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    with pytest.raises(PictureError, match="claims to have more than 178 megapixels"):
        decode_photo(bomb, "bomb.png")


def test_a_lower_limit_is_kept(astronaut: Picture) -> None:
    with pytest.raises(PictureError, match=r"\(192 x 128 pixels\)"):
        decode_photo(saved(astronaut, "PNG"), "a", max_pixels=192 * 128 - 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_damage_anywhere_gives_a_photograph_or_a_sentence(astronaut: Picture, kind: str) -> None:
    """A hundred files with a few wrong bytes, half of them in the headers: nothing but `PictureError` comes out."""
    whole = saved(astronaut[:48, :64], kind, exif=secret_exif(6).tobytes(), icc_profile=WIDE)
    random = np.random.default_rng(0)
    for number in range(100):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 900) if number % 2 else len(whole), 4):
            damaged[place] = int(random.integers(256))
        with contextlib.suppress(PictureError):
            photo = decode_photo(bytes(damaged), "damaged")
            assert encode_photo(photo, suffix_for(photo), metadata="all")
