"""Bokeh of photographs: any size and depth, one bad file stops nobody, and what is there already stays."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from deepflash.errors import ModelError
from deepflash.model.bokeh import Bokeh, blurred
from deepflash.model.bokeh_files import bokeh_files, with_bokeh
from deepflash.model.enhancement.enhancer import load_enhancer
from deepflash.model.enhancement.files import Results
from deepflash.model.recipe import Recipe
from deepflash.model.runs import save_weights
from deepflash.photos import Photo, read_photo
from deepflash.pictures import encode, read_rgb


@dataclass(frozen=True)
class Shares:
    """Fixed shares of picture and blurred copies, wherever."""

    planes: tuple[float, ...]

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        return torch.tensor(self.planes).view(1, -1, 1, 1).expand(len(pictures), -1, height, width)


def network_with(*planes: float) -> Bokeh:
    network = Bokeh(0.125).eval()
    network.shares = Shares(planes)  # type: ignore[method-assign]
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned nothing yet, in a file that says what it is."""
    recipe = replace(Recipe(), network="bokeh", encoding="A", width=0.125, size=64)
    path = tmp_path_factory.mktemp("bokeh") / "bokeh.safetensors"
    save_weights(path, Bokeh(0.125).state_dict(), recipe, step=0)
    return path


@pytest.mark.parametrize("shape", [(97, 61), (40, 130), (20, 20), (300, 200)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_who_is_in_focus_keeps_every_value(shape: tuple[int, int], depth: type[np.unsignedinteger]) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, np.iinfo(depth).max, (*shape, 3), dtype=depth, endpoint=True)
    alpha = random.integers(0, np.iinfo(depth).max, shape, dtype=depth, endpoint=True)
    photo = Photo(pixels, alpha, profile=b"profile")
    made = with_bokeh(network_with(1, 0, 0, 0), photo, 64)
    assert (made.pixels == pixels).all()
    assert made.pixels.dtype == depth
    assert made.alpha is alpha
    assert made.profile == b"profile"


@pytest.mark.parametrize(("height", "width"), [(128, 96), (96, 96), (96, 300)])
def test_what_is_behind_is_blurred_as_the_network_saw_it(height: int, width: int) -> None:
    """A photograph whose shorter side is the side of the squares that were learned from is not reduced: equation 1 holds."""
    pixels = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    made = with_bokeh(network_with(0, 0, 0, 1), Photo(pixels), 96)
    wanted = blurred(torch.from_numpy(pixels / 255).permute(2, 0, 1)[None].float(), 75)[0].permute(1, 2, 0).numpy()
    assert np.abs(made.pixels / 255 - wanted).max() < 0.6 / 255


def test_of_a_strip_the_network_sees_a_smaller_copy() -> None:
    seen = []

    class Watched(Shares):
        def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(pictures.shape[-2:]))
            return super().__call__(pictures)

    network = network_with(1, 0, 0, 0)
    network.shares = Watched((1, 0, 0, 0))  # type: ignore[method-assign]
    with_bokeh(network, Photo(np.zeros((20, 4000, 3), np.uint8)), 64)
    assert seen == [(1, 256)]


def test_a_large_photograph_is_blurred_in_proportion() -> None:
    pixels = cv2.resize(data.astronaut(), (1024, 1024))
    small = with_bokeh(network_with(0, 1, 0, 0), Photo(pixels[::4, ::4].copy()), 256)
    large = with_bokeh(network_with(0, 1, 0, 0), Photo(pixels), 256)
    reduced = cv2.resize(large.pixels, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - small.pixels).mean() < 2


def test_photographs_are_blurred_set_aside_and_skipped(weights: Path, tmp_path: Path) -> None:
    photos = [tmp_path / name for name in ("one.jpg", "broken.jpg", "two.png")]
    photos[0].write_bytes(encode(data.astronaut()[:200, :150], ".jpg"))
    photos[1].write_bytes(photos[0].read_bytes()[:500])
    photos[2].write_bytes(encode(data.astronaut()[:90, :140], ".png"))
    out = tmp_path / "out"
    account = bokeh_files(photos, weights, Results(out))
    assert account.sentence() == "3 photographs in = 2 done + 0 skipped + 1 set aside"
    assert read_rgb(out / "one.jpg").shape == (200, 150, 3)
    assert read_rgb(out / "two.png").shape == (90, 140, 3)
    (out / "two.png").write_bytes(b"retouched by hand")
    assert bokeh_files(photos[2:], weights, Results(out)).skipped == 1
    assert (out / "two.png").read_bytes() == b"retouched by hand"
    assert bokeh_files(photos[2:], weights, Results(out, force=True)).done == 1
    assert read_photo(out / "two.png").pixels.shape == (90, 140, 3)


def test_a_run_that_makes_portraits_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a run of network deepflash; give one that was trained with --recipe bokeh"):
        bokeh_files([tmp_path / "a.jpg"], finished, Results(tmp_path / "out"))


def test_portraits_are_not_made_by_a_run_of_bokeh(weights: Path) -> None:
    with pytest.raises(ModelError, match="has learned to blur what is behind people; use it with deepflash bokeh"):
        load_enhancer(weights)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_memory_stays_within_bounds_for_13_megapixels() -> None:
    """A photograph has 39 MB; as numbers to calculate with 156 MB. Beside what libraries take, five times that is enough."""
    code = """
import resource
import numpy as np
from deepflash.model.bokeh import Bokeh
from deepflash.model.bokeh_files import with_bokeh
from deepflash.photos import Photo
network = Bokeh(0.125).eval()
with_bokeh(network, Photo(np.zeros((64, 64, 3), np.uint8)), 128)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with_bokeh(network, Photo(np.full((4160, 3120, 3), 99, np.uint8)), 128)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown_kib = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert grown_kib < 5 * 156e6 / 1024
