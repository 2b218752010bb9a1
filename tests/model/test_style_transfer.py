"""Style transfer: what must not change, what must come across, and what the paper says that remains."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from matplotlib import get_data_path
from skimage.color import lab2rgb, rgb2lab

from deepflash.cli import cli
from deepflash.errors import PictureError
from deepflash.model.correspondence import Correspondence, find_correspondence
from deepflash.model.stacks import Channel
from deepflash.model.style_transfer import GAINS, SIGMAS_PX, gain_field, transfer_style, transfer_style_file
from deepflash.pictures import Picture, encode, read_rgb

REAL = Path(__file__).parents[3] / "shared" / "data" / "pairs" / "deepflash"


def lying(height: int, width: int) -> Correspondence:
    """Say that the example lies upon the picture, and that nobody is in it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return Correspondence(np.stack([x, y], axis=2), 1.0, None, None, face_px=240.0)


def noise(seed: int, shape: tuple[int, int] = (256, 256)) -> Channel:
    """Return a band around 8 px, of a deviation of 0.1."""
    white = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    band = cv2.GaussianBlur(white, (0, 0), 4) - cv2.GaussianBlur(white, (0, 0), 8)
    return np.asarray(0.1 * band / band.std(), np.float32)


def in_gray(lightness: Channel) -> Picture:
    """Return a grey picture of L from 0 to 100, by scikit-image."""
    lab = np.stack([lightness, np.zeros_like(lightness), np.zeros_like(lightness)], axis=2)
    return np.asarray((lab2rgb(lab) * 255).round(), np.uint8)


def chroma(picture: Picture) -> Channel:
    return np.asarray(np.hypot(*np.moveaxis(rgb2lab(picture)[..., 1:], 2, 0)), np.float32)


def psnr(one: Picture, other: Picture) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_a_portrait_in_its_own_style_is_the_same_portrait() -> None:
    """To one level in one pixel of a thousand, which is what there and back in Lab costs."""
    picture = skimage.data.astronaut()
    off = np.abs(transfer_style(picture, picture).astype(int) - picture)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001


@pytest.mark.parametrize(("amplified", "gain"), [(1.7, 1.7), (1.0, 1.0), (5.0, GAINS[0][1]), (0.2, GAINS[0][0])])
def test_a_known_gain_is_found_within_the_clamps(amplified: float, gain: float) -> None:
    band = noise(0)
    found = gain_field((band, np.asarray(amplified * band, np.float32)), 8.0, lying(256, 256)).full()
    np.testing.assert_allclose(found, gain, rtol=0.02)


def test_a_gain_that_differs_from_place_to_place_is_found_in_its_place() -> None:
    band = noise(1)
    by_half = np.where(np.arange(256) < 128, 1.0, 2.2).astype(np.float32)
    found = gain_field((band, band * by_half), 8.0, lying(256, 256)).full()
    np.testing.assert_allclose(found[:, :88], 1.0, rtol=0.02)
    np.testing.assert_allclose(found[:, 168:], 2.2, rtol=0.02)


def test_contrast_below_all_that_one_sees_is_not_amplified() -> None:
    band = noise(2) * 1e-3
    found = gain_field((band, 10 * band), 8.0, lying(256, 256)).full()
    assert found.max() < 1.05


def test_an_example_of_more_contrast_and_other_light_is_reached() -> None:
    """All that differs is a gain within the clamps and the residual: the result is the example."""
    detail = np.asarray(noise(3, (384, 384)) * 100, np.float32)
    dark = in_gray(40 + 0.5 * detail)
    rising = np.linspace(45, 60, 384, dtype=np.float32)[None]
    example = in_gray(rising + 0.5 * 1.7 * detail)

    styled = transfer_style(dark, example, correspondence=lying(384, 384))

    assert psnr(dark, example) < 24
    assert psnr(styled, example) > 38


def test_a_black_and_white_example_leaves_hardly_any_colour() -> None:
    picture = skimage.data.astronaut()
    gray = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    styled = transfer_style(picture, gray, correspondence=find_correspondence(picture, picture))
    assert np.percentile(chroma(picture), 90) > 40
    assert np.percentile(chroma(styled), 90) < 7


