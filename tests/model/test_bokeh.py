"""Bokeh: its blur is OpenCV's, its mixture is equation 1 and its shares can be learned."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from deepflash.model.bokeh import Bokeh, at_full_size, blurred, kernels_for, mixed
from tests.model.test_hourglass import megadepth


def astronaut(side: int = 96) -> torch.Tensor:
    return torch.as_tensor(data.astronaut()[:side, 180 : 180 + side] / 255, dtype=torch.float32).permute(2, 0, 1)[None]


def by_opencv(picture: torch.Tensor, kernel_px: int) -> torch.Tensor:
    blurred = cv2.GaussianBlur(picture[0].permute(1, 2, 0).numpy(), (kernel_px, kernel_px), 0)
    return torch.from_numpy(blurred).permute(2, 0, 1)[None]


@pytest.mark.parametrize("kernel_px", [11, 25, 45, 75])
def test_the_blur_is_opencvs(kernel_px: int) -> None:
    picture = astronaut()[..., :90]
    assert (blurred(picture, kernel_px) - by_opencv(picture, kernel_px)).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(20, 33), (1, 12), (2, 2)])
def test_pictures_smaller_than_the_kernel_are_mirrored_more_than_once(shape: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert (blurred(picture, 75) - by_opencv(picture, 75)).abs().max() < 1e-5


def test_every_picture_of_a_batch_is_blurred_alone() -> None:
    pictures = torch.cat([astronaut(64), astronaut(64).flip(1)])
    assert torch.allclose(blurred(pictures, 25)[1:], blurred(pictures[1:], 25), atol=1e-6)


def test_the_mixture_is_equation_1() -> None:
    picture = astronaut(64)
    shares = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    copies = [picture, *(by_opencv(picture, kernel_px) for kernel_px in (25, 45, 75))]
    wanted = sum(shares[:, place : place + 1] * copy for place, copy in enumerate(copies))
    assert (mixed(picture, shares) - wanted).abs().max() < 1e-5


def test_smaller_pictures_have_smaller_kernels() -> None:
    network, picture = Bokeh(0.125, kernels_px=kernels_for(128)).eval(), astronaut(64)
    copies = [picture, *(blurred(picture, kernel_px) for kernel_px in (7, 13, 19))]
    wanted = (torch.stack(copies, dim=1) * network.shares(picture)[:, :, None]).sum(dim=1)
    assert torch.allclose(network(picture), wanted, atol=1e-6)


def test_shares_sum_to_one_so_what_is_flat_stays() -> None:
    network, picture = Bokeh(0.125).eval(), torch.full((1, 3, 50, 40), 0.3)
    shares = network.shares(picture)
    assert shares.shape == (1, 4, 50, 40)
    assert torch.allclose(shares.sum(dim=1), torch.ones(1, 50, 40))
    assert torch.allclose(network(picture), picture, atol=1e-6)


def test_the_picture_keeps_its_precision_where_the_network_has_less() -> None:
    """Shares of bfloat16 still sum to 1 within 1/128; the picture and its copies are not rounded."""
    network, picture = Bokeh(0.125).eval(), astronaut(50)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result, shares = network(picture), network.shares(picture)
    assert result.dtype == torch.float32
    assert (result - mixed(picture, shares.float())).abs().max() < 1e-6


def test_it_learns_what_is_near_and_what_is_far() -> None:
    """A face in the middle stays, the rest gets the widest blur: a few steps halve the way there."""
    torch.manual_seed(0)
    picture = astronaut(64)
    near = torch.zeros(1, 1, 64, 64)
    near[..., 16:48, 16:48] = 1
    wanted = near * picture + (1 - near) * blurred(picture, 75)
    network = Bokeh(0.125)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        loss = (network(picture) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] / 2
    shares = network.shares(picture)
    assert shares[0, 0, 24:40, 24:40].mean() > 2 * shares[0, 0, :, :8].mean()


def certain(place: int) -> Bokeh:
    """Return a network that gives every pixel to the picture (0), or to one of its blurred copies (1 to 3)."""
    network = Bokeh(0.125).eval()
    with torch.no_grad():
        last = network.hourglass[4]
        last.weight.zero_()
        last.bias.zero_()
        last.bias[place] = 100
    return network


def test_at_full_size_what_is_in_focus_is_the_photograph_itself() -> None:
    photograph = astronaut(250)
    assert (at_full_size(certain(0), photograph, 64, 64) - photograph).abs().max() < 1e-6


def test_at_full_size_the_blur_is_as_wide_as_the_picture_was_small() -> None:
    """A copy of a quarter, blurred with OpenCV's sigma for 25 px, is the photograph blurred with four times that sigma."""
    photograph = astronaut(256)
    sigma = 4 * (0.3 * ((25 - 1) / 2 - 1) + 0.8)
    wanted = cv2.GaussianBlur(photograph[0].permute(1, 2, 0).numpy(), (0, 0), sigma)
    found = at_full_size(certain(1), photograph, 64, 64)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - wanted)[32:-32, 32:-32].max() < 0.02  # the border is mirrored about another pixel
    assert np.abs(wanted - photograph[0].permute(1, 2, 0).numpy()).max() > 0.3


def test_it_begins_with_megadepths_weights(tmp_path: Path) -> None:
    torch.save(megadepth(), tmp_path / "depth.pth")
    network = Bokeh()
    network.load_megadepth(tmp_path / "depth.pth")
    assert np.array_equal(network.hourglass[0].weight.detach().numpy(), megadepth()["module.0.weight"].numpy())
    assert network.hourglass[4].weight.shape == (4, 64, 3, 3)


def test_in_use_it_is_deterministic_and_comes_back_from_its_weights() -> None:
    network, again, picture = Bokeh(0.125).eval(), Bokeh(0.125, seed=5).eval(), astronaut(50)
    assert not torch.equal(again(picture), network(picture))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(picture), network(picture))
