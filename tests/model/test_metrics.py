"""Metrics agree with scikit-image and with equation 7 written out."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepflash.model.metrics import accuracy, psnr, ssim


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


def test_every_picture_of_a_batch_has_its_own_value() -> None:
    noisy, truth = pictures()
    for metric in (accuracy, psnr, ssim):
        both = metric(torch.cat([noisy, truth]), torch.cat([truth, truth]))
        assert both.shape == (2,)
        assert both[0].item() == pytest.approx(metric(noisy, truth).item(), rel=1e-5)
        assert both[1] > both[0]


def test_ssim_of_tiny_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))
