"""The hourglass that MegaDepth reads depth with: five resolutions, at each of which four kernels look side by side.

Chen et al., Single-Image Depth Perception in the Wild, NIPS 2016, table 1; Li and Snavely, MegaDepth, CVPR 2018. The layer
table is reference: models.md 7, 5.36 million parameters. The places of the layers are those of MegaDepth's published network,
so that its weights, which do not come with deepflash, need no translation: they are called by these places.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.padding import padded
from deepflash.model.weights import read_arrays

STRIDE = 16
"""Sides are halved four times."""

_LAST = "4."  # the layer behind the hourglass
_SMALL, _LARGE = (3, 5, 7), (3, 7, 11)  # sides of the kernels that look side by side

Scale = Callable[[int], int]


class Hourglass(nn.Sequential):
    """(N, 3, H, W) in [0, 1] to (N, outputs, H, W), unbounded. Any size will do: it is filled up to multiples of 16.

    Parameters
    ----------
    width
        Multiplies every number of channels; 1 is MegaDepth's.
    outputs
        Planes of the answer: MegaDepth's is one, the logarithm of the depth.
    seed
        Of all first weights.
    """

    def __init__(self, width: float = 1.0, *, outputs: int = 1, seed: int = 0) -> None:
        def scale(channels: int) -> int:
            return max(2, round(channels * width))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(3, 4 * scale(32), 7, padding=3),
                nn.BatchNorm2d(4 * scale(32)),
                nn.ReLU(),
                _levels(scale),
                nn.Conv2d(4 * scale(16), outputs, 3, padding=1),
            )

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        planes: Tensor = super().forward(padded(pictures, STRIDE))  # type: ignore[no-untyped-call]
        return planes[..., :height, :width]

    def load_megadepth(self, path: Path) -> None:
        """Begin with MegaDepth's weights, such as `best_generalization_net_G.pth`.

        The last layer begins anew if it has not as many outputs as the file's.

        Raises
        ------
        ModelError
            if the file cannot be read, or holds something else than this network's weights.
        """
        _, arrays, _ = read_arrays(path)  # without the `module.` that their trainer put in front
        wanted = {name: tensor for name, tensor in self.state_dict().items() if not name.endswith("num_batches_tracked")}
        found = {name: torch.from_numpy(arrays[name]) for name in wanted if name in arrays}
        if _LAST + "weight" in found and found[_LAST + "weight"].shape != wanted[_LAST + "weight"].shape:
            found = {name: tensor for name, tensor in found.items() if not name.startswith(_LAST)}
        for name, tensor in wanted.items():
            if name not in found and not name.startswith(_LAST):
                raise ModelError(
                    f"{path} holds no hourglass of MegaDepth ({name} is missing); give best_generalization_net_G.pth"
                )
            if name in found and found[name].shape != tensor.shape:
                shapes = f"{name} has the shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
                raise ModelError(f"{path} does not fit this hourglass ({shapes}); give MegaDepth's weights, and width = 1.0")
        self.load_state_dict(found, strict=False)


class Beside(nn.Sequential):
    """Its parts see the same and stand beside each other: (N, C, H, W) to (N, sum of the parts' channels, H, W)."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([part(features) for part in self], dim=1)


class Sum(nn.Sequential):
    """Its parts see the same and are added."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([part(features) for part in self]).sum(dim=0)


def _levels(scale: Scale) -> nn.Sequential:
    """Build the table from its innermost row outwards: each level is a deep branch, around the next level, and a skip branch.

    `see(a, b)` takes a channels and gives b; MegaDepth has the skip first in the two inner levels.
    """

    def see(before: int, after: int, middle: int = 32, kernels: tuple[int, int, int] = _SMALL) -> Beside:
        return _see(4 * scale(before // 4), scale(after // 4), scale(middle), kernels)

    fourth = Sum(  # at 1/8, deep at 1/16
        nn.Sequential(see(256, 256), see(256, 256)),
        nn.Sequential(nn.AvgPool2d(2), see(256, 256), see(256, 256), see(256, 256), nn.Upsample(scale_factor=2)),
    )
    third = Sum(  # at 1/4, deep at 1/8
        nn.Sequential(see(256, 256), see(256, 256, 64, _LARGE)),
        nn.Sequential(
            nn.AvgPool2d(2), see(256, 256), see(256, 256), nn.Sequential(fourth), see(256, 256), see(256, 256, 64, _LARGE),
            nn.Upsample(scale_factor=2),
        ),
    )  # fmt: skip
    second = Sum(  # at 1/2, deep at 1/4
        nn.Sequential(
            nn.MaxPool2d(2), see(128, 128), see(128, 256), nn.Sequential(third), see(256, 256), see(256, 128),
            nn.Upsample(scale_factor=2),
        ),
        nn.Sequential(see(128, 128), see(128, 128, 64, _LARGE)),
    )  # fmt: skip
    first = Sum(  # at full size, deep at 1/2
        nn.Sequential(
            nn.MaxPool2d(2), see(128, 128), see(128, 128), nn.Sequential(second), see(128, 128, 64), see(128, 64, 32, _LARGE),
            nn.Upsample(scale_factor=2),
        ),
        nn.Sequential(see(128, 64, 64, _LARGE)),
    )  # fmt: skip
    return nn.Sequential(first)


def _see(before: int, after: int, middle: int, kernels: tuple[int, int, int]) -> Beside:
    """Look through a kernel of one pixel, and, after thinning to `middle` channels, through three larger ones."""
    wider = [nn.Sequential(*_layer(before, middle, 1), *_layer(middle, after, kernel)) for kernel in kernels]
    return Beside(nn.Sequential(*_layer(before, after, 1)), *wider)


def _layer(before: int, after: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.BatchNorm2d(after, affine=False), nn.ReLU()]
