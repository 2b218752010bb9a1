"""The loss of the paper, what it leaves out, and what others use instead."""

from typing import Literal

from torch import Tensor

from deepflash.model.metrics import ms_ssim, scales_for, ssim

Kind = Literal["squares", "l1", "charbonnier"]
_CHARBONNIER_EPSILON = 1e-3
_LEAST_STRUCTURE = 1e-3  # of a scale of MS-SSIM: there its finest scale has slope 33 at most; none below


def picture_loss(
    decoded: Tensor,
    wanted: Tensor,
    *,
    kind: Kind = "squares",
    mean_weight: float = 1.0,
    ssim_weight: float = 0.0,
    ms_ssim_weight: float = 0.0,
    ms_ssim_scales: int = 0,
) -> Tensor:
    """Return the loss that a recipe asks for.

    Parameters
    ----------
    decoded, wanted
        y_d and t_d of equation 4, (N, 3, H, W).
    kind
        `squares`: `mean_removed_loss` with `mean_weight`; `l1`: the mean absolute difference; `charbonnier`: the same, smooth
        near zero (Charbonnier et al., ICIP 1994), so that what cannot be predicted, a blink or a moved lip, weighs less.
        The last two see the mean colour as it is.
    mean_weight
        See `mean_removed_loss`.
    ssim_weight, ms_ssim_weight
        Of 1 - SSIM and of 1 - MS-SSIM, which are added.
    ms_ssim_scales
        Over how many scales; 0 is as many as fit, see `metrics.scales_for`.

    Returns
    -------
    Tensor
        Scalar.
    """
    if kind == "squares":
        loss = mean_removed_loss(decoded, wanted, mean_weight=mean_weight)
    elif kind == "l1":
        loss = (decoded - wanted).abs().mean()
    else:
        loss = ((decoded - wanted).square() + _CHARBONNIER_EPSILON**2).sqrt().mean()
    if ssim_weight:
        loss = loss + ssim_weight * (1 - ssim(decoded, wanted).mean())
    if ms_ssim_weight:
        scales = ms_ssim_scales or scales_for(min(decoded.shape[-2:]))
        loss = loss + ms_ssim_weight * (1 - ms_ssim(decoded, wanted, scales=scales, least=_LEAST_STRUCTURE).mean())
    return loss


def mean_removed_loss(decoded: Tensor, wanted: Tensor, *, mean_weight: float = 0.0) -> Tensor:
    """Return the mean squared difference, with the mean of each channel of each picture weighted apart.

    Equation 3 subtracts every picture's mean colour before it compares, so it cannot see a constant colour cast:
    what is missing from the squared error is the squared mean of the difference. `mean_weight` brings it back.

    Parameters
    ----------
    decoded, wanted
        y_d and t_d of equation 4, (N, 3, H, W). In encoding C they differ by -2 (y - t), so the value equals
        equation 5 with its factor 4.
    mean_weight
        0 is the paper; 1 is the plain mean square of `decoded - wanted`, which is 4 times that of y - t.

    Returns
    -------
    Tensor
        Scalar.
    """
    difference = decoded - wanted
    mean = difference.mean(dim=(2, 3), keepdim=True)
    return (difference - mean).square().mean() + mean_weight * mean.square().mean()