def test_colours_come_across_from_another_person_of_another_size() -> None:
    """The nearer the mean colours of the faces, the better; the picture's size stays."""
    picture = np.asarray(skimage.data.astronaut() * [0.5, 0.8, 0.7], np.uint8)
    hopper = read_rgb(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")
    found = find_correspondence(picture, hopper)

    styled = transfer_style(picture, hopper, correspondence=found)

    assert styled.shape == picture.shape
    assert found.face is not None
    assert found.example_face is not None
    faces = [(picture, found.face), (styled, found.face), (hopper, found.example_face)]
    before, after, wanted = (_face_colour(one, face.box) for one, face in faces)
    assert np.linalg.norm(after - wanted) < 0.25 * np.linalg.norm(before - wanted)


def _face_colour(picture: Picture, box: tuple[float, float, float, float]) -> Channel:
    left, top, right, bottom = (round(edge) for edge in box)
    return np.asarray(rgb2lab(picture[top:bottom, left:right]).mean(axis=(0, 1)), np.float32)


def test_with_masks_the_background_does_not_shine_into_the_subject() -> None:
    """A grey subject before a grey and before a red background."""
    subject = np.zeros((256, 256), np.uint8)
    subject[:, 128:] = 255
    picture = in_gray(np.asarray(50 + 30 * noise(4), np.float32))
    example = picture.copy()
    example[:, :128] = (200, 30, 30)

    plain = transfer_style(picture, example, correspondence=lying(256, 256))
    masked = transfer_style(picture, example, correspondence=lying(256, 256), masks=(subject, subject))

    assert chroma(plain)[:, 136].min() > 25
    assert chroma(masked)[:, 136:].max() < 6
    assert chroma(masked)[:, :120].min() > 60, "and the background's red comes across"


def test_the_scale_of_the_bands_follows_the_face() -> None:
    """Twice the size, twice the face: the same portrait at twice the size."""
    picture, example = (np.asarray(skimage.data.astronaut() * share, np.uint8) for share in (0.6, [1.0, 0.9, 0.8]))
    size = (1024, 1024)
    large, large_example = (np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_CUBIC)) for one in (picture, example))

    styled = transfer_style(picture, example)
    large_styled = transfer_style(large, large_example)

    reduced = cv2.resize(large_styled, (512, 512), interpolation=cv2.INTER_AREA)
    assert psnr(np.asarray(reduced, np.uint8), styled) > 35


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
@pytest.mark.parametrize("pair", ["01", "07", "12"])
def test_with_the_answer_as_example_colours_come_right_and_the_flashs_light_remains(pair: str) -> None:
    """Section 5.4 of the paper: "can transfer colors correctly, but it fails to remove flash artifacts"."""
    flash, studio = (
        np.asarray(cv2.resize(read_rgb(REAL / f"{pair}_{side}.jpg"), (512, 512), interpolation=cv2.INTER_AREA))
        for side in ("flash", "studio")
    )
    found = find_correspondence(flash, studio)
    assert found.face is not None

    styled = transfer_style(flash, studio, correspondence=found)

    assert psnr(styled, studio) > psnr(flash, studio) + 5
    before, after, wanted = (_face_colour(one, found.face.box) for one in (flash, styled, studio))
    assert np.linalg.norm(after - wanted) < 0.3 * np.linalg.norm(before - wanted)
    flash_detail, detail, studio_detail = (_detail(one, found.face.box) for one in (flash, styled, studio))
    assert np.corrcoef(detail, flash_detail)[0, 1] > 0.9 > np.corrcoef(detail, studio_detail)[0, 1]


def _detail(picture: Picture, box: tuple[float, float, float, float]) -> Channel:
    """Return a face's lightness less its surroundings of 16 px."""
    left, top, right, bottom = (round(edge) for edge in box)
    lightness = rgb2lab(picture)[..., 0].astype(np.float32)
    return (lightness - cv2.GaussianBlur(lightness, (0, 0), SIGMAS_PX[2]))[top:bottom, left:right].ravel()


@pytest.mark.parametrize(
    ("picture", "example", "mask", "message"),
    [
        (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.uint8), None, r"RGB uint8, not \(9, 9\) uint8; convert it first"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.float32), None, "float32; convert it first"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8), np.uint8), "mask of the photograph"),
    ],
)
def test_what_is_no_portrait_is_refused(picture: Picture, example: Picture, mask: Picture | None, message: str) -> None:
    masks = None if mask is None else (mask, np.zeros((9, 9), np.uint8))
    with pytest.raises(PictureError, match=message):
        transfer_style(picture, example, masks=masks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph, an example and masks, small."""
    picture = np.asarray(cv2.resize(skimage.data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    (tmp_path / "photo.png").write_bytes(encode(np.asarray(picture * 0.6, np.uint8), ".png"))
    (tmp_path / "example.jpg").write_bytes(encode(picture, ".jpg"))
    (tmp_path / "mask.png").write_bytes(encode(np.full((256, 256), 255, np.uint8), ".png"))
    return tmp_path


def test_files_are_restyled_by_the_command(folder: Path) -> None:
    photo, example, mask, out = (str(folder / name) for name in ("photo.png", "example.jpg", "mask.png", "out.png"))
    asked = ["style-transfer", photo, example, "-o", out, "--mask", mask, "--example-mask", mask]

    result = CliRunner().invoke(cli, asked, catch_exceptions=False)

    assert (result.exit_code, result.output) == (0, f"{out} is written\n")
    assert psnr(read_rgb(Path(out)), read_rgb(Path(example))) > 30


def test_a_portrait_without_a_face_is_named(folder: Path) -> None:
    """What comes of it may be no more than two pictures laid upon each other."""
    wall, out = folder / "wall.png", folder / "out.png"
    wall.write_bytes(encode(np.full((200, 300, 3), 120, np.uint8), ".png"))
    asked = [str(path) for path in (folder / "photo.png", wall, "-o", out)]
    result = CliRunner().invoke(cli, ["style-transfer", *asked], catch_exceptions=False)
    assert result.stdout == f"{out} is written\n"
    assert result.stderr == f"note: no face was found in {wall}, so the two were laid upon each other as they are\n"
    assert read_rgb(out).shape == (256, 256, 3)


def test_one_mask_alone_is_a_wrong_usage(folder: Path) -> None:
    asked = [str(folder / "photo.png"), str(folder / "example.jpg"), "-o", str(folder / "out.png")]
    result = CliRunner().invoke(cli, ["style-transfer", *asked, "--mask", str(folder / "mask.png")])
    assert result.exit_code == 2
    assert "--mask and --example-mask both, or neither" in result.output


def test_a_result_is_never_written_over_what_it_is_made_of(folder: Path) -> None:
    photo = folder / "photo.png"
    with pytest.raises(PictureError, match="would be replaced by its own result; give the result another name"):
        transfer_style_file(photo, folder / "example.jpg", photo)
    with pytest.raises(PictureError, match=r"neither \.jpg nor \.png"):
        transfer_style_file(photo, folder / "example.jpg", folder / "out.tif")
