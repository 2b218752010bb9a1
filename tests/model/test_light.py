"""The light network: its size and cost, how it begins, and the guided up-sampling against OpenCV's box filter."""

import cv2
import numpy as np
import pytest
import torch

from deepflash.model.cost import multiply_accumulates
from deepflash.model.light import Light, guided_upsampling


def test_it_is_as_light_as_promised() -> None:
    """Issue: at most 10 GMAC at 512 x 512; DeepFlash needs 121."""
    assert multiply_accumulates(Light(), 512, 512) / 1e9 == pytest.approx(6.58, abs=0.01)
    assert sum(parameter.numel() for parameter in Light().parameters()) == 10_520_419


def test_untrained_it_leaves_the_photograph_alone() -> None:
    pictures = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert (Light(0.25).eval()(pictures) - 0.5).abs().max() < 1e-4


def test_the_seed_decides_the_first_weights_and_disturbs_nobody() -> None:
    before = torch.get_rng_state()
    one, same, other = (Light(0.25, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["intro.weight"], other["intro.weight"])


def test_a_picture_does_not_depend_on_its_batch() -> None:
    network = Light(0.25)
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(pictures)[1:2], network(pictures[1:2]), atol=1e-5)


def test_bfloat16_leaves_no_bands() -> None:
    """Near 0.5, which is "no difference", bfloat16 knows steps of 1/256: two levels of a portrait's 8 bits."""
    network = Light(0.25)
    torch.nn.init.normal_(network.head.weight, std=1e-2, generator=torch.Generator().manual_seed(0))
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = network(pictures)
    assert (exact - 0.5).abs().max() > 1 / 256
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(pictures) - exact).abs().max() < 1 / 2048


def test_every_weight_learns() -> None:
    """Once the blocks have left the identity, with which they begin."""
    network = Light(0.125)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    network(torch.rand(2, 3, 64, 64, generator=generator)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


def test_guided_upsampling_is_the_fast_guided_filter() -> None:
    """He and Sun 2015, algorithm 2, written with OpenCV; away from the border, which the two treat differently."""
    random = np.random.default_rng(0)
    guide = cv2.GaussianBlur(random.random((96, 128)).astype(np.float32), (0, 0), 2)
    small = cv2.resize(guide, (64, 48), interpolation=cv2.INTER_AREA)
    values = np.float32(2 * small + 0.1 * random.random(small.shape))

    def box(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, (9, 9))

    slope = (box(small * values) - box(small) * box(values)) / (box(small * small) - box(small) ** 2 + 1e-3)
    offset = box(values) - slope * box(small)
    large = [cv2.resize(box(plane), (128, 96), interpolation=cv2.INTER_LINEAR) for plane in (slope, offset)]
    wanted = large[0] * guide + large[1]

    found = guided_upsampling(*(torch.from_numpy(plane)[None, None] for plane in (values, small, guide)))[0, 0].numpy()
    assert np.abs(found - wanted)[20:-20, 20:-20].max() < 1e-4


def test_an_edge_of_the_guide_comes_back_at_full_resolution() -> None:
    guide = torch.zeros(1, 3, 64, 64)
    guide[..., 31:] = 1  # not on the coarse grid
    small = torch.nn.functional.avg_pool2d(guide, 2)
    found = guided_upsampling(0.5 * small, small, guide)
    assert (found - 0.5 * guide).abs().max() < 0.02
