"""The fast bilateral filter equals its definition."""

import pytest
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

from deepflash.model.bilateral import bilateral, bilateral_exact


def astronaut(height: int, width: int) -> Tensor:
    picture = resize(data.astronaut(), (height, width), anti_aliasing=True)
    return torch.as_tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None]


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def by_the_definition(picture: Tensor, sigma_s: float, sigma_r: float, radius: int, y: int, x: int) -> Tensor:
    """One pixel, by loops over its neighbours, in float64."""
    _, height, width = picture.shape
    total, weights = torch.zeros(3, dtype=torch.float64), 0.0
    values = picture.double()
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            neighbour = values[:, min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)]
            colour = float((neighbour - values[:, y, x]).square().sum())
            weight = float(torch.exp(torch.tensor(-colour / (2 * sigma_r**2) - (dx**2 + dy**2) / (2 * sigma_s**2))))
            total += weight * neighbour
            weights += weight
    return total / weights


@pytest.mark.parametrize(("y", "x"), [(0, 0), (9, 4), (23, 31), (12, 0)])
def test_the_oracle_is_the_definition(y: int, x: int) -> None:
    """Joint squared L2 distance over RGB, repeated border: checked pixel by pixel, corners and edges included."""
    picture = astronaut(24, 32)
    exact = bilateral_exact(picture, 2.0, 0.3, radius_px=5)
    assert torch.allclose(exact[0, :, y, x].double(), by_the_definition(picture[0], 2.0, 0.3, 5, y, x), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (97, 131)])
def test_fast_equals_exact_at_the_size_of_the_quick_recipe(height: int, width: int) -> None:
    """sigma_s = 4 px at 128 px, 3 % of the side: above 60 dB, where rounding to 8 bits alone costs 59 dB."""
    picture = astronaut(height, width)
    assert psnr(bilateral(picture, 4.0), bilateral_exact(picture, 4.0)) > 60


@pytest.mark.slow  # the oracle visits 6561 neighbours of 262 144 pixels
def test_fast_equals_exact_at_the_papers_size() -> None:
    """The promise of DESIGN.md: at least 50 dB at 512 x 512 with sigma_s 16 and sigma_r 0.4."""
    picture = astronaut(512, 512)
    assert psnr(bilateral(picture, 16.0), bilateral_exact(picture, 16.0)) > 55


@pytest.mark.parametrize("sigma_r", [0.1, 0.2, 1.5])
def test_fast_equals_exact_for_other_range_sigmas(sigma_r: float) -> None:
    """The expansion of the range kernel grows with what the sigma needs."""
    picture = astronaut(64, 64)
    assert psnr(bilateral(picture, 3.0, sigma_r), bilateral_exact(picture, 3.0, sigma_r)) > 55


def test_an_isolated_dot_stays_a_dot() -> None:
    """The hardest pixel: white on black has next to no neighbours of its colour, so errors of the kernel show most."""
    picture = torch.zeros(1, 3, 48, 48)
    picture[:, :, 20, 20] = 1
    assert (bilateral(picture, 4.0) - bilateral_exact(picture, 4.0, radius_px=20)).abs().max() < 0.01


def noise(side: int) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(noise(72), id="noise of all colours"),
        pytest.param(noise(72).round(), id="saturated colours, another at every pixel"),
        pytest.param(noise(9).round().repeat_interleave(8, 2).repeat_interleave(8, 3), id="hard edges of saturated colours"),
        pytest.param(noise(9).repeat_interleave(8, 2).repeat_interleave(8, 3), id="hard edges of all colours"),
    ],
)
def test_fast_equals_exact_on_pictures_that_no_camera_takes(picture: Tensor) -> None:
    """Colours that fill the cube ask most of the colours chosen; the window is wide, so that its border costs nothing."""
    assert psnr(bilateral(picture, 8.0), bilateral_exact(picture, 8.0, radius_px=36)) > 60


def test_a_line_one_pixel_wide_is_filtered() -> None:
    line = astronaut(96, 96)[..., 40:41]
    assert psnr(bilateral(line, 5.0), bilateral_exact(line, 5.0, radius_px=25)) > 60
    assert psnr(bilateral(line.transpose(2, 3), 9.0), bilateral_exact(line.transpose(2, 3), 9.0, radius_px=40)) > 60


def test_neighbours_from_a_smaller_copy_are_as_good() -> None:
    """From sigma_s = 32 px on, neighbours come from area averages: the same filter of a picture twice as large."""
    picture = astronaut(128, 128)
    large = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert psnr(bilateral(large, 32.0)[..., ::2, ::2], bilateral(picture, 16.0)) > 60


def test_no_pictures_are_no_pictures() -> None:
    assert bilateral(torch.zeros(0, 3, 8, 8), 2.0).shape == (0, 3, 8, 8)


def test_one_colour_stays_as_it_is() -> None:
    picture = torch.tensor([0.2, 0.9, 0.4])[None, :, None, None].expand(1, 3, 40, 33)
    assert torch.allclose(bilateral(picture, 4.0), picture, atol=1e-5)


def test_an_edge_across_the_range_survives_and_its_sides_are_smoothed() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.full((1, 3, 64, 64), 0.05)
    picture[..., 32:] = 0.95
    noisy = picture + 0.03 * torch.randn(picture.shape, generator=generator)
    filtered = bilateral(noisy, 4.0, 0.2)
    assert (filtered - picture).abs().max() < 0.03
    assert (noisy - picture).abs().max() > 0.1


@pytest.mark.parametrize("sigma_s", [2.0, 10.0])
def test_a_picture_does_not_depend_on_its_batch(sigma_s: float) -> None:
    """A resumed run prepares other pictures together; the bits must be the same."""
    batch = torch.cat([astronaut(48, 48), astronaut(48, 48).flip(3), torch.rand(1, 3, 48, 48)])
    assert torch.equal(bilateral(batch, sigma_s)[1:2], bilateral(batch[1:2], sigma_s))


@pytest.mark.parametrize(
    ("pictures", "sigma_s", "sigma_r"),
    [
        (torch.zeros(3, 8, 8), 2.0, 0.4),
        (torch.zeros(1, 1, 8, 8), 2.0, 0.4),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 2.0, 0.4),
        (torch.zeros(1, 3, 8, 8), 0.5, 0.4),
        (torch.zeros(1, 3, 8, 8), 2.0, 0.0),
        (torch.full((1, 3, 8, 8), 255.0), 2.0, 0.4),
        (torch.full((1, 3, 8, 8), torch.nan), 2.0, 0.4),
    ],
)
def test_what_cannot_be_filtered_is_refused(pictures: Tensor, sigma_s: float, sigma_r: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        bilateral(pictures, sigma_s, sigma_r)
