"""Room for networks that halve a picture's sides several times."""

import torch.nn.functional as F
from torch import Tensor


def padded(pictures: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides of (N, C, H, W) are multiples; the picture stays at the upper left.

    >>> import torch
    >>> padded(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)
    tensor([[[[1., 2., 3., 3.],
              [1., 2., 3., 3.]]]])
    """
    height, width = pictures.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return F.pad(pictures, (0, right, 0, below), mode="replicate") if below or right else pictures
