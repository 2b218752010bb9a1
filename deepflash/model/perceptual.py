"""LPIPS: how alike two pictures are to a network that was taught what people find alike.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018. Its weights do not come with
deepflash: they are five small layers (`vgg.pth` of the authors' repository, version 0.1) over a VGG-16 trained on ImageNet.
"""

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.vgg_features import before_rectifiers
from deepflash.model.weights import CONVOLUTIONS, Vgg16Weights, load_vgg16

_COMPARED = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")  # the last layer before each pool
_CHANNELS = (64, 128, 256, 512, 512)
_NO_ZERO = 1e-10


class Lpips:
    """The distance, 0 for equal pictures; see `load_lpips`.

    Parameters
    ----------
    vgg
        VGG-16 as torchvision trained it; its mean and scale are those that LPIPS is defined with.
    layers
        Of each compared layer a weight for every channel, (C,) not negative.
    """

    def __init__(self, vgg: Vgg16Weights, layers: list[Tensor], device: torch.device | None = None) -> None:
        self._convolutions = {
            name: (torch.from_numpy(vgg.kernels[name]).to(device), torch.from_numpy(vgg.biases[name]).to(device))
            for name in CONVOLUTIONS
        }
        self._mean, self._std = (torch.tensor(values, device=device)[:, None, None] for values in (vgg.mean, vgg.std))
        self._layers = [weights.to(device)[:, None, None] for weights in layers]

    @torch.no_grad()
    def __call__(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """Return (N,): the distances of (N, 3, H, W) pictures in [0, 1], at least 16 px a side."""
        distances = torch.zeros(len(pictures), device=pictures.device)
        for weights, one, other in zip(self._layers, self._features(pictures), self._features(truth), strict=True):
            distances = distances + (weights * (one - other).square()).sum(dim=1).mean(dim=(1, 2))
        return distances

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """Return the compared layers' activations, each pixel's brought to length 1."""
        compared = []
        for name, before in before_rectifiers((pictures - self._mean) / self._std, self._convolutions):
            if name in _COMPARED:
                activations = F.relu(before)
                length = activations.square().sum(dim=1, keepdim=True).sqrt()
                compared.append(activations / (length + _NO_ZERO))
        return compared


def load_lpips(layers: Path, vgg: Path, *, device: torch.device | None = None) -> Lpips:
    """Load LPIPS from weights that people have.

    Parameters
    ----------
    layers
        The authors' `weights/v0.1/vgg.pth`: five layers called `lin0.model.1.weight` and so on.
    vgg
        torchvision's VGG-16, such as `vgg16-397923af.pth`; see `load_vgg16`.
    device
        Where pictures will be.

    Raises
    ------
    ModelError
        if a file cannot be read or holds something else.
    """
    encoder = load_vgg16(vgg)
    if encoder.format != "torchvision":
        raise ModelError(f"{vgg} is of the form {encoder.format}; LPIPS is defined over torchvision's VGG-16, give its weights")
    try:
        content = torch.load(layers, map_location="cpu", weights_only=True)
        weights = [content[f"lin{number}.model.1.weight"].float().flatten() for number in range(len(_CHANNELS))]
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{layers} holds no layers of LPIPS ({reason}); give vgg.pth of its version 0.1") from error
    found = tuple(len(layer) for layer in weights)
    if found != _CHANNELS:
        raise ModelError(f"{layers} has layers of {found} channels, those over VGG-16 have {_CHANNELS}; give vgg.pth")
    return Lpips(encoder, weights, device)
