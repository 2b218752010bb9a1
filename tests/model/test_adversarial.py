"""Adversarial losses against their formulas written out, and one step of each system's game."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn

from deepflash.model.adversarial import (
    beside,
    deception_loss,
    deepflash_gan_loss,
    dense_unet_loss,
    discriminator_loss,
    patch_similarity,
    pix2pix_loss,
)
from deepflash.model.dense_unet import DenseUNet, PictureDiscriminator
from deepflash.model.encodings import encoding_named
from deepflash.model.metrics import ms_ssim
from deepflash.model.network import DeepFlash
from deepflash.model.pix2pix import PatchDiscriminator, UNet


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pair(side: int = 64) -> tuple[Tensor, Tensor]:
    """Return two flash pictures and what the studio would have made of them."""
    astronaut = torch.as_tensor(data.astronaut()[:side, 100:228] / 255, dtype=torch.float32).permute(2, 0, 1)
    flash = torch.stack([astronaut[..., :side], astronaut[..., -side:]])
    return flash, (0.8 * flash.roll(1, dims=1) + 0.1).clamp(0, 1)


def test_the_losses_are_cross_entropies() -> None:
    real, made = 4 * random(2, 1, 3, 3) - 2, 4 * random(2, 1, 3, 3, seed=1) - 2
    chance_real, chance_made = (1 / (1 + np.exp(-logits.double().numpy())) for logits in (real, made))
    told_apart = -(np.log(chance_real).mean() + np.log(1 - chance_made).mean()) / 2
    assert discriminator_loss(real, made).item() == pytest.approx(told_apart, rel=1e-5)
    assert deception_loss(made).item() == pytest.approx(-np.log(chance_made).mean(), rel=1e-5)


def test_a_coin_costs_log_2_and_certainty_is_no_overflow() -> None:
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(np.log(2))
    assert discriminator_loss(torch.full((2,), 1e4), torch.full((2,), -1e4)).item() == 0
    assert deception_loss(torch.full((2,), -1e4)).item() == pytest.approx(1e4)


def test_who_deceives_nobody_learns_most() -> None:
    """The slope is that of finite differences, and does not vanish where the discriminator is sure."""
    slopes = []
    for logit in (-5.0, 0.0, 5.0):
        made = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        deception_loss(made).backward()
        assert made.grad is not None
        moved = [deception_loss(torch.tensor([logit + step], dtype=torch.float64)).item() for step in (1e-4, -1e-4)]
        assert made.grad.item() == pytest.approx((moved[0] - moved[1]) / 2e-4, rel=1e-5)
        slopes.append(made.grad.item())
    assert slopes == sorted(slopes)
    assert slopes[0] == pytest.approx(-1, abs=0.01)


def test_pix2pix_weighs_the_difference_of_pictures_from_minus_one_to_one() -> None:
    answers, target, made = random(2, 3, 8, 8), random(2, 3, 8, 8, seed=1), random(2, 1, 2, 2)
    difference = ((2 * answers - 1) - (2 * target - 1)).abs().mean()
    assert pix2pix_loss(made, answers, target).item() == pytest.approx((deception_loss(made) + 100 * difference).item())


def test_deepflash_weighs_the_deception_against_its_own_loss() -> None:
    decoded, wanted, made = random(2, 3, 8, 8), random(2, 3, 8, 8, seed=1), random(2, 1, 2, 2)
    squares = (decoded - wanted).square().mean()
    assert deepflash_gan_loss(made, decoded, wanted, gan_weight=0.1).item() == pytest.approx(
        (squares + 0.1 * deception_loss(made)).item()
    )
    cast = deepflash_gan_loss(made, wanted + 0.2, wanted, mean_weight=0.0, gan_weight=0.0)
    assert cast.item() == pytest.approx(0, abs=1e-12)


def test_answers_in_encoding_c_are_the_differences_that_the_paper_wants_judged() -> None:
    """The discriminator's own [-1, 1] makes of them BL(flash) - BL(studio)."""
    flash, studio = pair()
    encoding = encoding_named("C")
    smooth_flash, smooth_studio = encoding.prepare(flash), encoding.prepare(studio)
    judge = PatchDiscriminator(3, 0.125).eval()
    assert torch.allclose(
        judge(encoding.target(smooth_flash, smooth_studio)), judge.layers(smooth_flash - smooth_studio), atol=1e-5
    )


