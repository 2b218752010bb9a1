"""The joint-colour bilateral filter of the paper: smooths skin and walls, keeps the edges between them.

    BL(x)_p = sum_q g_s(p - q) g_r(x_p - x_q) x_q / sum_q g_s(p - q) g_r(x_p - x_q)

g_s is a Gaussian of the distance in pixels, g_r a Gaussian of the distance in RGB (squared L2 over the three channels,
values in [0, 1]); beyond the border the picture's edge is repeated. That is the filter of the authors' library
(`FilterBilateral2DS` of piccante; reference: models.md 8.1), not OpenCV's, which measures colours in L1.

How it is made fast. g_r is a smooth kernel on a small range, so a few dozen products of one-dimensional functions
reproduce it: g_r(c - c') = sum_k f_k(c) f_k(c'). Each term leaves an ordinary Gaussian blur, which is separable:
two small matrix products onto a coarse grid of nodes and two back. All the work is matrix products, in a fixed
order, on any device. The functions are the leading eigenfunctions of the kernel (Nystroem's method) along three axes of
colour, luma and two of chroma, each no longer than the picture's own range; chroma is short, which halves the terms.
Against the exact filter it reaches 59 dB at 512 x 512, where the 5-D grid of models.md 8.2 reached 51.7 dB.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIGMA_S_SHARE = 16 / 512
"""sigma_s as a share of the picture's side: the paper's 3 % (16 px at 512 px)."""
SIGMA_R = 0.4
"""The paper's sigma_r, on sRGB values in [0, 1] (reference: models.md 0.7)."""

_TRUNCATION = 2.5  # the exact filter's window is a square of +-2.5 sigma_s, as in the authors' library
_DROPPED = 1e-4  # terms of g_r below this are dropped: a lone white pixel on black is still right to 1 %
_COARSE_SHARE = 0.7  # of sigma_s that the way back from the nodes takes; the way there takes the rest (aliasing 6e-5)
_MARGIN_NODES = 4
_WORKING_SET = 2**19  # floats per intermediate tensor: stays in the cache of a core, and bounds the memory of large pictures
_WORKING_SET_GPU = 2**28
_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])  # orthonormal: keeps L2 distances


