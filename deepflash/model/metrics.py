"""How alike two pictures are: accuracy of equation 7, PSNR and SSIM. One value per picture of a batch.

Batches are (N, 3, H, W) float32 with values in [0, 1]; results are (N,).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 11
_WINDOW_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for a data range of 1


def accuracy(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Return equation 7: 100 less the mean absolute difference in per cent, over t_d and y_d of equation 4."""
    return 100 - 100 * (decoded - wanted).abs().mean(dim=(1, 2, 3))


def psnr(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB; at most 100 dB, so that equal pictures still have a mean."""
    return -10 * torch.log10((pictures - truth).square().mean(dim=(1, 2, 3)).clamp_min(1e-10))


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity: Gaussian window 11 x 11, sigma 1.5, mean over channels and whole windows.

    Wang et al., Image quality assessment, IEEE TIP 13(4), 2004; agrees with `skimage.metrics.structural_similarity`
    at `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.

    Raises
    ------
    ValueError
        if a side is shorter than the window.
    """
    if min(pictures.shape[-2:]) < _WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_WINDOW} px, not {tuple(pictures.shape)}")
    mean_a, mean_b = _local_mean(pictures), _local_mean(truth)
    var_a = _local_mean(pictures * pictures) - mean_a**2
    var_b = _local_mean(truth * truth) - mean_b**2
    covariance = _local_mean(pictures * truth) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _local_mean(pictures: Tensor) -> Tensor:
    offsets = torch.arange(_WINDOW, dtype=pictures.dtype, device=pictures.device) - _WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * _WINDOW_SIGMA**2))
    window = window / window.sum()
    channels = pictures.shape[1]
    rows = F.conv2d(pictures, window.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(rows, window.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
