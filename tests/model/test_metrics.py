"""Metrics agree with scikit-image and with equation 7 written out."""

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as their_ms_ssim
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepflash.model.metrics import accuracy, delta_e2000, mean_colour_error, ms_ssim, psnr, ssim


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    truth = data.astronaut()[:96, 200:320] / 255
    noisy = np.clip(truth * 0.9 + np.random.default_rng(0).normal(0, 0.05, truth.shape), 0, 1)
    return tuple(torch.as_tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None] for picture in (noisy, truth))


def test_ssim_agrees_with_scikit_image() -> None:
    """Gaussian window 11 x 11, sigma 1.5; scikit-image averages over the same whole windows."""
    noisy, truth = pictures()
    oracle = structural_similarity(
        noisy[0].numpy(), truth[0].numpy(), channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(noisy, truth).item() == pytest.approx(oracle, abs=2e-4)


def test_psnr_agrees_with_scikit_image() -> None:
    noisy, truth = pictures()
    oracle = peak_signal_noise_ratio(truth.numpy(), noisy.numpy(), data_range=1.0)
    assert psnr(noisy, truth).item() == pytest.approx(oracle, abs=1e-3)


def test_accuracy_is_equation_7() -> None:
    noisy, truth = pictures()
    written_out = 100 - 100 / (3 * 96 * 120) * float((truth - noisy).abs().sum())
    assert accuracy(noisy, truth).item() == pytest.approx(written_out, abs=1e-3)


def test_ms_ssim_agrees_with_pytorch_msssim() -> None:
    truth = torch.as_tensor(data.astronaut()[:180, 150:401] / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    noisy = (0.8 * truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    oracle = their_ms_ssim(noisy, truth, data_range=1.0, size_average=False)
    assert ms_ssim(noisy, truth).item() == pytest.approx(oracle.item(), abs=5e-5)


def test_ms_ssim_of_a_small_patch_takes_fewer_scales() -> None:
    """96 px allow four scales (models.md 0.12); one scale is SSIM."""
    noisy, truth = pictures()
    assert 0 < ms_ssim(noisy, truth, scales=4).item() < 1
    assert ms_ssim(noisy, truth, scales=1).item() == pytest.approx(ssim(noisy, truth).item(), abs=1e-6)
    with pytest.raises(ValueError, match="at least 11 px"):
        ms_ssim(noisy, truth)
    with pytest.raises(ValueError, match="from 1 to 5"):
        ms_ssim(noisy, truth, scales=6)


def test_delta_e2000_agrees_with_scikit_image_on_every_colour() -> None:
    colours = np.random.default_rng(1).random((2, 64, 64, 3))
    colours[:, :8] = np.round(colours[:, :8])  # black, white and the pure colours
    colours[:, 8:12] = colours[:, 8:12, :, :1]  # greys
    one, other = colours
    oracle = deltaE_ciede2000(rgb2lab(one), rgb2lab(other))
    as_pixels = [torch.as_tensor(picture).reshape(-1, 3, 1, 1) for picture in (one, other)]  # each pixel a picture
    assert np.abs(delta_e2000(*as_pixels).numpy() - oracle.ravel()).max() < 1e-3


def test_the_mean_colour_error_sees_a_cast_and_nothing_else() -> None:
    _, truth = pictures()
    cast = truth + torch.tensor([0.1, 0.0, 0.0])[:, None, None]
    assert mean_colour_error(cast, truth).item() == pytest.approx(0.1 / 3**0.5, abs=1e-6)
    assert mean_colour_error(truth.flip(3), truth).item() == pytest.approx(0, abs=1e-6)


def test_every_picture_of_a_batch_has_its_own_value() -> None:
    noisy, truth = pictures()
    for metric in (
        accuracy,
        psnr,
        ssim,
        lambda one, other: -delta_e2000(one, other),
        lambda one, other: -mean_colour_error(one, other),
    ):
        both = metric(torch.cat([noisy, truth]), torch.cat([truth, truth]))
        assert both.shape == (2,)
        assert both[0].item() == pytest.approx(metric(noisy, truth).item(), rel=1e-5)
        assert both[1] > both[0]


def test_ssim_of_tiny_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))
