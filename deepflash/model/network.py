"""The network of the paper: a VGG-16 encoder and a decoder with a skip connection at every resolution.

The layer table with parameters and multiply-accumulates is reference: models.md 1.3. What the paper leaves open was
decided there: no batch normalisation in the encoder (VGG-16 has none), fusions that begin as a plain sum (as in HDRCNN,
which the decoder follows), a linear head whose bias of 0.5 means "no difference" in encoding C.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.weights import CONVOLUTIONS, Vgg16Weights

STRIDE = 32
"""Sides of the network's input must be multiples of this: the encoder halves them five times."""

_ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels, VGG-16 configuration D
_SLOPE = 0.2  # of the leaky rectifiers, section 3.1


class DeepFlash(nn.Module):
    """Encoder, bottleneck and decoder; (N, 3, H, W) in [0, 1] to (N, 3, H, W), unbounded.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 is the paper's network of 29.4 million parameters.
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
        stages = [[max(4, round(channels * width)) for channels in stage] for stage in _ENCODER]
        skips = [stage[-1] for stage in stages]
        self.encoder = nn.ModuleList(
            _encoder_stage(before, stage) for before, stage in zip([3, *skips[:-1]], stages, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = _normalised(nn.Conv2d(skips[-1], skips[-1], 3, padding=1))
        self.up = nn.ModuleList(
            _normalised(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            for before, after in zip([skips[-1], *reversed(skips[1:])], reversed(skips), strict=True)
        )
        self.fuse = nn.ModuleList(nn.Conv2d(2 * channels, channels, 1) for channels in reversed(skips))
        self.head = nn.Conv2d(skips[0], 3, 1)
        self._initialise(decoder_std, decoder_kernels, head, torch.Generator().manual_seed(seed))

    def load_encoder(self, weights: Vgg16Weights) -> None:
        """Begin with an encoder that others have trained.

        Raises
        ------
        ModelError
            if this network's `width` is not 1.
        """
        layers = [layer for layer in self.encoder.modules() if isinstance(layer, nn.Conv2d)]
        if [layer.out_channels for layer in layers] != [len(weights.biases[name]) for name in CONVOLUTIONS]:
            raise ModelError("weights of VGG-16 fit an encoder of width 1 only; set width = 1.0 in the recipe")
        with torch.no_grad():
            for layer, name in zip(layers, CONVOLUTIONS, strict=True):
                layer.weight.copy_(torch.from_numpy(weights.kernels[name]))
                _bias(layer).copy_(torch.from_numpy(weights.biases[name]))
            self.mean.copy_(torch.tensor(weights.mean)[:, None, None])
            self.std.copy_(torch.tensor(weights.std)[:, None, None])

    def forward(self, pictures: Tensor) -> Tensor:
        features, skips = (pictures - self.mean) / self.std, []
        for stage in self.encoder:
            features = stage(features)  # (N, C, H / 2^k, W / 2^k)
            skips.append(features)
            features = self.pool(features)
        features = self.bottleneck(features)  # (N, 512, H / 32, W / 32)
        for up, fuse, skip in zip(self.up, self.fuse, reversed(skips), strict=True):
            features = fuse(torch.cat([up(features), skip], dim=1))
        answer: Tensor = self.head(features)
        return answer

    def _initialise(self, decoder_std: float | None, decoder_kernels: str, head: str, generator: torch.Generator) -> None:
        for layer in self.encoder.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(_bias(layer))
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


def _encoder_stage(before: int, stage: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for after in stage:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers)


def _normalised(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.LeakyReLU(_SLOPE, inplace=True))


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
    """Let a fusion begin as the sum of its two halves."""
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{type(layer).__name__} is no convolution")
    channels = layer.out_channels
    with torch.no_grad():
        layer.weight.copy_(torch.eye(channels).repeat(1, 2)[:, :, None, None])
        _bias(layer).zero_()


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("the network's convolutions have biases")
    return layer.bias
