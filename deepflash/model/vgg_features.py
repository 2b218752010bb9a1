"""What a network that was taught to name things sees in a picture, and a loss that compares it.

Johnson et al., Perceptual Losses, ECCV 2016, compare activations; Wang et al., ESRGAN, 2018, the values before the rectifier,
which are dense where activations are mostly zero. The Dense U-Net of 2018 follows ESRGAN: VGG-19, layer conv5_4, mean absolute
difference (reference: models.md 6). The weights do not come with deepflash.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.weights import IMAGENET_MEAN, IMAGENET_STD, read_arrays

Layers = Mapping[str, tuple[Tensor, Tensor]]
"""By names such as `conv5_4`, first to last: kernel (out, in, 3, 3) and bias (out,)."""

_VGG19 = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv3_4": 16,
    "conv4_1": 19, "conv4_2": 21, "conv4_3": 23, "conv4_4": 25, "conv5_1": 28, "conv5_2": 30, "conv5_3": 32, "conv5_4": 34,
}  # fmt: skip
"""Configuration E of Simonyan and Zisserman 2015, with each layer's place in torchvision's `features`."""
_BLOCK_CHANNELS = {"conv1": 64, "conv2": 128, "conv3": 256, "conv4": 512, "conv5": 512}


class VggFeatures:
    """Features of VGG-19's conv5_4 before its rectifier; see `load_vgg19`. Gradients pass to the pictures alone.

    Parameters
    ----------
    layers
        All convolutions up to conv5_4.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        device = layers["conv1_1"][0].device
        self._mean, self._std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return (N, 512, H / 16, W / 16) of (N, 3, H, W) pictures in [0, 1], at least 16 px a side."""
        layers = before_rectifiers((pictures - self._mean) / self._std, self._layers)
        _, features = deque(layers, maxlen=1)[0]  # no more than the last is kept
        return features

    def loss(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """Return the mean absolute difference of the features, a scalar; `truth` needs no gradient."""
        with torch.no_grad():
            wanted = self(truth)
        return (self(pictures) - wanted).abs().mean()


def before_rectifiers(prepared: Tensor, layers: Layers) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the output, before the rectifier, of each convolution of a VGG; each block begins with a 2 x 2 pool.

    Parameters
    ----------
    prepared
        (N, 3, H, W) with the mean subtracted and the scale that the network wants.
    layers
        The convolutions up to the last one that is wanted.
    """
    features = prepared
    for name, (kernel, bias) in layers.items():
        if name.endswith("_1") and name != "conv1_1":
            features = F.max_pool2d(features, 2)
        before = F.conv2d(features, kernel, bias, padding=1)
        yield name, before
        features = F.relu(before)


def load_vgg19(path: Path, *, device: torch.device | None = None) -> VggFeatures:
    """Load VGG-19 from weights that people have.

    Parameters
    ----------
    path
        torchvision's, such as `vgg19-dcbb9e9d.pth`, or the same as `.safetensors`.
    device
        Where pictures will be.

    Raises
    ------
    ModelError
        if the file cannot be read or holds something else.
    """
    _, arrays, _ = read_arrays(path)
    layers, before = {}, 3
    for name, place in _VGG19.items():
        after = _BLOCK_CHANNELS[name[:5]]
        parts = []
        for part, wanted in (("weight", (after, before, 3, 3)), ("bias", (after,))):
            array = arrays.get(f"features.{place}.{part}")
            if array is None or array.shape != wanted:
                found = "is missing" if array is None else f"has the shape {array.shape}, not {wanted}"
                raise ModelError(f"{path} holds no VGG-19 (features.{place}.{part} {found}); give torchvision's VGG-19")
            parts.append(torch.from_numpy(array).to(device))
        layers[name] = (parts[0], parts[1])
        before = after
    return VggFeatures(layers)
