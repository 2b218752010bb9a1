"""The Dense U-Net of Que and Lee 2018: dense blocks in a U-Net, with global features, and its discriminator.

Que and Lee, Perceptual Photo Enhancement with Generative Adversarial Networks. Its page and a half names the parts and no
numbers; they are filled from what it cites and its neighbours (reference: models.md 6): dense blocks of four layers that add
16 channels each, after the first layer's 48 (Jégou et al., FC-DenseNet, 2017: on the way up a block passes on only what it
has added); global features as in its reference 2 (Chen et al., Deep Photo Enhancer, 2018): the innermost features' mean goes
through two layers and is set beside every place, and the network answers with what is to be added to the photograph.
For 96 x 96 pixels, the paper's patches:

    ========================  ===========  ============
    layer                     channels     places
    ========================  ===========  ============
    first                     48           96 x 96
    block 1, transition       112          96, then 48
    block 2, transition       176          48, then 24
    block 3, transition       240          24, then 12
    block 4, transition       304          12, then 6
    innermost block           64           6 x 6
    global features           64 + 64      1, then 6
    up, beside block 4        64 + 304     12 x 12
    block, adds               64           12 x 12
    ... three times more                   96 x 96
    head                      64 to 3      96 x 96
    ========================  ===========  ============
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.padding import padded

PATCH_PX = 96
"""Side of the patches that the paper trains on."""

_LEVELS = 4
_FIRST_CHANNELS = 48
_GROWTH = 16  # channels that a layer of a dense block adds
_LAYERS = 4  # of a dense block
_SLOPE = 0.2  # of the discriminator's leaky rectifiers
_JUDGE_CHANNELS = (64, 128, 256, 512, 512)  # the discriminator's, halved after each
_JUDGE_STRIDE = 2 ** len(_JUDGE_CHANNELS)


class DenseUNet(nn.Module):
    """The generator; (N, 3, H, W) in [0, 1] to the same, unbounded. Any size will do: it is filled up to multiples of 16.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 is the table above, 1.64 million parameters.
    adds_to
        What the network's last layer, which begins with zeros, is added to. `picture`: the photograph, for answers that are
        pictures (encoding A, and the paper). `half`: 0.5, which is "no difference" in encodings B and C.
    seed
        Of all first weights.
    """

    def __init__(self, width: float = 1.0, *, adds_to: Literal["picture", "half"] = "picture", seed: int = 0) -> None:
        super().__init__()
        self.adds_to = adds_to
        growth = max(2, round(_GROWTH * width))
        channels, added = max(4, round(_FIRST_CHANNELS * width)), _LAYERS * growth
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, channels, 3, padding=1)
            self.encoder, self.down, skips = nn.ModuleList(), nn.ModuleList(), []
            for _ in range(_LEVELS):
                self.encoder.append(DenseBlock(channels, growth))
                channels += added
                skips.append(channels)
                self.down.append(nn.Sequential(*_normalised(channels), nn.Conv2d(channels, channels, 1), nn.AvgPool2d(2)))
            self.innermost = DenseBlock(channels, growth)
            self.everywhere = nn.Sequential(nn.Linear(added, added), nn.ReLU(), nn.Linear(added, added))
            self.fuse = nn.Conv2d(2 * added, added, 1)
            self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
            for skip in reversed(skips):
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(added, added, 3, padding=1)))
                self.decoder.append(DenseBlock(added + skip, growth))
            self.head = nn.Conv2d(added, 3, 1)
            self._initialise()

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        features, skips = self.first(padded(pictures, 2**_LEVELS)), []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(torch.cat([features, block(features)], dim=1))  # (N, C + 64, H / 2^k, W / 2^k)
            features = down(skips[-1])
        features = self.innermost(features)  # (N, 64, H / 16, W / 16)
        everywhere = self.everywhere(features.mean(dim=(2, 3)))[:, :, None, None]  # (N, 64, 1, 1)
        features = self.fuse(torch.cat([features, everywhere.expand_as(features)], dim=1))
        for up, block, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            features = block(torch.cat([up(features), skip], dim=1))  # (N, 64, ...)
        change: Tensor = self.head(features)[..., :height, :width]
        return change + (pictures if self.adds_to == "picture" else 0.5)

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.head.weight)


class DenseBlock(nn.Module):
    """Layers of which each sees all before it (Huang et al., DenseNet, 2017); (N, C, H, W) to the (N, 4 growth, H, W) added."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(*_normalised(channels + place * growth), nn.Conv2d(channels + place * growth, growth, 3, padding=1))
            for place in range(_LAYERS)
        )

    def forward(self, features: Tensor) -> Tensor:
        known = [features]
        for layer in self.layers:
            known.append(layer(torch.cat(known, dim=1)))
        return torch.cat(known[1:], dim=1)


class PictureDiscriminator(nn.Module):
    """Tell real pictures from made ones as a whole; (N, 3, size, size) in [0, 1] to (N,) logits.

    Convolutions in pairs, the second of which halves the sides, as in SRGAN's and ESRGAN's discriminators in the style of
    VGG; "the last convolution layer is flattened and then fed into a single sigmoid output", which is left to the loss.

    Parameters
    ----------
    size
        Side of the pictures; a multiple of 32.
    width
        Multiplies every number of channels; 1 has 64 to 512, and 13.7 million parameters for 96 pixels.
    seed
        Of all first weights.

    Raises
    ------
    ModelError
        if `size` is no multiple of 32.
    """

    def __init__(self, size: int = PATCH_PX, width: float = 1.0, *, seed: int = 0) -> None:
        super().__init__()
        if size < _JUDGE_STRIDE or size % _JUDGE_STRIDE:
            raise ModelError(f"this discriminator halves its pictures five times; {size} px is no multiple of {_JUDGE_STRIDE}")
        channels = [max(4, round(count * width)) for count in _JUDGE_CHANNELS]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, channels[0], 3, padding=1),
                nn.LeakyReLU(_SLOPE),
                *_judging(channels[0], channels[0], halves=True),
                *(
                    layer
                    for both in pairwise(channels)
                    for layer in (*_judging(*both), *_judging(both[1], both[1], halves=True))
                ),
                nn.Flatten(),
                nn.Linear(channels[-1] * (size // _JUDGE_STRIDE) ** 2, 1),
            )

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.layers(2 * pictures - 1)
        return logits[:, 0]


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _judging(before: int, after: int, *, halves: bool = False) -> list[nn.Module]:
    layer = nn.Conv2d(before, after, 4, stride=2, padding=1) if halves else nn.Conv2d(before, after, 3, padding=1)
    return [layer, nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE)]
