"""The network is that of the layer table (reference: models.md 1.3)."""

from typing import Any, Literal

import pytest
import torch

from deepflash.model.cost import multiply_accumulates
from deepflash.model.network import DeepFlash


def test_parameters_are_those_of_the_table() -> None:
    network = DeepFlash()
    assert sum(parameter.numel() for parameter in network.parameters()) == 29_443_331
    assert sum(parameter.numel() for parameter in network.encoder.parameters()) == 14_714_688


@pytest.mark.parametrize(("side", "gmac"), [(512, 121.1), (256, 30.3), (128, 7.57)])
def test_multiply_accumulates_are_those_of_the_table(side: int, gmac: float) -> None:
    assert multiply_accumulates(DeepFlash(), side, side) / 1e9 == pytest.approx(gmac, rel=2e-3)


def test_the_untrained_network_leaves_the_photograph_alone() -> None:
    """Answer 0.5 means "no difference" in encoding C, for any picture."""
    network = DeepFlash(0.125).eval()
    assert torch.equal(network(torch.rand(2, 3, 64, 96)), torch.full((2, 3, 64, 96), 0.5))


def test_xavier_is_the_papers_head() -> None:
    weights = DeepFlash(head="xavier").head.weight
    assert 0 < weights.abs().max() <= (6 / (64 + 3)) ** 0.5


@pytest.mark.parametrize(("asked", "std"), [(None, (2 / (512 * 9)) ** 0.5), (1.0, 1.0)])
def test_the_decoder_starts_from_a_truncated_normal(asked: float | None, std: float) -> None:
    """Cut off at two sigma, which leaves 0.88 of the standard deviation."""
    weights = DeepFlash(decoder_std=asked).bottleneck[0].weight
    assert weights.abs().max() <= 2 * std
    assert weights.std().item() == pytest.approx(0.8796 * std, rel=0.01)


def test_fusions_begin_as_sums() -> None:
    network = DeepFlash(0.125)
    halves = torch.rand(1, 2, network.fuse[0].out_channels, 5, 5)
    assert torch.allclose(network.fuse[0](halves.flatten(1, 2)), halves.sum(1))


def test_the_seed_decides_the_first_weights() -> None:
    one, same, other = (DeepFlash(0.125, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["encoder.0.0.weight"], other["encoder.0.0.weight"])


def test_every_weight_learns() -> None:
    """Nothing is cut off from the loss. The head is the paper's here: in its first step a zero head moves alone."""
    network = DeepFlash(0.125, head="xavier")
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


@pytest.mark.parametrize(("kernels", "is_smooth"), [("smooth", True), ("random", False)])
def test_smooth_kernels_begin_without_a_checkerboard(kernels: Literal["smooth", "random"], is_smooth: bool) -> None:
    """What is flat stays flat when it is brought to twice the size."""
    network = DeepFlash(0.0625, decoder_kernels=kernels)
    for block in network.up:
        flat = torch.ones(1, block[0].in_channels, 6, 6)
        larger = block[0](flat)[:, :, 1:-1, 1:-1]  # the outermost pixels see the border
        unevenness = (larger - larger.mean(dim=(2, 3), keepdim=True)).abs().max()
        assert (unevenness < 1e-5) == is_smooth


@pytest.mark.parametrize(("encoder", "batch_norm", "image_skip"), [("resnet18", True, False), ("vgg16", False, True)])
def test_other_encoders_and_options_begin_as_the_identity_and_learn_everywhere(
    encoder: str, batch_norm: bool, image_skip: bool
) -> None:
    options: dict[str, Any] = {"encoder": encoder, "batch_norm": batch_norm, "image_skip": image_skip}
    untrained = DeepFlash(0.125, **options).eval()
    assert torch.equal(untrained(torch.rand(2, 3, 64, 96)), torch.full((2, 3, 64, 96), 0.5))

    network = DeepFlash(0.125, head="xavier", **options)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


@pytest.mark.parametrize("image_skip", [False, True])
def test_bfloat16_leaves_no_bands(image_skip: bool) -> None:
    """Near 0.5, which is "no difference", bfloat16 knows steps of 1/256: two levels of a portrait's 8 bits."""
    network = DeepFlash(0.125, image_skip=image_skip).eval()
    torch.nn.init.normal_(network.head.weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = network(pictures)
    assert (exact - 0.5).abs().max() > 1 / 256
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(pictures) - exact).abs().max() < 1 / 2048


def test_without_batch_normalisation_a_picture_does_not_depend_on_its_batch() -> None:
    network = DeepFlash(0.125, batch_norm=False, head="xavier")
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    assert torch.allclose(network(pictures)[1:2], network(pictures[1:2]), atol=1e-5)


def test_a_residual_encoder_changes_nothing_of_the_decoder_but_what_its_fusions_take_in() -> None:
    narrower = 512 * (512 - 256) + 512 * (512 - 128) + 256 * (256 - 64) + 128 * (128 - 64) + 64 * (64 - 3)
    network = DeepFlash(encoder="resnet34")
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_284_672 + 29_443_331 - 14_714_688 - narrower
