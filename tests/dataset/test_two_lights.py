"""A flash photograph made of two pictures, against colours computed by hand and by scikit-image."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from skimage import color, data

from deepflash.dataset.two_lights import add_lights, srgb_from_camera
from deepflash.errors import DatasetError, PictureError

# sRGB's own matrix (IEC 61966-2-1): a camera that sees as sRGB is defined.
CAMERA_FROM_XYZ = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.969266, 1.8760108, 0.041556], [0.0556434, -0.2040259, 1.0572252]]
)


def write16(path: Path, linear: NDArray[np.float64], texts: dict[str, str] | None = None) -> Path:
    """Write linear values in [0, 1] as 16-bit PNG, with texts as the data set has them."""
    encoded = cv2.imencode(".png", np.rint(linear[..., ::-1] * 65535).astype(np.uint16))[1].tobytes()
    chunks = b""
    for key, text in (texts or {}).items():
        info = PngImagePlugin.PngInfo()
        info.add_text(key, text)
        (kind, content, *_) = info.chunks[0]
        body = kind + content
        chunks += len(content).to_bytes(4, "big") + body + __import__("zlib").crc32(body).to_bytes(4, "big")
    path.write_bytes(encoded[:33] + chunks + encoded[33:])  # after IHDR
    return path


def matrix_texts(matrix: NDArray[np.float64], light: str = "21") -> dict[str, str]:
    return {"Comment": "     ".join(f"{number:.7f}" for number in matrix.ravel()), "Description": light}


@pytest.fixture
def linear() -> NDArray[np.float64]:
    """A scene's light, (64, 64, 3)."""
    small = cv2.resize(np.asarray(data.astronaut()), (64, 64), interpolation=cv2.INTER_AREA) / 255
    return np.where(small <= 0.04045, small / 12.92, ((small + 0.055) / 1.055) ** 2.4)


def srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Encode by scikit-image: XYZ of linear sRGB, then its own way back."""
    xyz = np.clip(linear, 0, 1) @ np.asarray(color.colorconv.xyz_from_rgb).T
    return np.asarray(color.xyz2rgb(xyz)) * 255


def test_light_is_added_and_not_values(tmp_path: Path) -> None:
    """Two equal lights are one of twice the light: sRGB 128 and 128 make 176, not 255."""
    paths = [tmp_path / "a_flash.png", tmp_path / "a_ambient.png"]
    for path in paths:
        Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(path)
    made = add_lights(*paths)
    assert np.unique(made.flash).tolist() == [176]
    assert np.unique(made.studio).tolist() == [128]
    assert (made.colours, made.clipped_fraction) == ("srgb", 0.0)


def test_deep_pictures_are_linear(tmp_path: Path, linear: NDArray[np.float64]) -> None:
    made = add_lights(write16(tmp_path / "f.png", 0.25 * linear), write16(tmp_path / "a.png", 0.5 * linear))
    assert made.colours == "linear"
    assert np.abs(made.flash - srgb(0.75 * linear)).max() <= 0.6, "a grey level at most, from rounding"
    assert np.abs(made.studio - srgb(0.5 * linear)).max() <= 0.6


def test_a_cameras_colours_are_undone_by_its_matrix(tmp_path: Path, linear: NDArray[np.float64]) -> None:
    """A camera that has red, green and blue mixed up by a known matrix gives the same sRGB picture as one that has not."""
    mix = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
    texts = matrix_texts(mix @ CAMERA_FROM_XYZ)
    camera = 0.4 * linear @ mix.T
    made = add_lights(write16(tmp_path / "f.png", camera, texts), write16(tmp_path / "a.png", camera, texts))
    assert made.colours == "camera matrix"
    assert np.abs(made.flash - srgb(0.8 * linear)).max() <= 1
    assert np.abs(made.studio - srgb(0.4 * linear)).max() <= 1


@pytest.mark.parametrize(("light", "white"), [("17", (1.09850, 1.0, 0.35585)), ("23", (0.96422, 1.0, 0.82521))])
def test_the_white_of_the_calibration_light_becomes_white(tmp_path: Path, light: str, white: tuple[float, ...]) -> None:
    path = write16(tmp_path / "a.png", np.full((4, 4, 3), 0.5), matrix_texts(np.eye(3), light))
    matrix = srgb_from_camera(path)
    assert matrix is not None
    assert matrix @ white == pytest.approx([1, 1, 1], abs=2e-3)


def test_light_beyond_the_sensor_is_clipped_and_told(tmp_path: Path) -> None:
    ambient = np.full((4, 10, 3), 0.7)
    flash = np.zeros((4, 10, 3))
    flash[:, :3] = 0.7
    made = add_lights(write16(tmp_path / "f.png", flash), write16(tmp_path / "a.png", ambient))
    assert made.clipped_fraction == 0.3
    assert (made.flash[:, :3] == 255).all()
    assert (made.flash[:, 3:] == made.studio[:, 3:]).all()


@pytest.mark.parametrize("comment", ["1 2 3", "a b c d e f g h i", " ".join(["0"] * 9), " ".join(["nan"] * 9)])
def test_a_colour_matrix_that_is_none_is_refused(tmp_path: Path, comment: str) -> None:
    path = write16(tmp_path / "a.png", np.full((4, 4, 3), 0.5), {"Comment": comment})
    with pytest.raises(DatasetError, match=r"a.png holds a colour matrix that is none"):
        srgb_from_camera(path)


def test_pictures_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    deep = write16(tmp_path / "f.png", np.full((4, 4, 3), 0.5))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="differ in size or depth"):
        add_lights(deep, tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(deep.read_bytes()[:60])
    with pytest.raises(PictureError):
        add_lights(deep, tmp_path / "a.png")
