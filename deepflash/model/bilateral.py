"""The joint-colour bilateral filter of the paper: smooths skin and walls, keeps the edges between them.

    BL(x)_p = sum_q g_s(p - q) g_r(x_p - x_q) x_q / sum_q g_s(p - q) g_r(x_p - x_q)

g_s is a Gaussian of the distance in pixels, g_r a Gaussian of the distance in RGB (squared L2 over the three channels,
values in [0, 1]); beyond the border the picture's edge is repeated. That is the filter of the authors' library
(`FilterBilateral2DS` of piccante; reference: models.md 8.1), not OpenCV's, which measures colours in L1.

How it is made fast. g_r is a smooth kernel, so a few dozen colours n_k of the picture itself stand for all of them:
g_r(c - c') = sum_jk g_r(c - n_j) M_jk g_r(n_k - c'), M the inverse of the kernel between the n_k (Nystroem's method). Each n_k
leaves an ordinary Gaussian blur of g_r(n_k - x_q) x_q, and a Gaussian is smooth over a block of pixels no longer than
sigma_s, a polynomial of few coefficients: so a block's pixels are gathered in 3 x 3 sample points by one matrix product, the
points are blurred, and another matrix product brings them back to the pixels (a fast Gauss transform). All the work is
matrix products, in a fixed order, on any device.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
_TOLERANCE = 1e-2  # of g_r, at most: in the sum over all neighbours 80 dB are left of it
_CELLS_PER_SIGMA = 5  # colours nearer than a cell stand for each other when those that g_r goes by are chosen
_LEVELS = 255  # cells per channel, at most: photographs have no more
_COARSE_SHARE = 0.7  # of sigma_s that the way back from the nodes takes; the way there takes the rest (aliasing 6e-5)
_MARGIN_NODES = 4
_SHORTEST_PX = 8.0  # of sigma_s for which blocks are long enough to save work
_POINTS = 3  # samples of a smooth function along a block: right to 70 dB for blocks as long as sigma_s
_ENOUGH_PX = 16  # sigma_s of 16 to 32 px in the picture that neighbours are taken from are as good as more (67 dB)
_WORKING_SET = 2**19  # floats per intermediate tensor: stays in the cache of a core, and bounds the memory of large pictures
_WORKING_SET_GPU = 2**28


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
        Standard deviation in colour. The cost grows as its second to third inverse power.

    Returns
    -------
    Tensor
        (N, 3, H, W) float32, on the same device.

    Raises
    ------
    ValueError
        if shape, type or range of the pictures, or a sigma, is another.

    Notes
    -----
    The range kernel's expansion is the Nystroem approximation of Williams and Seeger (NIPS 2000) at colours chosen by a
    Cholesky decomposition with pivots (Fine and Scheinberg, JMLR 2, 2001); the blur is the fast Gauss transform of Greengard
    and Strain (SIAM J. Sci. Stat. Comput. 12, 1991) with polynomials.
    """
    _check(pictures, sigma_s, sigma_r)
    if not len(pictures):
        return pictures.clone()
    with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
        together = 1 if pictures.device.type == "cpu" else max(1, _WORKING_SET_GPU // (32 * pictures[0].numel()))
        return torch.cat([_filter(chunk, sigma_s, sigma_r) for chunk in torch.split(pictures, together)])


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


def _filter(pictures: Tensor, sigma_s: float, sigma_r: float) -> Tensor:
    """Filter pictures that share one expansion of the range kernel."""
    expansion = _expand_range(pictures, sigma_r)
    filter_by = _filter_by_blocks if sigma_s >= _SHORTEST_PX else _filter_by_pixels
    return filter_by(pictures, expansion, sigma_s)


def _filter_by_pixels(pictures: Tensor, expansion: "_Expansion", sigma_s: float) -> Tensor:
    """Blur each term from every pixel onto the nodes and back."""
    onto_rows, onto_columns = (_onto_nodes(length, sigma_s, 1, pictures.device) for length in pictures.shape[2:])
    from_rows, from_columns = (_from_nodes(length, sigma_s, 1, pictures.device) for length in pictures.shape[2:])
    onto_rows, onto_columns = _ends_folded(onto_rows), _ends_folded(onto_columns)
    weighted = torch.cat([torch.ones_like(pictures[:, :1]), pictures], dim=1)[:, :, None]  # (N, 4, 1, H, W)
    parts = list(expansion.parts(_limit(pictures) // weighted.numel()))
    coarse = torch.cat([onto_rows @ ((weighted * _terms(part, pictures)) @ onto_columns.T) for part in parts], dim=2)
    coarse = expansion.mixed(coarse)
    total = torch.zeros_like(weighted[:, :, 0])
    for part, blurred in zip(parts, torch.split(coarse, [part.count for part in parts], dim=2), strict=True):
        total += ((from_rows @ blurred) @ from_columns.T).mul_(_terms(part, pictures)).sum(2)
    return total[:, 1:] / total[:, :1]


def _terms(expansion: "_Expansion", pictures: Tensor) -> Tensor:
    """Return the terms' functions, (N, 1, K, H, W), to multiply with the weighted colours."""
    return expansion.at(pictures).movedim(0, 1)[:, None]


def _ends_folded(onto: Tensor) -> Tensor:
    """Let the first and the last pixel of a line stand for those beyond it."""
    folded = onto[:, :-2].clone()
    folded[:, 0] += onto[:, -2]
    folded[:, -1] += onto[:, -1]
    return folded


def _filter_by_blocks(pictures: Tensor, expansion: "_Expansion", sigma_s: float) -> Tensor:
    """Blur each term from the sample points of blocks onto the nodes and back."""
    sources, shrink = _reduced(pictures, sigma_s)
    side, source_side = _block_side(sigma_s), _block_side(sigma_s / shrink)
    moments = _moments(sources, expansion, source_side)
    onto_rows, onto_columns = (
        _onto_nodes(length, sigma_s / shrink, source_side, pictures.device) for length in sources.shape[2:]
    )
    coarse = onto_rows @ (moments @ onto_columns.T)  # (N, 4, K, h, w): the sums over all neighbours, on the nodes
    from_rows, from_columns = (_from_nodes(length, sigma_s, side, pictures.device) for length in pictures.shape[2:])
    return _at_pixels(pictures, expansion, side, (from_rows @ expansion.mixed(coarse)) @ from_columns.T)


def _reduced(pictures: Tensor, sigma_s: float) -> tuple[Tensor, int]:
    """Return area averages of the pictures, and how many times smaller: neighbours need no more than a wide blur shows."""
    shrink = max(1, _block_side(sigma_s) // _ENOUGH_PX)
    if shrink == 1:
        return pictures, 1
    height, width = pictures.shape[2:]
    return F.avg_pool2d(F.pad(pictures, (0, -width % shrink, 0, -height % shrink), mode="replicate"), shrink), shrink


def _moments(pictures: Tensor, expansion: "_Expansion", side: int) -> Tensor:
    """Return each term's weights and weighted colours, gathered in the sample points of the blocks and of the border.

    Returns
    -------
    Tensor
        (N, 4, K, h q + 2, w q + 2): the last two of a line are its first and its last pixel, which the border repeats.
    """
    basis = _block_basis(side, pictures.device)
    points = basis.shape[1]
    weighted = torch.cat([torch.ones_like(pictures[:, :1]), pictures], dim=1)
    blocks = _blocks(weighted, side)
    products = _products(basis)
    sampled = []
    for part in _parts(blocks, expansion.count + 4 * points**2):
        values = blocks[part]
        right = values.new_empty(len(values), 4, *products.shape)  # in this order, not in that which * prefers
        torch.mul(values[:, :, None], products, out=right)  # (B, 4, q^2, side^2)
        functions = expansion.at(values[:, 1:]).transpose(0, 1)  # (B, K, side^2)
        sampled.append(torch.bmm(functions, right.flatten(1, 2).transpose(1, 2)))
    count, _, height, width = pictures.shape
    high, wide = -(-height // side), -(-width // side)
    moments = pictures.new_empty(count, 4, expansion.count, high * points + 2, wide * points + 2)
    inside = torch.cat(sampled).view(count, high, wide, expansion.count, 4, points, points)
    moments[..., :-2, :-2] = inside.permute(0, 4, 3, 1, 5, 2, 6).flatten(5, 6).flatten(3, 4)
    ends = [0, -1]
    left_right = weighted[..., ends][:, :, None] * expansion.at(pictures[..., ends]).movedim(0, 1)[:, None]
    top_bottom = weighted[:, :, ends][:, :, None] * expansion.at(pictures[:, :, ends]).movedim(0, 1)[:, None]
    moments[..., :-2, -2:] = _line_moments(left_right.transpose(-1, -2), basis).transpose(-1, -2)
    moments[..., -2:, :-2] = _line_moments(top_bottom, basis)
    moments[..., -2:, -2:] = top_bottom[..., ends]
    return moments


def _at_pixels(pictures: Tensor, expansion: "_Expansion", side: int, samples: Tensor) -> Tensor:
    """Return the filtered pictures from the blurred sums, (N, 4, K, h q, w q), in the sample points of the blocks."""
    basis = _block_basis(side, pictures.device)
    points = basis.shape[1]
    count, _, height, width = pictures.shape
    high, wide = -(-height // side), -(-width // side)
    sampled = samples.view(count, 4, expansion.count, high, points, wide, points).permute(0, 3, 5, 1, 4, 6, 2)
    sampled = sampled.reshape(-1, 4 * points**2, expansion.count)
    colours = _blocks(pictures, side)
    products = _products(basis)
    for part in _parts(colours, expansion.count + 4 * points**2):
        functions = expansion.at(colours[part]).transpose(0, 1)  # (B, K, side^2)
        sums = torch.bmm(sampled[part], functions).view(-1, 4, points**2, side**2)
        sums = sums.mul_(products).sum(2)
        colours[part] = sums[:, 1:] / sums[:, :1]
    whole = colours.view(count, high, wide, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(count, 3, high * side, wide * side)[..., :height, :width].contiguous()


def _blocks(planes: Tensor, side: int) -> Tensor:
    """Return (N, C, H, W) planes as blocks, (N h w, C, side^2), filled up with zeros beyond the lower and right border."""
    count, channels, height, width = planes.shape
    padded = F.pad(planes, (0, -width % side, 0, -height % side))
    blocks = padded.view(count, channels, padded.shape[2] // side, side, padded.shape[3] // side, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side**2)


def _parts(blocks: Tensor, planes: int) -> Iterator[slice]:
    """Yield slices of the blocks, as many at a time as fit into the working set with that many values per pixel."""
    together = max(1, _limit(blocks) // (planes * blocks.shape[2]))
    return (slice(first, first + together) for first in range(0, len(blocks), together))


def _limit(tensor: Tensor) -> int:
    return _WORKING_SET if tensor.device.type == "cpu" else _WORKING_SET_GPU


def _line_moments(lines: Tensor, basis: Tensor) -> Tensor:
    """Gather (..., L) lines in the sample points of their blocks, (..., blocks q)."""
    side = len(basis)
    padded = F.pad(lines, (0, -lines.shape[-1] % side))
    return (padded.view(*padded.shape[:-1], -1, side) @ basis).flatten(-2)


def _products(basis: Tensor) -> Tensor:
    """Return the (q^2, side^2) products of the functions of a block's rows and columns."""
    products: Tensor = torch.einsum("yi,xj->ijyx", basis, basis)
    return products.flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class _Expansion:
    """g_r by way of some colours n_k: g_r(c - c') = sum_jk g_r(c - n_j) mix_jk g_r(n_k - c').

    Attributes
    ----------
    colours
        (K, 3), the n_k.
    mix
        (K, K), the inverse of the kernel between them.
    sigma
        That of g_r.
    """

    colours: Tensor
    mix: Tensor
    sigma: float

    @property
    def count(self) -> int:
        return len(self.colours)

    def at(self, colours: Tensor) -> Tensor:
        """Return g_r between each n_k and colours (N, 3, ...), as (K, N, ...)."""
        planes = colours.movedim(1, 0).flatten(1)
        planes = torch.cat([planes, planes.square().sum(0, keepdim=True).mul_(-0.5)])  # |c - n|^2 multiplied out
        ours = torch.cat([self.colours, torch.ones_like(self.colours[:, :1])], dim=1)
        offset = self.colours.square().sum(1, keepdim=True) * (-0.5 / self.sigma**2)
        exponents = torch.addmm(offset, ours, planes, alpha=1 / self.sigma**2)
        return exponents.exp_().view(-1, len(colours), *colours.shape[2:])

    def mixed(self, sums: Tensor) -> Tensor:
        """Bring the gathered (N, 4, K, h, w) from g_r(n_k - c') to the weights of g_r(c - n_j)."""
        return (self.mix @ sums.flatten(3)).view(sums.shape)

    def parts(self, together: int) -> "list[_Expansion]":
        """Return expansions of at most `together` of the colours each, at least one."""
        return [replace(self, colours=colours) for colours in torch.split(self.colours, max(1, together))]


def _expand_range(pictures: Tensor, sigma_r: float) -> _Expansion:
    """Expand g_r on the colours that the pictures have."""
    chosen = _pivots(_palette(pictures, sigma_r / _CELLS_PER_SIGMA), sigma_r)
    mix = np.linalg.inv(_kernel(chosen[:, None], chosen, sigma_r))
    return _Expansion(
        colours=torch.as_tensor(chosen, dtype=torch.float32, device=pictures.device),
        mix=torch.as_tensor(mix, dtype=torch.float32, device=pictures.device),
        sigma=sigma_r,
    )


def _palette(pictures: Tensor, step: float) -> NDArray[np.float64]:
    """Return the colours of the pictures, rounded to multiples of 1 / n no longer than `step`, each once."""
    levels = min(_LEVELS, math.ceil(1 / step))
    ends = torch.stack(torch.aminmax(pictures))
    if not ((ends > -1) & (ends < 2)).all():  # nor is NaN; noise may leave [0, 1] a little
        raise ValueError(f"pictures must be RGB in [0, 1], not from {ends[0]:g} to {ends[1]:g}")
    low, high = (int(end) for end in torch.round(ends * levels))
    side = high - low + 1
    codes = torch.zeros_like(pictures[:, 0], dtype=torch.int32)
    for channel in pictures.unbind(1):
        codes.mul_(side).add_(torch.round(channel * levels).sub_(low).to(torch.int32))
    seen = torch.zeros(side**3, dtype=torch.bool, device=pictures.device)
    seen[codes.flatten().long()] = True
    found = np.unravel_index(np.flatnonzero(seen.cpu().numpy()), (side,) * 3)
    return (np.stack(found, axis=1) + low) / levels


def _pivots(palette: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Choose colours by whose help the kernel between any two of the palette is right to `_TOLERANCE`.

    The next is always the one that the chosen reproduce worst (Cholesky decomposition with pivots): the kernel between
    any other two is reproduced at least as well, by Cauchy and Schwarz.
    """
    left = np.ones(len(palette))
    rows = np.empty((64, len(palette)), np.float32)
    chosen: list[int] = []
    while left.max() > _TOLERANCE:
        if len(chosen) == len(rows):
            rows = np.concatenate([rows, np.empty_like(rows)])
        pivot, before = int(left.argmax()), rows[: len(chosen)]
        row = _kernel(palette, palette[pivot], sigma) - np.einsum("k,kn->n", before[:, pivot], before)
        row /= math.sqrt(left[pivot])
        rows[len(chosen)] = row
        left -= np.square(row)
        chosen.append(pivot)
    return palette[chosen]


def _kernel(colours: NDArray[np.float64], others: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.square(colours - others).sum(axis=-1) / (2 * sigma**2)))


def _block_side(sigma_s: float) -> int:
    """Return the largest power of two that is no longer than sigma_s."""
    return 1 << int(math.log2(sigma_s))


def _sample_points(side: int) -> NDArray[np.float64]:
    """Return where in a block, in pixels from its first, smooth functions are sampled: Chebyshev's points, or every pixel."""
    if side <= _POINTS:
        return np.arange(side, dtype=np.float64)
    return (side - 1) / 2 - side / 2 * np.cos((2 * np.arange(_POINTS) + 1) * np.pi / (2 * _POINTS))


def _block_basis(side: int, device: torch.device) -> Tensor:
    """Return the (side, q) polynomials that are 1 in one of the sample points and 0 in the others."""
    points = _sample_points(side)
    powers = np.vander(np.arange(side) - side / 2, len(points)) @ np.linalg.inv(np.vander(points - side / 2, len(points)))
    return torch.as_tensor(powers, dtype=torch.float32, device=device)


def _points_of(length: int, sigma: float, side: int) -> NDArray[np.float64]:
    """Return where a line's blocks are sampled, in sigmas from its beginning."""
    blocks = np.arange(-(-length // side))[:, None] * side
    return np.asarray((blocks + _sample_points(side) + 0.5).ravel() / sigma)


def _nodes_of(length: int, sigma: float) -> NDArray[np.float64]:
    """Return where the blurred line is sampled: every sigma, and some beyond its ends."""
    return np.arange(-_MARGIN_NODES, math.ceil(length / sigma) + _MARGIN_NODES + 1.0)


def _onto_nodes(length: int, sigma: float, side: int, device: torch.device) -> Tensor:
    """Return the first part of a Gaussian blur, (nodes, blocks q + 2).

    From the sample points of the line's blocks, its first and its last pixel, which count for all beyond them.
    """
    there = math.sqrt(1 - _COARSE_SHARE**2)
    nodes = _nodes_of(length, sigma)[:, None]
    beyond = np.arange(0.5, (_MARGIN_NODES + 5 * there) * sigma) / sigma

    def gaussian(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-np.square(nodes - at) / (2 * there**2)) / (there * sigma * math.sqrt(2 * math.pi))

    before, after = (gaussian(at).sum(axis=1, keepdims=True) for at in (-beyond, length / sigma + beyond))
    onto = np.concatenate([gaussian(_points_of(length, sigma, side)), before, after], axis=1)
    return torch.as_tensor(onto, dtype=torch.float32, device=device)


def _from_nodes(length: int, sigma: float, side: int, device: torch.device) -> Tensor:
    """Return the second part of the blur, (blocks q, nodes): to the sample points of the line's blocks."""
    distances = _points_of(length, sigma, side)[:, None] - _nodes_of(length, sigma)
    weights = np.exp(-np.square(distances) / (2 * _COARSE_SHARE**2))
    return torch.as_tensor(weights / weights.sum(axis=1, keepdims=True), dtype=torch.float32, device=device)
