"""HDRNet: the layer table (reference: models.md 3), slicing and guides against loops written from their formulas."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from skimage import data

from deepflash.model.cost import count_parameters, multiply_accumulates
from deepflash.model.hdrnet import CurvesGuide, HdrNet, apply_matrices, slice_grid

Guide = Literal["pointwise", "curves"]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(before: int, after: int, side: int = 1) -> int:
    return before * after * side * side + after


@pytest.mark.parametrize(("multiplier", "gmac"), [(1, 0.058), (2, 0.172)])
def test_size_and_cost_are_those_of_the_table(multiplier: int, gmac: float) -> None:
    """Parameters counted by hand, layer by layer."""
    c = 8 * multiplier
    splat = parameters(3, c, 3) + parameters(c, 2 * c, 3) + parameters(2 * c, 4 * c, 3) + parameters(4 * c, 8 * c, 3)
    globally = (
        2 * parameters(8 * c, 8 * c, 3)
        + parameters(16 * 8 * c, 32 * c)
        + parameters(32 * c, 16 * c)
        + parameters(16 * c, 8 * c)
    )
    locally = 2 * parameters(8 * c, 8 * c, 3) - 8 * c  # the second has no bias
    guide = 3 * 16 + 2 * 16 + parameters(16, 1)
    network = HdrNet(multiplier)
    assert count_parameters(network) == splat + globally + locally + parameters(8 * c, 8 * 3 * 4) + guide
    assert multiply_accumulates(network, 512, 512) / 1e9 == pytest.approx(gmac, abs=0.0005)


def test_the_grid_is_16_by_16_by_8_matrices_for_any_picture() -> None:
    for shape in ((1, 3, 64, 64), (2, 3, 90, 300)):
        assert HdrNet().grid(random(*shape)).shape == (shape[0], 12, 8, 16, 16)


def sliced_slowly(grid: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Interpolate one pixel after another, from the formula of the authors' bilateral_slice."""
    channels, depth, rows, columns = grid.shape
    height, width = guide.shape
    out = np.zeros((channels, height, width))
    for y in range(height):
        for x in range(width):
            place = (guide[y, x] * depth, (y + 0.5) * rows / height, (x + 0.5) * columns / width)
            first = [math.floor(value - 0.5) for value in place]
            for corner in np.ndindex(2, 2, 2):
                cell = [start + step for start, step in zip(first, corner, strict=True)]
                weight = math.prod(max(0.0, 1 - abs(index + 0.5 - value)) for index, value in zip(cell, place, strict=True))
                z, v, u = (min(max(index, 0), size - 1) for index, size in zip(cell, (depth, rows, columns), strict=True))
                out[:, y, x] += weight * grid[:, z, v, u]
    return out


def test_slicing_is_the_formula() -> None:
    """Not square, more pixels than cells one way and fewer the other, brightness up to both ends."""
    grid, guide = random(2, 5, 4, 6, 7), random(2, 1, 5, 20, seed=1)
    guide[0, 0, 0, :3] = torch.tensor([0.0, 0.02, 1.0])
    found = slice_grid(grid, guide).numpy()
    for number in range(2):
        wanted = sliced_slowly(grid[number].double().numpy(), guide[number, 0].double().numpy())
        assert np.abs(found[number] - wanted).max() < 2e-6


def test_the_gradients_of_slicing_are_those_of_finite_differences() -> None:
    """Away from the kinks at cell centres; the grid and the guide both learn."""
    grid = random(1, 2, 3, 2, 2).double().requires_grad_()
    guide = torch.tensor([0.3, 0.44, 0.61, 0.75]).reshape(1, 1, 2, 2).double().requires_grad_()
    slice_grid(grid, guide)[0, 1].square().sum().backward()
    for leaf, index in ((grid, (0, 1, 1, 0, 1)), (guide, (0, 0, 1, 1))):
        values = []
        for step in (1e-2, -1e-2):
            moved = [leaf_ + 0 for leaf_ in (grid.detach(), guide.detach())]
            moved[0 if leaf is grid else 1][index] += step
            values.append(float(slice_grid(*moved)[0, 1].double().square().sum()))
        assert leaf.grad is not None
        assert float(leaf.grad[index]) == pytest.approx((values[0] - values[1]) / 2e-2, abs=1e-4)


