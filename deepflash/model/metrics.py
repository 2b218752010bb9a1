"""How alike two pictures are, in structure and in colour. One value per picture of a batch.

Batches are (N, 3, H, W) float32 with values in [0, 1]; results are (N,).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 11
_WINDOW_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_D65 = (0.95047, 1.0, 1.08883)
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
    luminance, structure = _similarity(pictures, truth)
    return (luminance * structure).mean(dim=(1, 2, 3))


def ms_ssim(pictures: Tensor, truth: Tensor, *, scales: int = 5, least: float = 0.0) -> Tensor:
    """Return the structural similarity over several scales, each half the one before.

    Wang, Simoncelli and Bovik, Multi-scale structural similarity, Asilomar 2003, with its five weights; with fewer scales the
    first ones are taken and made to sum to 1 (a 96 px patch allows four). Structure below `least` counts as that: negative
    structure as none. A loss needs `least` above 0, where the slope of the weights' roots is infinite.

    Raises
    ------
    ValueError
        if the pictures are too small for that many scales, or `scales` is not from 1 to 5.
    """
    if not 1 <= scales <= len(_SCALE_WEIGHTS):
        raise ValueError(f"scales must be from 1 to {len(_SCALE_WEIGHTS)}, not {scales}")
    weights = torch.tensor(_SCALE_WEIGHTS[:scales], dtype=pictures.dtype, device=pictures.device)
    values = []
    for scale in range(scales):
        if scale:
            border = [side % 2 for side in pictures.shape[-2:]]
            pictures, truth = (F.avg_pool2d(both, 2, padding=border) for both in (pictures, truth))
        luminance, structure = _similarity(pictures, truth)
        last = luminance * structure if scale == scales - 1 else structure
        values.append(last.mean(dim=(2, 3)).clamp_min(least))  # (N, C)
    return torch.stack(values, dim=-1).pow(weights / weights.sum()).prod(dim=-1).mean(dim=1)


def scales_for(size: int) -> int:
    """Return over how many scales MS-SSIM can be taken: the coarsest needs a window's 11 px a side.

    >>> scales_for(512), scales_for(128)
    (5, 4)
    """
    return next(scales for scales in range(len(_SCALE_WEIGHTS), 0, -1) if size >> (scales - 1) >= _WINDOW)


def mean_colour_error(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the distance of the mean colours, root mean square over red, green and blue, 0 to 1.

    What the loss of the paper's equation 3 cannot see (reference: models.md 0.2).
    """
    return (pictures - truth).mean(dim=(2, 3)).square().mean(dim=1).sqrt()


def delta_e2000(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return the mean colour difference CIEDE2000 of sRGB pictures under D65; 1 is about what an eye just sees.

    Sharma, Wu and Dalal, The CIEDE2000 color-difference formula, Color Research and Application 30(1), 2005.
    """
    lightness_1, a_1, b_1 = _lab(pictures).unbind(1)
    lightness_2, a_2, b_2 = _lab(truth).unbind(1)
    chroma_7 = ((torch.hypot(a_1, b_1) + torch.hypot(a_2, b_2)) / 2) ** 7
    stretch = 1.5 - 0.5 * (chroma_7 / (chroma_7 + 25.0**7)).sqrt()  # equations 4 and 5
    chroma_1, chroma_2 = torch.hypot(stretch * a_1, b_1), torch.hypot(stretch * a_2, b_2)
    hue_1, hue_2 = torch.atan2(b_1, stretch * a_1), torch.atan2(b_2, stretch * a_2)
    are_grey = chroma_1 * chroma_2 == 0

    turn = torch.remainder(hue_2 - hue_1 + math.pi, 2 * math.pi) - math.pi
    turn = torch.where(are_grey, 0.0, turn)
    lightness_step, chroma_step = lightness_2 - lightness_1, chroma_2 - chroma_1
    hue_step = 2 * (chroma_1 * chroma_2).sqrt() * torch.sin(turn / 2)

    lightness, chroma = (lightness_1 + lightness_2) / 2, (chroma_1 + chroma_2) / 2
    hue = torch.where(are_grey, hue_1 + hue_2, hue_1 + turn / 2)
    tone = (
        1 - 0.17 * torch.cos(hue - math.radians(30)) + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6)) - 0.20 * torch.cos(4 * hue - math.radians(63))
    )  # fmt: skip
    degrees = torch.remainder(torch.rad2deg(hue), 360)
    rotation = torch.deg2rad(60 * torch.exp(-(((degrees - 275) / 25) ** 2)))
    crossing = -2 * (chroma**7 / (chroma**7 + 25.0**7)).sqrt() * torch.sin(rotation)

    lightness_part = lightness_step / (1 + 0.015 * (lightness - 50) ** 2 / (20 + (lightness - 50) ** 2).sqrt())
    chroma_part = chroma_step / (1 + 0.045 * chroma)
    hue_part = hue_step / (1 + 0.015 * chroma * tone)
    squares = lightness_part**2 + chroma_part**2 + hue_part**2 + crossing * chroma_part * hue_part
    return squares.clamp_min(0).sqrt().mean(dim=(1, 2))


def _lab(pictures: Tensor) -> Tensor:
    """Return CIE 1976 L*a*b* of sRGB pictures (IEC 61966-2-1), white point D65, in float64: cube roots near black."""
    rgb = pictures.double()
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).clamp_min(0) ** 2.4)
    matrix = torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64, device=pictures.device)
    xyz = torch.einsum("ij,njhw->nihw", matrix / matrix.new_tensor(_D65)[:, None], linear)
    root = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-12) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _similarity(pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors of SSIM around every pixel that has a whole window: luminance; contrast and structure."""
    if min(pictures.shape[-2:]) < _WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_WINDOW} px, not {tuple(pictures.shape)}")
    mean_a, mean_b = _local_mean(pictures), _local_mean(truth)
    var_a = _local_mean(pictures * pictures) - mean_a**2
    var_b = _local_mean(truth * truth) - mean_b**2
    covariance = _local_mean(pictures * truth) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return luminance, structure


def _local_mean(pictures: Tensor) -> Tensor:
    offsets = torch.arange(_WINDOW, dtype=pictures.dtype, device=pictures.device) - _WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * _WINDOW_SIGMA**2))
    window = window / window.sum()
    channels = pictures.shape[1]
    rows = F.conv2d(pictures, window.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(rows, window.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
