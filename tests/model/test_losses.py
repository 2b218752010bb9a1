"""The loss is equation 5, and `mean_weight` brings back what it leaves out."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepflash.model.losses import mean_removed_loss, picture_loss
from deepflash.model.metrics import ms_ssim, ssim


def answers(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(2, 3, 9, 7, generator=generator) for _ in range(3))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_it_is_equation_5(seed: int) -> None:
    """4 / 3N times the sum of ((t - y) + E[y - t])^2, the mean taken per picture and channel."""
    prepared, y, t = answers(seed)
    written_out = 4 * ((t - y) + (y - t).mean(dim=(2, 3), keepdim=True)).square().mean()
    decoded, wanted = prepared - 2 * y + 1, prepared - 2 * t + 1
    assert mean_removed_loss(decoded, wanted).item() == pytest.approx(written_out.item(), rel=1e-4)


def test_with_full_mean_weight_it_is_four_times_the_squared_error() -> None:
    prepared, y, t = answers()
    loss = mean_removed_loss(prepared - 2 * y + 1, prepared - 2 * t + 1, mean_weight=1.0)
    assert loss.item() == pytest.approx(4 * torch.nn.functional.mse_loss(y, t).item(), rel=1e-5)


@pytest.mark.parametrize(("mean_weight", "blind"), [(0.0, True), (1.0, False)])
def test_equation_5_does_not_see_a_colour_cast(mean_weight: float, blind: bool) -> None:
    """The gradient for a constant shift is rounding at weight 0 (reference: models.md 0.2)."""
    _, y, t = answers()
    shift = torch.zeros(2, 3, 1, 1, requires_grad=True)
    mean_removed_loss(y + 0.1 + shift, t, mean_weight=mean_weight).backward()
    assert (shift.grad.abs().max() < 1e-7) == blind


def test_its_gradient_is_that_of_finite_differences() -> None:
    _, y, t = (tensor.double() for tensor in answers())
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda answer: mean_removed_loss(answer, t, mean_weight=0.3), (y,))


TERMS: dict[str, dict[str, Any]] = {
    "equation 5": {"mean_weight": 0.0},
    "with the mean": {"mean_weight": 0.3},
    "l1": {"kind": "l1"},
    "charbonnier": {"kind": "charbonnier"},
    "SSIM": {"ssim_weight": 0.5},
    "MS-SSIM": {"ms_ssim_weight": 0.5},
    "all": {"kind": "charbonnier", "ssim_weight": 0.2, "ms_ssim_weight": 0.3, "ms_ssim_scales": 2},
}


@pytest.mark.parametrize("term", list(TERMS))
def test_every_term_of_the_loss_has_the_gradient_of_finite_differences(term: str) -> None:
    """In float64, on pictures that are alike enough for structure to count, at a size that has two scales."""
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(1, 3, 22, 23, generator=generator, dtype=torch.float64)
    y = (t + 0.2 * torch.rand(t.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda answer: picture_loss(answer, t, **TERMS[term]), (y,), fast_mode=True)


@pytest.mark.parametrize(
    ("name", "flat", "sign"), [("negative structure", False, -1.0), ("flat pictures", True, 1.0), ("flat and alike", True, 0.0)]
)
def test_gradients_are_finite_where_structure_is_negative_or_missing(name: str, flat: bool, sign: float) -> None:
    """MS-SSIM takes roots of structure: at zero their slope is infinite, and a product with it is no number."""
    t = torch.full((2, 3, 64, 64), 0.5) if flat else torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = (0.5 + sign * (t - 0.5) + 0.1 * sign).requires_grad_()
    loss = picture_loss(y, t, kind="charbonnier", ssim_weight=1, ms_ssim_weight=1)
    loss.backward()
    assert loss.isfinite()
    assert y.grad is not None
    assert y.grad.isfinite().all(), name
    assert y.grad.abs().max() < 1


def test_the_kinds_are_what_their_names_say() -> None:
    _, y, t = answers()
    absolute = torch.nn.functional.l1_loss(y, t).item()
    assert picture_loss(y, t, kind="l1", mean_weight=0, ssim_weight=0).item() == pytest.approx(absolute)
    assert picture_loss(y, t, kind="charbonnier", mean_weight=0, ssim_weight=0).item() == pytest.approx(absolute, rel=1e-3)
    assert picture_loss(t, t, kind="charbonnier", mean_weight=0, ssim_weight=0).item() == pytest.approx(1e-3)


def test_dissimilar_structure_adds_to_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    y, t = (torch.rand(2, 3, 20, 20, generator=generator) for _ in range(2))
    plain, with_ssim = (picture_loss(y, t, mean_weight=1, ssim_weight=weight).item() for weight in (0, 0.1))
    assert with_ssim == pytest.approx(plain + 0.1 * (1 - ssim(y, t).mean().item()), rel=1e-5)


def test_ms_ssim_is_taken_over_as_many_scales_as_fit_or_as_are_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(2, 3, 64, 64, generator=generator)
    y = t + 0.1 * torch.rand(t.shape, generator=generator)
    plain = picture_loss(y, t).item()
    for asked, taken in ((0, 3), (2, 2)):
        loss = picture_loss(y, t, ms_ssim_weight=0.1, ms_ssim_scales=asked).item()
        assert loss == pytest.approx(plain + 0.1 * (1 - ms_ssim(y, t, scales=taken).mean().item()), rel=1e-5)
