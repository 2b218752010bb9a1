"""pix2pix: parameters, costs and shapes of the published networks (reference: models.md 4), and what a patch sees."""

import pytest
import torch
from torch import nn

from deepflash.errors import ModelError
from deepflash.model.cost import count_parameters, multiply_accumulates
from deepflash.model.pix2pix import PatchDiscriminator, UNet, downs_for


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("downs", "millions"), [(8, 54.42), (9, 67.01)])
def test_the_generator_has_the_size_and_cost_of_the_table(downs: int, millions: float) -> None:
    with torch.device("meta"):  # shapes without numbers
        network = UNet(downs=downs)
    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.005)
    assert multiply_accumulates(network, 512, 512) / 1e9 == pytest.approx(24.2, abs=0.05)


class Beside(nn.Module):
    """Gives a discriminator of six channels the same picture twice."""

    def __init__(self, judge: nn.Module) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.judge(torch.cat([pictures, pictures], dim=1))
        return logits


def test_the_discriminator_has_the_size_and_cost_of_the_table() -> None:
    with torch.device("meta"):
        judge = PatchDiscriminator()
    assert count_parameters(judge) / 1e6 == pytest.approx(2.77, abs=0.005)
    assert multiply_accumulates(Beside(judge), 512, 512) / 1e9 == pytest.approx(13.1, abs=0.05)
    assert judge(torch.empty(1, 6, 512, 512, device="meta")).shape == (1, 1, 62, 62)


def test_a_patch_sees_70_by_70_pixels() -> None:
    """By the gradient of one logit in the middle with respect to the picture."""
    picture = random(1, 3, 160, 160).requires_grad_()
    logits = PatchDiscriminator(3, 0.125).eval()(picture)
    assert logits.shape == (1, 1, 18, 18)
    logits[0, 0, 9, 9].backward()
    assert picture.grad is not None
    seen = picture.grad[0].abs().sum(dim=0) > 0
    rows, columns = seen.any(dim=1).nonzero().flatten(), seen.any(dim=0).nonzero().flatten()
    assert seen.sum() == 70 * 70
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70


@pytest.mark.parametrize(("size", "downs", "innermost"), [(256, 8, 1), (512, 8, 2), (128, 7, 1), (96, 5, 3), (64, 6, 1)])
def test_the_side_decides_how_often_it_is_halved(size: int, downs: int, innermost: int) -> None:
    assert downs_for(size) == downs
    places: list[int] = []
    network = UNet(0.0625, downs=downs).eval()
    network.down[-1].register_forward_hook(lambda _layer, _inputs, output: places.append(output.shape[-1]))
    assert network(random(1, 3, size, size)).shape == (1, 3, size, size)
    assert places == [innermost]


def test_pictures_of_other_sizes_are_filled_up_and_cut_off_again() -> None:
    """As by repeating their last row and column by hand."""
    network = UNet(0.0625, downs=5).eval()
    picture = random(1, 3, 50, 70)
    by_hand = torch.cat([picture, picture[..., -1:].expand(-1, -1, -1, 26)], dim=-1)
    by_hand = torch.cat([by_hand, by_hand[..., -1:, :].expand(-1, -1, 14, -1)], dim=-2)
    assert torch.equal(network(picture), network(by_hand)[..., :50, :70])


def test_untrained_it_finds_next_to_no_difference() -> None:
    answer = UNet(0.25, downs=5).eval()(random(1, 3, 64, 64))
    assert (answer - 0.5).abs().mean() < 0.1
    assert 0 <= answer.min() <= answer.max() <= 1


