"""A light network of our own: predicts at half the resolution and brings its answer up along the edges of its input.

Why: the target of encoding C is smooth, so resolution is not what limits it (reference: models.md 10.3: the exact target at a
quarter of the resolution, brought up with the guide, still gives 37 dB, where DeepFlash reaches 21). The body is a U-Net of
NAFNet's blocks (Chen et al., Simple Baselines for Image Restoration, ECCV 2022): no batch normalisation, so that a picture's
answer does not depend on its batch; gates for non-linearities; a global view of the picture's colours by channel attention.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepflash.model.precision import full_precision

_CHANNELS = 32
_ENCODER_BLOCKS = (1, 1, 1, 2)
_MIDDLE_BLOCKS = 4
_GUIDE_RADIUS_PX = 4  # at half resolution
_GUIDE_EPSILON = 1e-3


class Light(nn.Module):
    """U-Net at half resolution with guided up-sampling; (N, 3, H, W) in [0, 1] to (N, 3, H, W), unbounded.

    H and W are multiples of `network.STRIDE`: they are halved once for the U-Net, and four times in it.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 has 32 at the finest level.
    seed
        Of all first weights.

    Notes
    -----
    The up-sampling is the fast guided filter of He and Sun 2015 (arXiv:1505.00996), each channel of the answer along the same
    channel of the input.
    """

    def __init__(self, width: float = 1.0, *, seed: int = 0) -> None:
        super().__init__()
        channels = max(4, round(_CHANNELS * width))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.intro = nn.Conv2d(3, channels, 3, padding=1)
            self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
            for blocks in _ENCODER_BLOCKS:
                self.encoder.append(nn.Sequential(*(Block(channels) for _ in range(blocks))))
                self.down.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
                channels *= 2
            self.middle = nn.Sequential(*(Block(channels) for _ in range(_MIDDLE_BLOCKS)))
            self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
            for _ in _ENCODER_BLOCKS:
                self.up.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
                channels //= 2
                self.decoder.append(Block(channels))
            self.head = nn.Conv2d(channels, 3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # "no difference" in encodings B and C

    def forward(self, pictures: Tensor) -> Tensor:
        small = F.avg_pool2d(pictures, 2)
        features, skips = self.intro(small), []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.middle(features)
        for up, decoder, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            features = decoder(up(features) + skip)
        with full_precision(pictures.device):
            answer = self.head(features.to(self.head.weight.dtype))
        return guided_upsampling(answer, small, pictures)


class Block(nn.Module):
    """NAFNet's block: a gated depth-wise convolution with channel attention, then a gated point-wise layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_1 = ChannelNorm(channels)
        self.expand_1 = nn.Conv2d(channels, 2 * channels, 1)
        self.around = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attend = nn.Conv2d(channels, channels, 1)
        self.project_1 = nn.Conv2d(channels, channels, 1)
        self.norm_2 = ChannelNorm(channels)
        self.expand_2 = nn.Conv2d(channels, 2 * channels, 1)
        self.project_2 = nn.Conv2d(channels, channels, 1)
        self.share_1 = nn.Parameter(torch.zeros(1, channels, 1, 1))  # a block begins as the identity
        self.share_2 = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        gated = _gate(self.around(self.expand_1(self.norm_1(features))))
        attended = gated * self.attend(gated.mean(dim=(2, 3), keepdim=True))
        features = features + self.share_1 * self.project_1(attended)
        gated = _gate(self.expand_2(self.norm_2(features)))
        result: Tensor = features + self.share_2 * self.project_2(gated)
        return result


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        last = features.movedim(1, -1)
        return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, 1e-6).movedim(-1, 1)


def guided_upsampling(values: Tensor, small: Tensor, guide: Tensor) -> Tensor:
    """Bring `values` (N, C, h, w), known beside `small`, to the size of `guide` (N, C, H, W), along its edges."""
    values, small, guide = values.float(), small.float(), guide.float()
    mean_guide, mean_values = _box(small), _box(values)
    variance = _box(small * small) - mean_guide.square()
    slope = (_box(small * values) - mean_guide * mean_values) / (variance + _GUIDE_EPSILON)
    offset = mean_values - slope * mean_guide
    lines = torch.cat([_box(slope), _box(offset)], dim=1)
    slope, offset = F.interpolate(lines, guide.shape[-2:], mode="bilinear", align_corners=False).chunk(2, dim=1)
    return slope * guide + offset


def _box(planes: Tensor) -> Tensor:
    side = 2 * _GUIDE_RADIUS_PX + 1
    return F.avg_pool2d(planes, side, stride=1, padding=_GUIDE_RADIUS_PX, count_include_pad=False)


def _gate(features: Tensor) -> Tensor:
    one, other = features.chunk(2, dim=1)
    return one * other
