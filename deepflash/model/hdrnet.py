"""HDRNet, the first system that the paper compares itself with: a small network predicts a grid of colour matrices.

Gharbi et al., Deep Bilateral Learning for Real-Time Image Enhancement, SIGGRAPH 2017. A copy of 256 x 256 pixels decides on
16 x 16 x 8 affine matrices, by place and by brightness; at full resolution a pixel only looks up its matrix, at its place and
at the brightness that a guide gives it, and applies it to its colour. Layers, kernels and initialisation are those of the
authors' published networks (reference: models.md 3) without batch normalisation between them, which all of their scripts
switch off. One thing differs: at stride 2 their convolutions are padded on the far side only, PyTorch's on the near side as
well; either way the answer lies half a pixel beside the middle.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepflash.model.precision import full_precision

NET_INPUT_PX = 256
"""Side of the copy that decides on the grid."""
GRID_PX = 16
"""Cells of the grid across and down."""
GRID_DEPTH = 8
"""Cells of the grid from dark to bright."""

_KNOTS = 16  # of each curve of the guide; channels of the guide's network
_MATRIX = 12  # 3 x 4

Guide = Literal["pointwise", "curves"]
First = Literal["random", "picture", "half"]


class HdrNet(nn.Module):
    """Predict a bilateral grid of affine colour matrices and apply it; (N, 3, H, W) in [0, 1] to the same, unbounded.

    Any size will do. With `width` 1 it has 0.48 million parameters, with 2 it has 1.91.

    Parameters
    ----------
    width
        The paper's channel multiplier: 1, or 2 as in its experiment on faces.
    guide
        `pointwise`, a network of two layers, which all of the authors' scripts use; `curves`, the colour matrix and
        the learned curves that the paper describes.
    first
        What the untrained network answers. `random`: whatever He's weights give, as the authors begin. `picture`: the picture
        itself, which is "unchanged" where the answer is the portrait (encoding A). `half`: 0.5 everywhere, which is "no
        difference" in encodings B and C: there every matrix is zero and its offset 0.5.
    seed
        Of all first weights.
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        guide: Guide = "pointwise",
        first: First = "random",
        seed: int = 0,
    ) -> None:
        super().__init__()
        widest = max(8, round(8 * GRID_DEPTH * width))  # 64
        splat = [3, *(max(1, widest // 2**halvings) for halvings in (3, 2, 1, 0))]  # 3, 8, 16, 32, 64
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.splat = nn.Sequential(*(_convolution(*both, stride=2) for both in pairwise(splat)))
            self.globally = nn.Sequential(
                _convolution(widest, widest, stride=2),
                _convolution(widest, widest, stride=2),
                nn.Flatten(),
                nn.Linear((GRID_PX // 4) ** 2 * widest, 4 * widest),
                nn.ReLU(),
                nn.Linear(4 * widest, 2 * widest),
                nn.ReLU(),
                nn.Linear(2 * widest, widest),
            )
            self.locally = nn.Sequential(
                _convolution(widest, widest, stride=1),
                nn.Conv2d(widest, widest, 3, padding=1, bias=False),
            )
            self.predict = nn.Conv2d(widest, _MATRIX * GRID_DEPTH, 1)
            self.guide = PointwiseGuide() if guide == "pointwise" else CurvesGuide()
            for part in (self.splat, self.globally, self.locally, self.predict):
                _begin_as_he(part)
        if first != "random":
            self._answer_first(torch.eye(3, 4) if first == "picture" else torch.tensor([[0, 0, 0, 0.5]]).expand(3, 4))

    def forward(self, pictures: Tensor) -> Tensor:
        grid = self.grid(pictures)
        with full_precision(pictures.device):
            return apply_matrices(slice_grid(grid.float(), self.guide(pictures)), pictures)

    def grid(self, pictures: Tensor) -> Tensor:
        """Return the matrices that the network decides on, (N, 12, depth 8, 16, 16)."""
        small = F.interpolate(pictures, (NET_INPUT_PX, NET_INPUT_PX), mode="bilinear", antialias=True, align_corners=False)
        features = self.splat(small)  # (N, 64, 16, 16)
        everywhere = self.globally(features)[:, :, None, None]  # (N, 64, 1, 1)
        fused = F.relu(self.locally(features) + everywhere)
        with full_precision(pictures.device):
            cells: Tensor = self.predict(fused.to(self.predict.weight.dtype))  # (N, 96, 16, 16)
        return torch.unflatten(cells, 1, (_MATRIX, GRID_DEPTH))

    def _answer_first(self, matrix: Tensor) -> None:
        """Begin with the same 3 x 4 matrix in every cell, whatever the picture."""
        with torch.no_grad():
            self.predict.weight.zero_()
            if self.predict.bias is not None:
                self.predict.bias.copy_(matrix.flatten().repeat_interleave(GRID_DEPTH))


class PointwiseGuide(nn.Module):
    """A colour's brightness by a network of two layers; (N, 3, H, W) to (N, 1, H, W) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, _KNOTS, 1, bias=False),
            nn.BatchNorm2d(_KNOTS),
            nn.ReLU(),
            nn.Conv2d(_KNOTS, 1, 1),
            nn.Sigmoid(),
        )
        _begin_as_he(self)

    def forward(self, pictures: Tensor) -> Tensor:
        guide: Tensor = self.layers(pictures)
        return guide


class CurvesGuide(nn.Module):
    """A colour's brightness as the paper describes it: a matrix, a curve for each channel, and their weighted sum.

    It begins as the mean of red, green and blue. (N, 3, H, W) to (N, 1, H, W) in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3) + 1e-4 * torch.randn(1))
        self.offset = nn.Parameter(torch.zeros(3))
        self.knots = nn.Parameter(torch.arange(_KNOTS).div(_KNOTS).repeat(3, 1))  # (channel, knot)
        self.slopes = nn.Parameter(torch.eye(1, _KNOTS).repeat(3, 1))  # a straight line: only the first knot bends
        self.mix = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.mix.weight, 1 / 3)
        if self.mix.bias is not None:
            nn.init.zeros_(self.mix.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        colours = torch.einsum("ij,njhw->nihw", self.matrix, pictures) + self.offset[:, None, None]
        bent = [slope * F.relu(colours - knot) for slope, knot in zip(_planes(self.slopes), _planes(self.knots), strict=True)]
        guide: Tensor = self.mix(torch.stack(bent).sum(dim=0))
        return guide.clamp(0, 1)


def slice_grid(grid: Tensor, guide: Tensor) -> Tensor:
    """Look up every pixel's matrix: trilinear, cells' centres at half-integers, the outermost repeated beyond the border.

    Parameters
    ----------
    grid
        (N, C, depth, rows, columns).
    guide
        (N, 1, H, W) in [0, 1], dark to bright.

    Returns
    -------
    Tensor
        (N, C, H, W).

    Notes
    -----
    Convention: pixel (x, y) lies at ((x + 0.5) columns / W, (y + 0.5) rows / H, guide * depth) in cells, measured from the
    grid's corner (the authors' bilateral_slice). `grid_sample` counts from -1 to 1 between the corners.
    """
    count, _, height, width = guide.shape
    down = (2 * torch.arange(height, device=guide.device) + 1) / height - 1
    across = (2 * torch.arange(width, device=guide.device) + 1) / width - 1
    places = torch.stack(
        [
            across.expand(count, height, width),
            down[:, None].expand(count, height, width),
            2 * guide[:, 0] - 1,
        ],
        dim=-1,
    )  # (N, H, W, 3): x, y, brightness
    sliced = F.grid_sample(grid, places[:, None], mode="bilinear", padding_mode="border", align_corners=False)
    return sliced[:, :, 0]


def apply_matrices(matrices: Tensor, pictures: Tensor) -> Tensor:
    """Give every pixel the colour `matrix @ (red, green, blue, 1)`; matrices (N, 12, H, W) row by row."""
    rows = torch.unflatten(matrices, 1, (3, 4))  # (N, 3, 4, H, W)
    return (rows[:, :, :3] * pictures[:, None]).sum(dim=2) + rows[:, :, 3]


def _convolution(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.ReLU())


def _begin_as_he(network: nn.Module) -> None:
    """Draw weights as TensorFlow's variance scaling does: He's normal distribution, cut off at two sigma; biases are zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            std = (1.3 * 2 / layer.weight[0].numel()) ** 0.5  # 1.3 makes up for what is cut off
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _planes(values: Tensor) -> list[Tensor]:
    """Return for each knot its three channels' values, each (3, 1, 1)."""
    return [column[:, None, None] for column in values.unbind(dim=1)]
