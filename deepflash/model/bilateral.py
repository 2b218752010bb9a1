"""The joint-colour bilateral filter of the paper: smooths skin and walls, keeps the edges between them.

    BL(x)_p = sum_q g_s(p - q) g_r(x_p - x_q) x_q / sum_q g_s(p - q) g_r(x_p - x_q)

g_s is a Gaussian of the distance in pixels, g_r a Gaussian of the distance in RGB (squared L2 over the three channels,
values in [0, 1]); beyond the border the picture's edge is repeated. That is the filter of the authors' library
(`FilterBilateral2DS` of piccante; reference: models.md 8.1), not OpenCV's, which measures colours in L1.

How it is made fast. g_r is a smooth kernel on a small range, so a few dozen products of one-dimensional functions
reproduce it: g_r(c - c') = sum_k f_k(c) f_k(c'). Each term leaves an ordinary Gaussian blur of f_k x_q, and a Gaussian is
smooth over a block of pixels no longer than sigma_s, a polynomial of few coefficients: so a block's pixels are gathered in
3 x 3 sample points by one matrix product, the points are blurred, and another matrix product brings them back to the
pixels (a fast Gauss transform). All the work is matrix products, in a fixed order, on any device. The functions f_k are
the leading eigenfunctions of the kernel (Nystroem's method) along three axes of colour, luma and two of chroma, each no
longer than the picture's own range; chroma is short, which halves the terms.
"""

import math
from collections import Counter
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
_DROPPED = 1e-4  # terms of g_r below this are dropped: a lone white pixel on black is still right to 1 %
_COARSE_SHARE = 0.7  # of sigma_s that the way back from the nodes takes; the way there takes the rest (aliasing 6e-5)
_MARGIN_NODES = 4
_SHORTEST_PX = 8.0  # of sigma_s for which blocks are long enough to save work
_POINTS = 3  # samples of a smooth function along a block: right to 70 dB for blocks as long as sigma_s
_ENOUGH_PX = 16  # sigma_s of 16 to 32 px in the picture that neighbours are taken from are as good as more (67 dB)
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
    The range kernel's expansion is the Nystroem approximation of Williams and Seeger (NIPS 2000) at Gauss-Legendre nodes;
    the blur is the fast Gauss transform of Greengard and Strain (SIAM J. Sci. Stat. Comput. 12, 1991) with polynomials.
    """
    _check(pictures, sigma_s, sigma_r)
    with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
        together = 1 if pictures.device.type == "cpu" else max(1, _WORKING_SET_GPU // (64 * pictures[0].numel()))
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
    weighted = torch.cat([torch.ones_like(pictures[:, :1]), pictures], dim=1)[:, :, None]  # (N, 4, 1, H, W)
    factors = expansion.factors(pictures)
    total = torch.zeros_like(weighted[:, :, 0])
    for terms in expansion.parts(_limit(pictures) // weighted.numel()):
        functions = terms.products(factors).movedim(0, 1)[:, None]  # (N, 1, K, H, W)
        coarse = _ends_folded(onto_rows) @ ((weighted * functions) @ _ends_folded(onto_columns).T)
        total += ((from_rows @ coarse) @ from_columns.T).mul_(functions).sum(2)
    return total[:, 1:] / total[:, :1]


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
    return _at_pixels(pictures, expansion, side, (from_rows @ coarse) @ from_columns.T)


def _reduced(pictures: Tensor, sigma_s: float) -> tuple[Tensor, int]:
    """Return area averages of the pictures, and how many times smaller: neighbours need no more than a wide blur shows."""
    shrink = max(1, _block_side(sigma_s) // _ENOUGH_PX)
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
    blocks, colours = _blocks(weighted, side, "constant"), _blocks(pictures, side, "replicate")
    products = _products(basis)
    sampled = []
    for part in _parts(blocks, expansion.count):
        right = blocks[part].transpose(1, 2)[..., None] * products[:, None]  # (B, side^2, 4, q^2)
        functions = expansion.at(colours[part]).transpose(0, 1)  # (B, K, side^2)
        sampled.append(torch.bmm(functions, right.flatten(2)))
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
    sampled = samples.view(count, 4, expansion.count, high, points, wide, points).permute(0, 3, 5, 2, 1, 4, 6)
    sampled = sampled.reshape(-1, expansion.count, 4 * points**2)
    colours = _blocks(pictures, side, "replicate")
    products = _products(basis)
    for part in _parts(colours, expansion.count):
        functions = expansion.at(colours[part]).permute(1, 2, 0)  # (B, side^2, K)
        sums = torch.bmm(functions, sampled[part]).view(-1, side**2, 4, points**2)
        sums = torch.einsum("bscq,sq->bcs", sums, products)
        colours[part] = sums[:, 1:] / sums[:, :1]
    whole = colours.view(count, high, wide, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(count, 3, high * side, wide * side)[..., :height, :width].contiguous()


def _blocks(planes: Tensor, side: int, beyond: str) -> Tensor:
    """Return (N, C, H, W) planes as blocks, (N h w, C, side^2), filled up `beyond` the lower and right border."""
    count, channels, height, width = planes.shape
    padded = F.pad(planes, (0, -width % side, 0, -height % side), mode=beyond)
    blocks = padded.view(count, channels, padded.shape[2] // side, side, padded.shape[3] // side, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side**2)


def _parts(blocks: Tensor, terms: int) -> Iterator[slice]:
    """Yield slices of the blocks, as many at a time as fit into the working set."""
    together = max(1, _limit(blocks) // (terms * blocks.shape[2]))
    return (slice(first, first + together) for first in range(0, len(blocks), together))


def _limit(tensor: Tensor) -> int:
    return _WORKING_SET if tensor.device.type == "cpu" else _WORKING_SET_GPU


def _line_moments(lines: Tensor, basis: Tensor) -> Tensor:
    """Gather (..., L) lines in the sample points of their blocks, (..., blocks q)."""
    side = len(basis)
    padded = F.pad(lines, (0, -lines.shape[-1] % side))
    return (padded.view(*padded.shape[:-1], -1, side) @ basis).flatten(-2)


def _products(basis: Tensor) -> Tensor:
    """Return the (side^2, q^2) products of the functions of a block's rows and columns."""
    products: Tensor = torch.einsum("yi,xj->yxij", basis, basis)
    return products.flatten(0, 1).flatten(1)