def test_matrices_are_applied_row_by_row() -> None:
    matrices, pictures = random(2, 12, 3, 4), random(2, 3, 3, 4, seed=1)
    matrix = matrices[1, :, 2, 3].reshape(3, 4)
    wanted = matrix[:, :3] @ pictures[1, :, 2, 3] + matrix[:, 3]
    assert torch.allclose(apply_matrices(matrices, pictures)[1, :, 2, 3], wanted)


def test_the_curves_begin_as_the_mean_colour_and_are_sums_of_bends() -> None:
    torch.manual_seed(0)
    guide, pictures = CurvesGuide(), random(1, 3, 4, 5)
    assert torch.allclose(guide(pictures), pictures.mean(dim=1, keepdim=True), atol=1e-3)

    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    matrix, offset, knots, slopes = (
        value.detach().numpy() for value in (guide.matrix, guide.offset, guide.knots, guide.slopes)
    )
    colour = matrix @ pictures[0, :, 1, 2].numpy() + offset
    mix, mixed = guide.mix.weight.detach().flatten().numpy(), guide.mix.bias.detach().item()
    for channel in range(3):
        curve = sum(slopes[channel, k] * max(colour[channel] - knots[channel, k], 0) for k in range(16))
        mixed += mix[channel] * curve
    assert guide(pictures)[0, 0, 1, 2].item() == pytest.approx(min(max(mixed, 0), 1), abs=1e-5)


@pytest.mark.parametrize("guide", ["pointwise", "curves"])
def test_the_untrained_network_can_leave_the_photograph_alone(guide: Guide) -> None:
    """In encoding A the picture itself means "unchanged", in B and C it is the answer 0.5."""
    pictures = random(2, 3, 40, 56)
    assert (HdrNet(guide=guide, first="picture").eval()(pictures) - pictures).abs().max() < 1e-6
    assert (HdrNet(guide=guide, first="half").eval()(pictures) - 0.5).abs().max() < 1e-6
    assert (HdrNet(guide=guide).eval()(pictures) - pictures).abs().mean() > 0.05


def test_first_weights_are_hes_normal_distribution_cut_off() -> None:
    weights = HdrNet(2).globally[3].weight  # the widest layer
    wanted = (2 / weights.shape[1]) ** 0.5
    assert weights.std().item() == pytest.approx(wanted, rel=0.01)
    assert weights.abs().max().item() < 2.3 * wanted


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_edges_of_the_picture_stay_sharp(precision: torch.dtype) -> None:
    """The answer has the resolution of the picture, not of the copy that decides; nor of eight bits of it."""
    picture = torch.as_tensor(data.astronaut() / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
        answer = HdrNet(first="picture").eval()(picture)
    assert answer.shape == picture.shape
    assert (answer - picture).abs().max() < 1e-5


def test_bfloat16_leaves_no_bands_in_differences() -> None:
    """Near 0.5, which is "no difference", bfloat16 knows steps of 1/256: two levels of a portrait's 8 bits."""
    network, pictures = HdrNet(first="half").eval(), random(1, 3, 64, 64)
    torch.nn.init.normal_(network.predict.weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    exact = network(pictures)
    assert (exact - 0.5).abs().max() > 1 / 256
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(pictures) - exact).abs().max() < 1 / 2048


@pytest.mark.parametrize("guide", ["pointwise", "curves"])
def test_every_weight_learns_and_a_step_lowers_the_loss(guide: Guide) -> None:
    network = HdrNet(0.25, guide=guide)
    pictures = random(3, 3, 48, 64)
    wanted = 0.8 * pictures.flip(1) + 0.1
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def loss() -> torch.Tensor:
        return (network(pictures) - wanted).square().mean()

    before = loss()
    before.backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []
    optimizer.step()
    assert loss() < before


def test_the_seed_decides_the_first_weights_and_disturbs_nobody() -> None:
    before = torch.get_rng_state()
    one, same, other = (HdrNet(0.25, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["splat.0.0.weight"], other["splat.0.0.weight"])


def test_in_use_it_is_deterministic_and_comes_back_from_its_weights() -> None:
    network, pictures = HdrNet(0.25).eval(), random(1, 3, 50, 30)
    again = HdrNet(0.25, seed=5).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(network(pictures), network(pictures))
    assert torch.equal(again(pictures), network(pictures))
