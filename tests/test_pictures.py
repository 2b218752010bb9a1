"""Photographs are read upright and whole, or refused in one sentence."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from deepflash.errors import PictureError
from deepflash.pictures import Header, Picture, decode_rgb, encode, read_gray, read_header, read_rgb

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return np.ascontiguousarray(np.asarray(data.astronaut())[:256, 64:448])  # 384 x 256


def save(path: Path, picture: Picture, kind: str, orientation: int = 1) -> Path:
    """Write with Pillow, independently of our own encoder."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(picture).save(path, kind, exif=exif)
    return path


def close(a: Picture, b: Picture, level: float = 3.0) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) < level


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("TIFF", "tif"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_colours_come_as_red_green_blue_whatever_the_format(astronaut: Picture, tmp_path: Path, kind: str, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", astronaut, kind)
    assert read_header(path) == Header(384, 256, kind)
    assert close(read_rgb(path), astronaut)
    assert close(read_rgb(path, reduce=2), astronaut.reshape(128, 2, 192, 2, 3).mean(axis=(1, 3)).astype(np.uint8), 6)


# EXIF 2.32, tag 0x0112: where the stored picture's row 0 and column 0 are seen; here as what makes it upright again
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp")])
def test_every_exif_orientation_is_read_upright(
    astronaut: Picture, tmp_path: Path, orientation: int, kind: str, suffix: str
) -> None:
    path = save(tmp_path / f"a.{suffix}", astronaut, kind, orientation)
    expected = UPRIGHT[orientation](astronaut)
    assert close(read_rgb(path), expected)
    assert read_gray(path, reduce=4).shape == (expected.shape[0] // 4, expected.shape[1] // 4)
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.1, 0.02, 0.0])
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
@pytest.mark.parametrize("reduce", [1, 4])
def test_a_truncated_photograph_is_refused_and_never_filled_with_grey(
    astronaut: Picture, tmp_path: Path, kept: float, kind: str, suffix: str, reduce: int
) -> None:
    path = save(tmp_path / f"a.{suffix}", astronaut, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(PictureError, match=rf"a\.{suffix} is (truncated|not a readable picture)"):
        read_rgb(path, reduce=reduce)
    with pytest.raises(PictureError, match=rf"a\.{suffix} is (truncated|not a readable picture)"):
        read_gray(path, reduce=reduce)


@pytest.mark.parametrize("side", [13_400, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    """179 megapixels and more, in a file of 100 bytes that claims it; its pixels are never asked for."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(side, side))
    with pytest.raises(PictureError, match=r"bomb.png claims to have more than 178 megapixels.*; replace the file"):
        read_rgb(path)


def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path: Path) -> None:
    """The pixels of this file are not there at all."""
    path = tmp_path / "a.png"
    path.write_bytes(png_that_claims(13_000, 13_000))
    assert read_header(path) == Header(13_000, 13_000, "PNG")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"a.jpg is not a readable picture .*; replace the file"):
        read_header(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"a.jpg does not exist"):
        read_rgb(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="is not a file; give the photograph itself"):
        read_rgb(tmp_path)


def test_a_wrong_suffix_does_not_matter(astronaut: Picture, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", astronaut, "PNG")
    assert read_header(path).format == "PNG"
    np.testing.assert_array_equal(read_rgb(path), astronaut)


def test_png_is_lossless_and_jpeg_close_in_other_peoples_eyes(astronaut: Picture) -> None:
    for suffix, level in ((".png", 0.0001), (".jpg", 2.0)):
        with Image.open(io.BytesIO(encode(astronaut, suffix))) as image:
            assert close(np.asarray(image), astronaut, level)
    np.testing.assert_array_equal(decode_rgb(encode(astronaut, ".png"), "a"), astronaut)
    gray = np.ascontiguousarray(astronaut[..., 0])
    with Image.open(io.BytesIO(encode(gray, ".png"))) as image:
        np.testing.assert_array_equal(np.asarray(image), gray)


def test_the_quality_of_a_jpeg_is_the_one_asked_for(astronaut: Picture) -> None:
    sizes = [len(encode(astronaut, ".jpg", quality=quality)) for quality in (30, 80, 95)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_png_and_webp_lose_nothing(astronaut: Picture, suffix: str) -> None:
    for picture in (astronaut, astronaut[::-1, ::-1], np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)):
        encoded = encode(np.ascontiguousarray(picture), suffix)
        np.testing.assert_array_equal(decode_rgb(encoded, "ours"), picture)
        with Image.open(io.BytesIO(encoded)) as image:
            np.testing.assert_array_equal(np.asarray(image), picture)


def test_a_jpeg_of_full_chroma_keeps_colours_apart(astronaut: Picture) -> None:
    """Columns of red and blue: halved chroma makes them purple."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    full, halved = (decode_rgb(encode(stripes, ".jpg", full_chroma=full), "stripes") for full in (True, False))
    assert np.abs(full.astype(int) - stripes).mean() < 5
    assert np.abs(halved.astype(int) - stripes).mean() > 50


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_bytes_that_are_no_picture_are_refused_by_name(content: bytes) -> None:
    with pytest.raises(PictureError, match="sample 7 is truncated or not a picture"):
        decode_rgb(content, "sample 7")


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(PictureError, match=rf"{name} is not a file; give the photograph itself"):
            read_rgb(tmp_path / name)