def test_the_dense_unets_loss_is_equation_1_and_a_pixel_term() -> None:
    pictures, truth = pair(96)
    made = random(2)

    def perceptual(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().mean()

    similarity = ms_ssim(pictures, truth, scales=4).mean()
    wanted = perceptual(pictures, truth) + 5e-3 * deception_loss(made) + 1 - similarity
    assert dense_unet_loss(made, pictures, truth, perceptual).item() == pytest.approx(wanted.item(), rel=1e-5)
    weighed = dense_unet_loss(made, pictures, truth, perceptual, gan_weight=0, structure_weight=0, pixel_weight=0.5)
    wanted = perceptual(pictures, truth) + 0.5 * (pictures - truth).abs().mean()
    assert weighed.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(("side", "scales"), [(96, 4), (88, 4), (87, 3), (44, 3), (30, 2), (21, 1), (11, 1)])
def test_patches_are_compared_at_as_many_scales_as_they_have(side: int, scales: int) -> None:
    pictures, truth = random(1, 3, side, side + 5), random(1, 3, side, side + 5, seed=1)
    assert torch.equal(patch_similarity(pictures, truth), ms_ssim(pictures, truth, scales=scales))


def test_patches_smaller_than_the_window_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least 11 px"):
        patch_similarity(random(1, 3, 10, 20), random(1, 3, 10, 20))


def test_a_negative_of_the_truth_leaves_gradients_finite() -> None:
    """There MS-SSIM is a root of nothing."""
    truth = random(1, 3, 96, 96)
    pictures = (1 - truth).requires_grad_()
    dense_unet_loss(random(1), pictures, truth, lambda one, other: (one - other).abs().mean()).backward()
    assert pictures.grad is not None
    assert pictures.grad.isfinite().all()


def play(
    network: nn.Module, judge: nn.Module, loss: Callable[[Tensor], Tensor], real: Tensor, judged: Callable[[], Tensor]
) -> None:
    """Let the discriminator take a step, then the network; each shall come nearer to what it wants."""
    for player, aim in (
        (judge, lambda: discriminator_loss(judge(real), judge(judged().detach()))),
        (network, lambda: loss(judge(judged()))),
    ):
        optimizer = torch.optim.Adam(player.parameters(), 2e-4, (0.5, 0.999))
        torch.manual_seed(0)
        before = aim()
        before.backward()
        optimizer.step()
        torch.manual_seed(0)  # the same layers drop out
        assert aim() < before


def test_pix2pix_plays() -> None:
    flash, studio = pair()
    network, judge = UNet(0.125, downs=5), PatchDiscriminator(6, 0.125)
    play(
        network, judge, lambda made: pix2pix_loss(made, network(flash), studio),
        beside(flash, studio), lambda: beside(flash, network(flash)),
    )  # fmt: skip


def test_deepflash_plays() -> None:
    flash, studio = pair()
    encoding = encoding_named("C")
    prepared, wanted = encoding.prepare(flash), encoding.prepare(studio)
    network, judge = DeepFlash(0.125), PatchDiscriminator(3, 0.125)
    play(
        network, judge, lambda made: deepflash_gan_loss(made, encoding.decode(prepared, network(prepared)), wanted),
        encoding.target(prepared, wanted), lambda: network(prepared),
    )  # fmt: skip


def test_the_dense_unet_plays() -> None:
    flash, studio = pair()
    network, judge = DenseUNet(0.25), PictureDiscriminator(64, 0.125)

    def perceptual(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).abs().mean()

    play(
        network, judge, lambda made: dense_unet_loss(made, network(flash), studio, perceptual),
        studio, lambda: network(flash),
    )  # fmt: skip
