"""Depth-aware bokeh: a network that knows about depth decides how much each pixel is blurred.

Dutta, Depth-aware Blending of Smoothed Images for Bokeh Effect Generation, 2020. MegaDepth's hourglass gets a new last layer
with four planes, which a softmax turns into shares; with them the picture and three blurred copies of it are mixed.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepflash.model.hourglass import Hourglass
from deepflash.model.precision import full_precision

Kernels = tuple[int, int, int]

KERNELS_PX: Kernels = (25, 45, 75)
"""Sides of the three Gaussian kernels, section 3."""
_KERNELS_BELONG_TO_PX = 512  # longer side of the pictures that the paper begins with


class Bokeh(nn.Module):
    """(N, 3, H, W) in [0, 1], all in focus, to the same with a blurred background, within [0, 1]. Any size will do.

    The kernels' sides are in pixels, so the effect belongs to the size that the network was trained at: the paper brings
    pictures to 384 x 512, later 768 x 1024.

    Parameters
    ----------
    width
        Multiplies every number of the hourglass' channels; 1 is MegaDepth's, 5.36 million parameters.
    kernels_px
        Sides of the Gaussian kernels, odd; for pictures smaller than the paper's see `kernels_for`.
    seed
        Of all first weights.
    """

    def __init__(self, width: float = 1.0, *, kernels_px: Kernels = KERNELS_PX, seed: int = 0) -> None:
        super().__init__()
        self.kernels_px = kernels_px
        self.hourglass = Hourglass(width, outputs=1 + len(kernels_px), seed=seed)

    def load_megadepth(self, path: Path) -> None:
        """Begin with a network that was trained to see depth, see `Hourglass.load_megadepth`; the last layer begins anew."""
        self.hourglass.load_megadepth(path)

    def forward(self, pictures: Tensor) -> Tensor:
        shares = self.shares(pictures).float()
        with full_precision(pictures.device):
            return mixed(pictures, shares, self.kernels_px)

    def shares(self, pictures: Tensor) -> Tensor:
        """Return how much of the picture and of each blurred copy every pixel gets, (N, 4, H, W); they sum to 1."""
        shares: Tensor = self.hourglass(pictures).softmax(dim=1)
        return shares


def kernels_for(size: int) -> Kernels:
    """Return the kernels' sides for pictures with a longer side of `size` px: the paper's, or less in proportion below 512.

    >>> kernels_for(1024), kernels_for(256), kernels_for(128)
    ((25, 45, 75), (13, 23, 37), (7, 13, 19))
    """
    scale = min(1.0, size / _KERNELS_BELONG_TO_PX)
    first, second, third = (1 + 2 * round(scale * (side - 1) / 2) for side in KERNELS_PX)
    return first, second, third


@torch.no_grad()
def at_full_size(network: Bokeh, photographs: Tensor, height: int, width: int) -> Tensor:
    """Blur the background of large photographs with a network that was trained at a smaller size.

    The paper brings the small result to the photograph's size, section 5.1, and with it a coarse subject. Here only shares and
    blurred copies are brought up, which are smooth; what is in focus comes from the photograph itself.

    Parameters
    ----------
    network
        In evaluation mode.
    photographs
        (N, 3, H, W) in [0, 1].
    height, width
        What the network was trained at, in pixels, such as 384 and 512.

    Returns
    -------
    Tensor
        (N, 3, H, W).
    """
    small = F.interpolate(photographs, (height, width), mode="bilinear", antialias=True, align_corners=False)
    shares = network.shares(small).float()
    smooth = torch.cat([shares[:, :1], _blurred_part(small, shares, network.kernels_px)], dim=1)

    def enlarged(plane: int) -> Tensor:
        return F.interpolate(smooth[:, plane : plane + 1], photographs.shape[-2:], mode="bilinear", align_corners=False)

    focused, result = enlarged(0), torch.empty_like(photographs)
    for channel in range(3):  # one by one: a photograph of 13 megapixels has 52 MB in each
        torch.mul(photographs[:, channel : channel + 1], focused, out=result[:, channel : channel + 1])
        result[:, channel : channel + 1] += enlarged(1 + channel)
    return result


def mixed(pictures: Tensor, shares: Tensor, kernels_px: Kernels = KERNELS_PX) -> Tensor:
    """Return equation 1: the picture and its blurred copies, mixed by their shares (N, 4, H, W)."""
    return pictures * shares[:, :1] + _blurred_part(pictures, shares, kernels_px)


def blurred(pictures: Tensor, kernel_px: int) -> Tensor:
    """Blur with a Gaussian kernel of an odd side, as OpenCV's `GaussianBlur` does when it is told the side alone.

    The paper does not give sigma; that of OpenCV, 0.3 ((side - 1) / 2 - 1) + 0.8, is 4.1, 7.1 and 11.6 pixels for its kernels.
    (Up to 7 pixels OpenCV has a table instead.) Beyond the border the picture is mirrored about its outermost pixels.
    (N, C, H, W) in and out.
    """
    radius = kernel_px // 2
    sigma = 0.3 * (radius - 1) + 0.8
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(pictures)
    height, width = pictures.shape[-2:]
    planes = pictures.flatten(0, 1)[:, None]  # (N C, 1, H, W)
    rows = F.conv2d(planes[:, :, _mirrored(height, radius, pictures.device)], kernel.view(1, 1, -1, 1))
    both = F.conv2d(rows[..., _mirrored(width, radius, pictures.device)], kernel.view(1, 1, 1, -1))
    return both.view(pictures.shape)


def _blurred_part(pictures: Tensor, shares: Tensor, kernels_px: Kernels) -> Tensor:
    copies = [
        blurred(pictures, kernel_px) * share for kernel_px, share in zip(kernels_px, shares[:, 1:, None].unbind(1), strict=True)
    ]
    return torch.stack(copies).sum(dim=0)


def _mirrored(length: int, radius: int, device: torch.device) -> Tensor:
    """Return which pixels of a line stand at -radius to length + radius - 1, however short the line is."""
    last = torch.arange(length, device=device)[-1:]  # not a number: ONNX has a remainder of tensors alone
    period = (2 * last).clamp_min(1)
    places = torch.arange(-radius, length + radius, device=device).remainder(period)
    return torch.minimum(places, period - places)