@dataclass(frozen=True)
class _Expansion:
    """g_r as a sum of products: functions along three axes of colour, and which of them to multiply.

    Attributes
    ----------
    nodes, mixes
        For each axis (m, 1) and (R, m): function a at u is `sum_j mixes[a, j] exp(-(u - nodes[j])^2 / 2 sigma^2)`.
    terms
        Runs of terms: the function of the first axis, that of the second, and how many of the third axis go with them.
    """

    nodes: list[Tensor]
    mixes: list[Tensor]
    terms: list[tuple[int, int, int]]
    sigma: float

    @property
    def count(self) -> int:
        return sum(run for _, _, run in self.terms)

    def at(self, colours: Tensor) -> Tensor:
        """Return all terms' functions, (K, N, ...), at colours (N, 3, ...)."""
        return self.products(self.factors(colours))

    def factors(self, colours: Tensor) -> list[Tensor]:
        """Return the functions of each axis, (R, N, ...), at colours (N, 3, ...)."""
        axes = _opponent_axes(colours)
        return [
            (mix @ torch.exp((axis.flatten() - nodes).square_().mul_(-0.5 / self.sigma**2))).view(-1, *axis.shape)
            for axis, nodes, mix in zip(axes, self.nodes, self.mixes, strict=True)
        ]

    def products(self, factors: list[Tensor]) -> Tensor:
        """Return all terms' functions, (K, N, ...), from those of the axes."""
        first, second, third = factors
        products = first.new_empty(self.count, *first.shape[1:])
        at = 0
        for one, two, run in self.terms:
            torch.mul(first[one] * second[two], third[:run], out=products[at : at + run])
            at += run
        return products

    def parts(self, together: int) -> "Iterator[_Expansion]":
        """Yield expansions of some of the terms, as many runs as have at most `together` terms, or one run."""
        chosen: list[tuple[int, int, int]] = []
        for term in self.terms:
            if chosen and sum(run for _, _, run in [*chosen, term]) > together:
                yield replace(self, terms=chosen)
                chosen = []
            chosen.append(term)
        yield replace(self, terms=chosen)


def _expand_range(pictures: Tensor, sigma_r: float) -> _Expansion:
    """Expand g_r on the colours that the pictures have."""
    axes = _opponent_axes(pictures)
    ends = torch.stack([axes.amin((1, 2, 3)), axes.amax((1, 2, 3))], dim=1).tolist()
    expansions = [_expand(low, high + 1e-3, sigma_r) for low, high in ends]
    sizes = [np.abs(values).max(axis=0) ** 2 for _, _, values in expansions]
    terms = np.argwhere(sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2][None, None, :] > _DROPPED)
    runs = Counter((int(one), int(two)) for one, two, _ in terms)  # functions come with falling size: no gaps in a run
    device = pictures.device
    return _Expansion(
        nodes=[torch.as_tensor(nodes, dtype=torch.float32, device=device)[:, None] for nodes, _, _ in expansions],
        mixes=[
            torch.as_tensor(weights[:, : most + 1].T.copy(), dtype=torch.float32, device=device)
            for (_, weights, _), most in zip(expansions, terms.max(axis=0), strict=True)
        ],
        terms=[(one, two, run) for (one, two), run in runs.items()],
        sigma=sigma_r,
    )


def _opponent_axes(colours: Tensor) -> Tensor:
    """Return luma and two axes of chroma, (3, N, ...), of RGB (N, 3, ...)."""
    opponent = torch.as_tensor(_OPPONENT, dtype=torch.float32, device=colours.device)
    axes: Tensor = torch.einsum("ac,nc...->an...", opponent, colours)
    return axes


def _expand(low: float, high: float, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Expand a Gaussian kernel on [low, high]: nodes (m,), weights (m, m) and the functions' values at the nodes.

    Function a at u is `sum_j weights[j, a] exp(-(u - nodes[j])^2 / 2 sigma^2)`; the products f_a(u) f_a(v) add up to
    the kernel; functions come with falling size.
    """
    count = 6 + math.ceil(3 * (high - low) / sigma)
    abscissae, lengths = np.polynomial.legendre.leggauss(count)
    nodes = low + (high - low) * (abscissae + 1) / 2
    root = np.sqrt(lengths * (high - low) / 2)
    kernel = np.exp(-np.square(nodes[:, None] - nodes) / (2 * sigma**2))
    eigenvalues, vectors = np.linalg.eigh(root[:, None] * kernel * root)
    scale = np.sqrt(eigenvalues[::-1].clip(1e-12))
    vectors = vectors[:, ::-1]
    return nodes, root[:, None] * vectors / scale, vectors / root[:, None] * scale


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
