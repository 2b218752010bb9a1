"""What looks at the picture: encoders, one as good as the other for the decoder.

An encoder turns (N, 3, H, W) into six maps, each half the size of the one before: `skips` channels at H, H/2, H/4, H/8 and
H/16, which the decoder takes up again on its way back, and `bottom` channels at H/32, where it begins. And it can `load` the
weights of such a network that others have trained.

- `vgg16`: the paper's, configuration D of Simonyan and Zisserman 2015;
- `resnet18`, `resnet34`: He, Zhang, Ren and Sun 2015 (arXiv:1512.03385), table 1, which the paper names as future work: an
  eighth to a fourth of the work. Its first layer halves the picture already, so its skip at full size is the picture itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.weights import IMAGENET_MEAN, IMAGENET_STD, Order, load_vgg16, read_arrays

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels of each stage
_RESNET = (64, 64, 128, 256, 512)  # channels of conv1 and of conv2_x to conv5_x
_LEAST_CHANNELS = 4
_CLASSIFIER = "fc."  # which nothing here needs
_COUNTER = "num_batches_tracked"  # neither, and old files lack it


@dataclass(frozen=True)
class Loaded:
    """What was found in a file: `(rgb - mean) / std` is what the encoder wants to see now; and a sentence on what matched."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    report: str


class Vgg16(nn.ModuleList):
    """Thirteen convolutions in five stages, no batch normalisation; skips before each pool, as in HDRCNN."""

    def __init__(self, width: float = 1.0) -> None:
        stages = [[scaled(channels, width) for channels in stage] for stage in _VGG16]
        self.skips = [stage[-1] for stage in stages]
        self.bottom = self.skips[-1]
        super().__init__(_vgg_stage(before, stage) for before, stage in zip([3, *self.skips[:-1]], stages, strict=True))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        maps = []
        for stage in self:
            maps.append(stage(pictures))
            pictures = F.max_pool2d(maps[-1], 2)
        return [*maps, pictures]

    def load(self, path: Path, order: Order = "auto") -> Loaded:
        """Take over the weights of a VGG-16; see `weights.load_vgg16`, whose errors it raises.

        Raises
        ------
        ModelError
            also if this encoder's width is not 1.
        """
        weights = load_vgg16(path, order=order)
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        if [layer.out_channels for layer in layers] != [len(bias) for bias in weights.biases.values()]:
            raise ModelError("weights of VGG-16 fit an encoder of width 1 only; set width = 1.0 in the recipe")
        with torch.no_grad():
            for layer, (name, kernel) in zip(layers, weights.kernels.items(), strict=True):
                layer.weight.copy_(torch.from_numpy(kernel))
                if layer.bias is not None:
                    layer.bias.copy_(torch.from_numpy(weights.biases[name]))
        return Loaded(weights.mean, weights.std, weights.report())


class ResNet(nn.Module):
    """A residual network of basic blocks, without its classifier; tensors are called as in torchvision.

    Parameters
    ----------
    blocks
        How many there are in conv2_x to conv5_x.
    width
        Multiplies every number of channels.
    """

    def __init__(self, blocks: Sequence[int], width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(number, width) for number in _RESNET]
        self.depth = 2 + 2 * sum(blocks)
        self.skips = [3, *channels[:-1]]
        self.bottom = channels[-1]
        self.conv1 = nn.Conv2d(3, channels[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.layer1 = _residual_stage(channels[0], channels[1], blocks[0], stride=1)
        self.layer2 = _residual_stage(channels[1], channels[2], blocks[1])
        self.layer3 = _residual_stage(channels[2], channels[3], blocks[2])
        self.layer4 = _residual_stage(channels[3], channels[4], blocks[3])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        half = F.relu(self.bn1(self.conv1(pictures)))
        maps = [pictures, half, self.layer1(F.max_pool2d(half, 3, stride=2, padding=1))]
        for layer in (self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps

    def load(self, path: Path, order: Order = "auto") -> Loaded:
        """Take over the weights of such a network that torchvision has trained; its classifier is left alone.

        Parameters
        ----------
        path
            `.pth`, `.pt` or `.safetensors` with torchvision's names.
        order
            In which order its first layer takes the colours; `auto` is RGB.

        Raises
        ------
        ModelError
            if the file cannot be read, or is of a network of another depth or width.
        """
        _, arrays, _ = read_arrays(path)
        unused = (_CLASSIFIER, _COUNTER)
        found = {name: torch.from_numpy(array) for name, array in arrays.items() if not any(word in name for word in unused)}
        self._refuse_others(path, found)
        if order == "bgr":
            found["conv1.weight"] = found["conv1.weight"].flip(1)
        self.load_state_dict(found, strict=False)  # the counters begin at 0
        count = sum(isinstance(layer, nn.Conv2d) for layer in self.modules())
        colours = "BGR" if order == "bgr" else "RGB"
        report = f"all {count} convolutions of ResNet-{self.depth}, with their batch normalisation, from a file of the form"
        return Loaded(IMAGENET_MEAN, IMAGENET_STD, f"{report} torchvision ({colours})")

    def _refuse_others(self, path: Path, found: Mapping[str, Tensor]) -> None:
        own = {name: tensor.shape for name, tensor in self.state_dict().items() if _COUNTER not in name}
        if found.keys() != own.keys():
            odd = min(found.keys() ^ own.keys())
            what = f"{'it has' if odd in found else 'it lacks'} {odd}"
            raise ModelError(f"{path} holds no ResNet-{self.depth} of torchvision ({what}); give other weights")
        for name, shape in own.items():
            if found[name].shape != shape:
                shapes = f"{name} is {tuple(found[name].shape)} there and {tuple(shape)} here"
                raise ModelError(f"{path} does not fit this ResNet-{self.depth} ({shapes}); torchvision's wants width = 1.0")


class BasicBlock(nn.Module):
    """Two convolutions that learn what to add to their input (figure 2); where its shape changes, to a projection of it."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            projection = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, features: Tensor) -> Tensor:
        learned = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(learned + self.downsample(features))


Encoder = Vgg16 | ResNet

ENCODERS: dict[str, Callable[[float], Encoder]] = {
    "vgg16": Vgg16,
    "resnet18": lambda width: ResNet((2, 2, 2, 2), width),
    "resnet34": lambda width: ResNet((3, 4, 6, 3), width),
}
"""By the recipe's word; each is made for a width."""


def scaled(channels: int, width: float) -> int:
    """Return how many channels there are at a width.

    >>> scaled(64, 0.5), scaled(64, 0.001)
    (32, 4)
    """
    return max(_LEAST_CHANNELS, round(channels * width))


def _residual_stage(before: int, after: int, count: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(BasicBlock(before, after, stride), *(BasicBlock(after, after) for _ in range(count - 1)))


def _vgg_stage(before: int, stage: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for after in stage:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers)
