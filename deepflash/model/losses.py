"""The loss of the paper, what it leaves out, and what others use instead."""

from typing import Literal

from torch import Tensor

from deepflash.model.metrics import ssim

Kind = Literal["squares", "l1", "charbonnier"]
_CHARBONNIER_EPSILON = 1e-3


def picture_loss(decoded: Tensor, wanted: Tensor, *, kind: Kind = "squares", mean_weight: float, ssim_weight: float) -> Tensor:
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
    ssim_weight
        Of 1 - SSIM, which is added.

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
    return loss + ssim_weight * (1 - ssim(decoded, wanted).mean()) if ssim_weight else loss


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
