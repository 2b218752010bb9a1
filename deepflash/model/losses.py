"""The loss of the paper, and what it leaves out."""

from torch import Tensor


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
