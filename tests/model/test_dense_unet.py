"""The Dense U-Net and its discriminator: the table of its docstring, counted by hand from its sentences."""

from typing import Literal

import pytest
import torch
from torch import nn

from deepflash.errors import ModelError
from deepflash.model.cost import count_parameters
from deepflash.model.dense_unet import DenseBlock, DenseUNet, PictureDiscriminator


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def convolution(before: int, after: int, side: int) -> int:
    return before * after * side * side + after


def dense_block(channels: int) -> int:
    """Four layers of 16 channels, each with a normalisation (two numbers a channel) of all that it sees."""
    return sum(2 * seen + convolution(seen, 16, 3) for seen in range(channels, channels + 64, 16))


def test_parameters_are_those_of_the_table() -> None:
    down = sum(dense_block(before) + 2 * after + convolution(after, after, 1) for before, after in
               ((48, 112), (112, 176), (176, 240), (240, 304)))  # fmt: skip
    middle = dense_block(304) + 2 * convolution(64, 64, 1) + convolution(128, 64, 1)
    up = sum(convolution(64, 64, 3) + dense_block(64 + skip) for skip in (304, 240, 176, 112))
    assert count_parameters(DenseUNet()) == convolution(3, 48, 3) + down + middle + up + convolution(64, 3, 1) == 1_637_891


def test_the_discriminator_has_one_answer_for_a_patch() -> None:
    plan = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512)
    convolutions = sum(
        convolution(before, after, 4 if place % 2 else 3)
        for place, (before, after) in enumerate(zip((3, *plan), plan, strict=False))
    )
    normalisations = 2 * sum(plan[1:])
    with torch.device("meta"):  # shapes without numbers
        judge = PictureDiscriminator()
    assert count_parameters(judge) == convolutions + normalisations + 512 * 3 * 3 + 1
    assert judge(torch.empty(5, 3, 96, 96, device="meta")).shape == (5,)


def test_every_layer_of_a_block_sees_all_before_it() -> None:
    block, seen = DenseBlock(5, 3), []
    for layer in block.layers:
        layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    features = random(2, 5, 4, 4)
    added = block(features)
    assert [values.shape[1] for values in seen] == [5, 8, 11, 14]
    assert all(torch.equal(values[:, :5], features) for values in seen)
    assert torch.equal(seen[-1], torch.cat([features, added[:, :9]], dim=1))


@pytest.mark.parametrize("shape", [(64, 64), (50, 70)])
@pytest.mark.parametrize("adds_to", ["picture", "half"])
def test_untrained_it_leaves_the_photograph_alone(shape: tuple[int, int], adds_to: Literal["picture", "half"]) -> None:
    """In encoding A the picture itself means "unchanged", in B and C it is the answer 0.5."""
    pictures = random(2, 3, *shape)
    unchanged = pictures if adds_to == "picture" else torch.full_like(pictures, 0.5)
    assert torch.equal(DenseUNet(0.25, adds_to=adds_to).eval()(pictures), unchanged)


def test_global_features_tell_every_corner_of_all_the_others() -> None:
    """Without them a place does not see so far."""
    network = DenseUNet(0.25).eval()
    nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    assert influence_of_the_far_corner(network) > 0
    for layer in network.everywhere:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
    assert influence_of_the_far_corner(network) == 0


def influence_of_the_far_corner(network: nn.Module) -> float:
    picture = random(1, 3, 480, 16).requires_grad_()
    network(picture)[0, :, -1].sum().backward()
    assert picture.grad is not None
    return picture.grad[0, :, :16].abs().max().item()


def test_every_kernel_learns_and_steps_lower_the_loss() -> None:
    """Once the head has left zero, with which it begins."""
    network, pictures = DenseUNet(0.25), random(2, 3, 48, 48)
    wanted = 0.8 * pictures.flip(1) + 0.1
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    losses = []
    for _ in range(3):
        loss = (network(pictures) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    kernels = {name: parameter for name, parameter in network.named_parameters() if name.endswith("weight")}
    assert [name for name, kernel in kernels.items() if kernel.grad is None or not kernel.grad.any()] == []


def test_a_step_lets_the_discriminator_tell_better() -> None:
    judge = PictureDiscriminator(64, 0.125)
    real, made = random(3, 3, 64, 64), 0.5 * random(3, 3, 64, 64, seed=1)
    optimizer = torch.optim.Adam(judge.parameters(), 1e-4)
    before = (judge(made) - judge(real)).mean()
    before.backward()
    assert all(parameter.grad is not None for parameter in judge.parameters())
    optimizer.step()
    assert (judge(made) - judge(real)).mean() < before


def test_in_use_it_is_deterministic_and_comes_back_from_its_weights() -> None:
    network, again = DenseUNet(0.25).eval(), DenseUNet(0.25, seed=5).eval()
    nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    again.load_state_dict(network.state_dict())
    pictures = random(2, 3, 48, 48)
    assert torch.equal(again(pictures), network(pictures))
    assert torch.allclose(network(pictures[1:]), network(pictures)[1:], atol=1e-5)


def test_the_seed_decides_the_first_weights_and_disturbs_nobody() -> None:
    before = torch.get_rng_state()
    for kind, name in (
        (DenseUNet, "first.weight"),
        (lambda width, seed: PictureDiscriminator(32, width, seed=seed), "layers.0.weight"),
    ):
        one, same, other = (kind(0.25, seed=seed).state_dict() for seed in (1, 1, 2))  # type: ignore[operator]
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not torch.equal(one[name], other[name])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [0, 100])
def test_a_side_that_cannot_be_halved_five_times_is_a_sentence(size: int) -> None:
    with pytest.raises(ModelError, match=f"{size} px is no multiple of 32"):
        PictureDiscriminator(size)
