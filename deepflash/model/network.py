"""The network of the paper: an encoder, VGG-16, and a decoder with a skip connection at every resolution.

The layer table with parameters and multiply-accumulates is reference: models.md 1.3. What the paper leaves open was
decided there: no batch normalisation in the encoder (VGG-16 has none), fusions that begin as a plain sum (as in HDRCNN,
which the decoder follows), a linear head whose bias of 0.5 means "no difference" in encoding C.
"""

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from deepflash.model.encoders import ENCODERS, Encoder, scaled
from deepflash.model.precision import full_precision
from deepflash.model.weights import Order

STRIDE = 32
"""Sides of the network's input must be multiples of this: the encoder halves them five times."""

_DECODER = (512, 512, 256, 128, 64)  # channels of the up-sampling stages
_BOTTLENECK = 512
_SLOPE = 0.2  # of the leaky rectifiers, section 3.1


class DeepFlash(nn.Module):
    """Encoder, bottleneck and decoder; (N, 3, H, W) in [0, 1] to (N, 3, H, W), unbounded.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 is the paper's network of 29.4 million parameters.
    encoder
        One of `encoders.ENCODERS`; the paper's is vgg16.
    batch_norm
        Whether the bottleneck and the up-sampling normalise by batch. The paper does not say; HDRCNN, which it follows, does.
        A residual encoder has its own, always.
    image_skip
        Whether the last layer looks at the input picture once more, as HDRCNN's does; it begins with not doing so.
    decoder_std
        Standard deviation of the decoder's first weights, a normal distribution cut off at two sigma.
        None is sqrt(2 / fan-in); 1.0 is the paper's word, with which Adam at 1e-5 hardly moves them.
    decoder_kernels
        First weights of the decoder's up-sampling: "smooth" gives every pair of channels the kernel of linear interpolation
        times a random weight, "random" draws each weight apart, as the paper says; then neighbouring pixels begin with
        different weights, and a short training leaves a checkerboard (Odena et al., Distill 2016).
    head
        First weights of the last layer: "zero" makes the untrained network answer exactly 0.5, which leaves the photograph
        as it is; "xavier" is the paper's.
    seed
        Of all first weights.
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        encoder: str = "vgg16",
        batch_norm: bool = True,
        image_skip: bool = False,
        decoder_std: float | None = None,
        decoder_kernels: Literal["smooth", "random"] = "smooth",
        head: Literal["zero", "xavier"] = "zero",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # what the encoder wants subtracted, see `weights`
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.encoder: Encoder = ENCODERS[encoder](width)
        bottleneck = scaled(_BOTTLENECK, width)
        stages = [scaled(channels, width) for channels in _DECODER]
        self.bottleneck = _activated(nn.Conv2d(self.encoder.bottom, bottleneck, 3, padding=1), batch_norm)
        self.up = nn.ModuleList(
            _activated(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), batch_norm)
            for before, after in zip([bottleneck, *stages[:-1]], stages, strict=True)
        )
        self.fuse = nn.ModuleList(
            nn.Conv2d(channels + skip, channels, 1) for channels, skip in zip(stages, reversed(self.encoder.skips), strict=True)
        )
        self.head = nn.Conv2d(stages[-1], 3, 1)
        self.last = nn.Conv2d(6, 3, 1) if image_skip else None
        self._initialise(decoder_std, decoder_kernels, head, torch.Generator().manual_seed(seed))

    def load_encoder(self, path: Path, order: Order = "auto") -> str:
        """Begin with an encoder that others have trained; return a sentence on what matched.

        Raises
        ------
        ModelError
            if the file does not hold such an encoder's weights, or this network's `width` is not 1.
        """
        loaded = self.encoder.load(path, order)
        with torch.no_grad():
            self.mean.copy_(torch.tensor(loaded.mean)[:, None, None])
            self.std.copy_(torch.tensor(loaded.std)[:, None, None])
        return loaded.report

    def forward(self, pictures: Tensor) -> Tensor:
        *skips, features = self.encoder((pictures - self.mean) / self.std)  # (N, C, H / 2^k, W / 2^k)
        features = self.bottleneck(features)  # (N, 512, H / 32, W / 32)
        for up, fuse, skip in zip(self.up, self.fuse, reversed(skips), strict=True):
            features = fuse(torch.cat([up(features), skip], dim=1))
        with full_precision(pictures.device):
            answer: Tensor = self.head(features.to(self.head.weight.dtype))
            return answer if self.last is None else self.last(torch.cat([answer, pictures], dim=1))

    def _initialise(self, decoder_std: float | None, decoder_kernels: str, head: str, generator: torch.Generator) -> None:
        for layer in self.encoder.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for block in (self.bottleneck, *self.up):
            layer = block[0]
            std = decoder_std or math.sqrt(2 / _fan_in(layer))
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(layer.bias)
            if decoder_kernels == "smooth" and isinstance(layer, nn.ConvTranspose2d):
                _make_smooth(layer)
        for layer in self.fuse:
            _make_sum(layer)
        if head == "xavier":
            nn.init.xavier_uniform_(self.head.weight, generator=generator)
        else:
            nn.init.zeros_(self.head.weight)
        nn.init.constant_(_bias(self.head), 0.5)
        if self.last is not None:
            _make_sum(self.last)
            nn.init.zeros_(self.last.weight[:, 3:])


def _activated(layer: nn.Conv2d | nn.ConvTranspose2d, batch_norm: bool) -> nn.Sequential:
    norm = nn.BatchNorm2d(layer.out_channels) if batch_norm else nn.Identity()
    return nn.Sequential(layer, norm, nn.LeakyReLU(_SLOPE, inplace=True))


def _fan_in(layer: nn.Module) -> float:
    """Return how many inputs an output sees; a deconvolution's kernel is shared out between stride^2 outputs."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * math.prod(layer.kernel_size)
    raise TypeError(f"{type(layer).__name__} is no convolution")


def _make_smooth(layer: nn.ConvTranspose2d) -> None:
    """Let each pair of channels interpolate linearly, times the first of its weights; the outputs' variance stays."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = line[:, None] * line  # (4, 4): of each output pixel the weights of its four inputs add up to 1
    with torch.no_grad():
        layer.weight.copy_(2 * layer.weight[:, :, :1, :1] * kernel)


def _make_sum(layer: nn.Module) -> None:
    """Let a fusion begin as the sum of its inputs, channel by channel; the second may have fewer or more than there are."""
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{type(layer).__name__} is no convolution")
    channels, others = layer.out_channels, layer.in_channels - layer.out_channels
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.eye(channels), torch.eye(channels, others)], dim=1)[:, :, None, None])
        _bias(layer).zero_()


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("the network's convolutions have biases")
    return layer.bias
