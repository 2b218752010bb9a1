"""pix2pix, the second system that the paper compares itself with: a U-Net, and a discriminator that judges patches.

Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017; layers and first weights are those
of the authors' published Lua networks (reference: models.md 4); biases, which the Lua trainer sets to zero in every step, learn
here, as in the authors' PyTorch networks. Their test-time habit, dropout and the statistics of the batch, is left out: in
evaluation mode a picture's answer is always the same and does not depend on its batch.
"""

import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.padding import padded

_WIDEST = 8  # times the first layer's channels
_SLOPE = 0.2  # of the leaky rectifiers
_DROPPED_OUT = 3  # innermost layers on the way up
_STD = 0.02  # of all first weights
MOST_DOWNS = 9
PUBLISHED_DOWNS = 8
"""Halvings of the published U-Net, from 256 pixels to one."""


class UNet(nn.Module):
    """The generator; (N, 3, H, W) in [0, 1] to the same, within [0, 1].

    Inside, pictures and answers lie in [-1, 1], as its hyperbolic tangent gives them. Untrained it answers with about 0.5,
    which is "no difference" in encodings B and C. Sides that are no multiples of 2^downs are filled up and cut off again.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 has 64 in the first layer and 512 in the innermost ones.
    downs
        How often the sides are halved, from 2 to 9. 8 is the published network, 54.4 million parameters; at 512 pixels it
        ends in 2 x 2 places, with 9 (67.0 million) in one. Training at a size that is no multiple of 256 wants
        fewer, see `downs_for`.
    seed
        Of all first weights.

    Raises
    ------
    ModelError
        if `downs` is out of range.
    """

    def __init__(self, width: float = 1.0, *, downs: int = PUBLISHED_DOWNS, seed: int = 0) -> None:
        super().__init__()
        if not 2 <= downs <= MOST_DOWNS:
            raise ModelError(f"a U-Net of pix2pix halves its pictures from 2 to {MOST_DOWNS} times, not {downs} times")
        channels = [_channels(min(2**level, _WIDEST), width) for level in range(downs)]  # 64, 128, 256, 512, 512, ...
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        with torch.random.fork_rng(devices=[]):
            for level, (before, after) in enumerate(zip([3, *channels[:-1]], channels, strict=True)):
                self.down.append(_down(before, after, is_first=level == 0, is_last=level == downs - 1))
            for level in reversed(range(downs)):
                before = channels[level] if level == downs - 1 else 2 * channels[level]  # with the skip
                drops = downs - 1 - level < _DROPPED_OUT
                self.up.append(_up(before, channels[level - 1], drops=drops) if level else _last_up(before))
        _begin_small(self, seed)

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        features, skips = 2 * padded(pictures, 2 ** len(self.down)) - 1, []
        for down in self.down:
            features = down(features)  # (N, C, H / 2^k, W / 2^k)
            skips.append(features)
        features = self.up[0](skips.pop())
        for up, skip in zip(self.up[1:], reversed(skips), strict=True):
            features = up(torch.cat([features, skip], dim=1))
        return (torch.tanh(features[..., :height, :width].float()) + 1) / 2  # in float32: bfloat16 would show as bands


class PatchDiscriminator(nn.Module):
    """Tell real from made by patches of 70 x 70 pixels; (N, channels, H, W) in [0, 1] to (N, 1, H / 8 - 2, W / 8 - 2) logits.

    Sides are at least 24 pixels; there a patch sees the whole picture.

    Parameters
    ----------
    channels
        Of what is judged: 6 for a picture beside its answer, as in pix2pix (recipes call it `patch-beside`), 3 for one alone.
    width
        Multiplies every number of channels; 1 has 2.77 million parameters.
    seed
        Of all first weights.
    """

    def __init__(self, channels: int = 6, width: float = 1.0, *, seed: int = 0) -> None:
        super().__init__()
        first, second, third, fourth = (_channels(factor, width) for factor in (1, 2, 4, _WIDEST))
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.Sequential(
                nn.Conv2d(channels, first, 4, stride=2, padding=1),
                nn.LeakyReLU(_SLOPE),
                *_judging(first, second, stride=2),
                *_judging(second, third, stride=2),
                *_judging(third, fourth, stride=1),
                nn.Conv2d(fourth, 1, 4, padding=1),
            )
        _begin_small(self, seed)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.layers(2 * pictures - 1)
        return logits


def downs_for(size: int) -> int:
    """Return how often a U-Net halves square pictures: as often as their side allows, at most the published 8 times.

    With 128 pixels it is 7 times, to one place; pictures of 96 are halved 5 times, to 3 x 3.

    >>> [downs_for(size) for size in (512, 256, 128, 96)]
    [8, 8, 7, 5]
    """
    return min(PUBLISHED_DOWNS, (size & -size).bit_length() - 1)


def _channels(factor: int, width: float) -> int:
    return max(4, round(64 * factor * width))


def _down(before: int, after: int, *, is_first: bool, is_last: bool) -> nn.Sequential:
    layers: list[nn.Module] = [] if is_first else [nn.LeakyReLU(_SLOPE)]
    layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
    if not (is_first or is_last):
        layers.append(nn.BatchNorm2d(after))
    return nn.Sequential(*layers)


def _up(before: int, after: int, *, drops: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, *([nn.Dropout(0.5)] if drops else []))


def _last_up(before: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(before, 3, 4, stride=2, padding=1))


def _judging(before: int, after: int, *, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 4, stride=stride, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE)]


def _begin_small(network: nn.Module, seed: int) -> None:
    """Draw kernels from N(0, 0.02) and the factors of batch normalisation from N(1, 0.02); biases are zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            mean = 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0
            nn.init.normal_(layer.weight, mean, _STD, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