def bilateral(pictures: Tensor, sigma_s: float, sigma_r: float = SIGMA_R) -> Tensor:
    """Filter a batch of pictures, fast.

    On a CPU the result for a picture does not depend on what else is in the batch, to the last bit.

    Parameters
    ----------
    pictures
        (N, 3, H, W) float32, RGB in [0, 1], on any device.
    sigma_s
        Standard deviation in space, in pixels, at least 1.
    sigma_r
        Standard deviation in colour. The cost grows as its third inverse power.

    Returns
    -------
    Tensor
        (N, 3, H, W) float32, on the same device.

    Notes
    -----
    The range kernel's expansion is the Nystroem approximation of Williams and Seeger (NIPS 2000) at Gauss-Legendre nodes.
    """
    _check(pictures, sigma_s, sigma_r)
    with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
        spread = [_blur_matrices(side, sigma_s, pictures.device) for side in pictures.shape[-2:]]
        together = 1 if pictures.device.type == "cpu" else max(1, _WORKING_SET_GPU // (64 * pictures[0].numel()))
        return torch.cat([_filter(chunk, spread[0], spread[1], sigma_r) for chunk in torch.split(pictures, together)])


def bilateral_exact(pictures: Tensor, sigma_s: float, sigma_r: float = SIGMA_R, *, radius_px: int | None = None) -> Tensor:
    """Filter by the definition, visiting every neighbour of every pixel: the oracle, for tests and small pictures.

    Parameters and result as `bilateral`; `radius_px` is half the side of the square window, 2.5 `sigma_s` if not given.
    """
    _check(pictures, sigma_s, sigma_r)
    radius = math.ceil(_TRUNCATION * sigma_s) if radius_px is None else radius_px
    height, width = pictures.shape[-2:]
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    total = torch.zeros_like(pictures)
    weights = torch.zeros_like(pictures[:, :1])
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            neighbour = padded[:, :, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            distance = (neighbour - pictures).square().sum(1, keepdim=True) / (2 * sigma_r**2)
            weight = torch.exp(-distance - (dy * dy + dx * dx) / (2 * sigma_s**2))
            total += weight * neighbour
            weights += weight
    return total / weights


def _check(pictures: Tensor, sigma_s: float, sigma_r: float) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.dtype != torch.float32:
        raise ValueError(f"pictures must be (N, 3, H, W) float32, not {tuple(pictures.shape)} {pictures.dtype}")
    if not (sigma_s >= 1 and sigma_r > 0):
        raise ValueError(f"sigma_s must be at least 1 px and sigma_r positive, not {sigma_s} and {sigma_r}")


def _filter(pictures: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], sigma_r: float) -> Tensor:
    """Filter pictures that share one expansion of the range kernel."""
    to_rows, from_rows = rows  # (h, H), (H, h)
    to_columns, from_columns = columns[0].T.contiguous(), columns[1].T.contiguous()  # (W, w), (w, W)
    factors, terms = _range_factors(pictures, sigma_r)
    weighted = torch.cat([torch.ones_like(pictures[:, :1]), pictures], dim=1)[:, :, None]  # (N, 4, 1, H, W)
    limit = _WORKING_SET if pictures.device.type == "cpu" else _WORKING_SET_GPU
    together = max(1, limit // weighted.numel())
    total = torch.zeros_like(weighted[:, :, 0])
    for chosen in torch.split(terms, together):
        function = factors[0][:, chosen[:, 0]] * factors[1][:, chosen[:, 1]] * factors[2][:, chosen[:, 2]]  # (N, K, H, W)
        coarse = to_rows @ ((weighted * function[:, None]) @ to_columns)  # (N, 4, K, h, w)
        blurred = (from_rows @ coarse) @ from_columns  # (N, 4, K, H, W)
        total += blurred.mul_(function[:, None]).sum(2)
    return total[:, 1:] / total[:, :1]


def _range_factors(pictures: Tensor, sigma_r: float) -> tuple[list[Tensor], Tensor]:
    """Expand g_r into products: three tensors (N, R, H, W), one per colour axis, and (K, 3) which of them to multiply."""
    opponent = torch.as_tensor(_OPPONENT, dtype=torch.float32, device=pictures.device)
    axes = torch.einsum("ac,nchw->anhw", opponent, pictures)
    ends = torch.stack([axes.amin((1, 2, 3)), axes.amax((1, 2, 3))], dim=1).tolist()
    expansions = [_expand(low, high + 1e-3, sigma_r) for low, high in ends]
    sizes = [np.abs(values).max(axis=0) ** 2 for _, _, values in expansions]
    products = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2][None, None, :]
    terms = np.argwhere(products > _DROPPED)
    factors = []
    for axis, (nodes, weights, _), used in zip(axes, expansions, terms.max(axis=0) + 1, strict=True):
        at = torch.as_tensor(nodes, dtype=torch.float32, device=pictures.device)[:, None, None]
        kernel = torch.exp((axis[:, None] - at).square_().mul_(-0.5 / sigma_r**2))  # (N, nodes, H, W)
        mix = torch.as_tensor(weights[:, :used].T.copy(), dtype=torch.float32, device=pictures.device)
        factors.append((mix @ kernel.flatten(2)).view(-1, used, *axis.shape[1:]))
    return factors, torch.as_tensor(terms, device=pictures.device)


def _expand(low: float, high: float, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Expand a Gaussian kernel on [low, high]: nodes (m,), weights (m, m) and the functions' values at the nodes.

    Function a at u is `sum_j weights[j, a] exp(-(u - nodes[j])^2 / 2 sigma^2)`; the products f_a(u) f_a(v) add up to
    the kernel; functions come with falling size.
    """
    count = 8 + math.ceil(4 * (high - low) / sigma)
    abscissae, lengths = np.polynomial.legendre.leggauss(count)
    nodes = low + (high - low) * (abscissae + 1) / 2
    root = np.sqrt(lengths * (high - low) / 2)
    kernel = np.exp(-np.square(nodes[:, None] - nodes) / (2 * sigma**2))
    eigenvalues, vectors = np.linalg.eigh(root[:, None] * kernel * root)
    scale = np.sqrt(eigenvalues[::-1].clip(1e-12))
    vectors = vectors[:, ::-1]
    return nodes, root[:, None] * vectors / scale, vectors / root[:, None] * scale


def _blur_matrices(side: int, sigma: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Split a Gaussian blur of a line into two smaller ones: (nodes, side) onto nodes `sigma` apart, (side, nodes) back.

    The repeated border is folded into the first: pixels beyond it count for the last pixel of the line.
    """
    back = _COARSE_SHARE * sigma
    there = math.sqrt(sigma**2 - back**2)
    nodes = np.arange(-_MARGIN_NODES, math.ceil((side - 1) / sigma) + _MARGIN_NODES + 1) * sigma
    reach = math.ceil(_MARGIN_NODES * sigma + 5 * there)
    pixels = np.arange(-reach, side + reach)
    onto = np.zeros((len(nodes), side))
    gaussian = np.exp(-np.square(nodes[:, None] - pixels) / (2 * there**2))
    np.add.at(onto.T, pixels.clip(0, side - 1), gaussian.T)
    onto /= gaussian.sum(axis=1).max()
    off = np.exp(-np.square(np.arange(side)[:, None] - nodes) / (2 * back**2))
    off /= off.sum(axis=1, keepdims=True)
    return tuple(torch.as_tensor(matrix, dtype=torch.float32, device=device) for matrix in (onto, off))  # type: ignore[return-value]