def test_bfloat16_leaves_no_bands() -> None:
    """Near 0.5, which is "no difference", bfloat16 knows steps of 1/256: two levels of a portrait's 8 bits."""
    network, pictures = UNet(0.25, downs=5).eval(), random(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        short = network(pictures)
    assert short.dtype == torch.float32
    assert (short - network(pictures)).abs().max() < 1 / 1024


def test_first_weights_are_those_of_the_paper() -> None:
    network = UNet(0.5, downs=6, seed=3)
    kernels = torch.cat([layer.weight.flatten() for layer in network.modules() if isinstance(layer, nn.Conv2d)])
    factors = torch.cat([layer.weight for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)])
    assert kernels.std().item() == pytest.approx(0.02, rel=0.02)
    assert factors.mean().item() == pytest.approx(1, abs=0.005)
    assert factors.std().item() == pytest.approx(0.02, rel=0.1)
    same, other = UNet(0.5, downs=6, seed=3).state_dict(), UNet(0.5, downs=6, seed=4).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in network.state_dict().items())
    assert not torch.equal(network.down[0][0].weight, other["down.0.0.weight"])


def test_new_networks_disturb_nobody() -> None:
    """The first of several processes builds one for each validation; which units drop out must not depend on it."""
    before = torch.get_rng_state()
    UNet(0.0625, downs=5)
    PatchDiscriminator(3, 0.125)
    assert torch.equal(torch.get_rng_state(), before)


def test_normalisation_and_dropout_are_where_the_paper_has_them() -> None:
    """None in the first and innermost layers on the way down, nor in the last on the way up; dropout in the first three up."""
    network = UNet(0.0625)
    assert [has(layer, nn.BatchNorm2d) for layer in network.down] == [False, *[True] * 6, False]
    assert [has(layer, nn.BatchNorm2d) for layer in network.up] == [*[True] * 7, False]
    assert [has(layer, nn.Dropout) for layer in network.up] == [*[True] * 3, *[False] * 5]
    judge = [layer for layer in PatchDiscriminator(3, 0.25).layers if not isinstance(layer, nn.LeakyReLU)]
    norm_follows = [isinstance(after, nn.BatchNorm2d) for before, after in zip(judge, [*judge[1:], None], strict=True)
                    if isinstance(before, nn.Conv2d)]  # fmt: skip
    assert norm_follows == [False, True, True, True, False]


def has(layer: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(part, kind) for part in layer.modules())


def test_every_kernel_learns_and_a_step_lowers_the_loss() -> None:
    """Biases in front of a normalisation do not."""
    torch.manual_seed(0)
    network, pictures = UNet(0.125, downs=5), random(2, 3, 64, 64)
    wanted = 0.8 * pictures.flip(1) + 0.1
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999))

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same layers drop out
        return (network(pictures) - wanted).abs().mean()

    before = loss()
    before.backward()
    kernels = {name: parameter for name, parameter in network.named_parameters() if name.endswith("weight")}
    assert [name for name, kernel in kernels.items() if kernel.grad is None or not kernel.grad.any()] == []
    optimizer.step()
    assert loss() < before


def test_a_step_lets_the_discriminator_tell_better() -> None:
    judge, real, made = PatchDiscriminator(3, 0.125), random(2, 3, 96, 96), 0.5 * random(2, 3, 96, 96, seed=1)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-4, (0.5, 0.999))
    before = (judge(made) - judge(real)).mean()
    before.backward()
    optimizer.step()
    assert (judge(made) - judge(real)).mean() < before


def test_in_use_it_is_deterministic_and_comes_back_from_its_weights() -> None:
    network, pictures = UNet(0.125, downs=5), random(2, 3, 64, 64)
    assert not torch.equal(network(pictures), network(pictures))  # dropout
    network.eval()
    again = UNet(0.125, downs=5, seed=5).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(network(pictures), network(pictures))
    assert torch.equal(again(pictures), network(pictures))
    assert torch.allclose(network(pictures[1:]), network(pictures)[1:], atol=1e-6)


@pytest.mark.parametrize("downs", [1, 10])
def test_more_or_fewer_halvings_than_there_are_layers_for_are_a_sentence(downs: int) -> None:
    with pytest.raises(ModelError, match=f"from 2 to 9 times, not {downs} times"):
        UNet(0.125, downs=downs)
