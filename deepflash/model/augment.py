"""Chance applied to batches: places, sizes and mirrors, the same for a picture and for all that belongs to it; and cameras.

What belongs together is put beside each other in the channels. All chance comes from a generator that the caller seeds, by run
and step, so that an interrupted run goes on with the batches that it would have seen.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_ENLARGED = 286 / 256
"""pix2pix's: 512 pixels become 572 before 512 are cut out."""

_LEAST, _MOST = (-0.5, -0.6, -1.5, -0.25), (1.25, 0.4, 0.5, 0.25)
"""By what other cameras differ from a rig's, as powers of 2: red, blue and exposure in linear light, contrast.

Measured on skin (5 to 95 %, linear). Red over green is 1.1 to 1.5 in the emulated studio's flash photographs, 1.1 to 1.5 in the
real ones of DeepFlash, whose white balance is not the flash's either, and 1.9 to 3.3 in 120 official portraits, which are
balanced; blue over green 0.7 to 0.9, 0.6 to 1.0 and 0.5 to 1.0; green 0.4 to 0.75, 0.3 to 0.85 and 0.1 to 0.4."""

_SHARE = 0.5
"""Of the pictures: the rig's own camera is one of those that the network shall know (docs/decisions/0020)."""

Chance = Literal["none", "jitter", "flips"]


def varied(pictures: Tensor, chance: Chance, patch: int, generator: torch.Generator) -> Tensor:
    """Apply what a recipe leaves to chance, and cut a patch out of each picture.

    Parameters
    ----------
    pictures
        (N, C, H, W).
    chance
        `jitter` is pix2pix's, see `jittered`; `flips` are left and right, top and bottom, each in about half of the pictures.
    patch
        Side of the patches in pixels; 0 leaves the pictures whole.
    generator
        On the CPU.

    Returns
    -------
    Tensor
        (N, C, H, W), or (N, C, patch, patch).
    """
    if chance == "jitter":
        pictures = jittered(pictures, generator)
    if chance == "flips":
        pictures = mirrored(mirrored(pictures, generator), generator, upside_down=True)
    return patches(pictures, patch, patch, generator) if patch else pictures


def chance_of(seed: int, step: int, rank: int) -> torch.Generator:
    """Return the generator of a step, which no other step, rank or run with another seed has."""
    (number,) = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(number))


def jittered(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Enlarge by 286 / 256, cut the old size out of it anywhere, and mirror every other picture.

    Isola et al. 2017, section 6.2.

    Parameters
    ----------
    pictures
        (N, C, H, W).
    generator
        On the CPU.

    Returns
    -------
    Tensor
        (N, C, H, W).
    """
    height, width = pictures.shape[-2:]
    larger = (round(height * _ENLARGED), round(width * _ENLARGED))
    enlarged = F.interpolate(pictures, larger, mode="bilinear", align_corners=False)
    return mirrored(patches(enlarged, height, width, generator), generator)


def by_other_cameras(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Change about half of the pictures as if other cameras had taken them, each another; see `by_camera`.

    Filtered pictures, too: to change them is as good as to filter changed ones, within 34 to 58 dB (ten flash photographs).

    Parameters
    ----------
    pictures
        (N, 3, H, W), sRGB in [0, 1].
    generator
        On the CPU.

    Returns
    -------
    Tensor
        (N, 3, H, W) in [0, 1].
    """
    least, most = torch.tensor(_LEAST), torch.tensor(_MOST)
    chance = torch.rand((len(pictures), 5), generator=generator)
    return by_camera(pictures, (chance[:, 4:] < _SHARE) * (least + (most - least) * chance[:, :4]))


def by_camera(pictures: Tensor, cameras: Tensor) -> Tensor:
    """Change white balance, exposure and contrast.

    Parameters
    ----------
    pictures
        (N, 3, H, W), sRGB in [0, 1].
    cameras
        (N, 4), as powers of 2: the gains of red, of blue and of all light, which becomes no more than white; the exponent of
        what sRGB's curve makes of it.

    Returns
    -------
    Tensor
        (N, 3, H, W) in [0, 1].
    """
    red, blue, light, contrast = (2**cameras).to(pictures.device)[:, :, None, None, None].unbind(1)  # (N, 1, 1, 1) each
    gains = light * torch.cat([red, torch.ones_like(red), blue], dim=1)
    return _coded((gains * _linear(pictures.clamp(0, 1))).clamp(0, 1)).clamp(0, 1) ** contrast


def patches(pictures: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Cut a patch out of each of (N, C, H, W) pictures, every place equally likely; (N, C, height, width).

    Raises
    ------
    ValueError
        if the pictures are smaller.
    """
    rows, columns = pictures.shape[-2] - height, pictures.shape[-1] - width
    if min(rows, columns) < 0:
        raise ValueError(f"no patch of {width} x {height} px can be cut out of pictures {tuple(pictures.shape)}")
    places = zip(_chosen(rows + 1, len(pictures), generator), _chosen(columns + 1, len(pictures), generator), strict=True)
    cut = [picture[:, y : y + height, x : x + width] for picture, (y, x) in zip(pictures, places, strict=True)]
    return torch.stack(cut)


def mirrored(pictures: Tensor, generator: torch.Generator, *, upside_down: bool = False) -> Tensor:
    """Exchange left and right in about half of (N, C, H, W) pictures; top and bottom instead if `upside_down`."""
    chosen = torch.tensor(_chosen(2, len(pictures), generator), dtype=torch.bool, device=pictures.device)
    return torch.where(chosen[:, None, None, None], pictures.flip(-2 if upside_down else -1), pictures)


def _chosen(count: int, times: int, generator: torch.Generator) -> list[int]:
    chosen: list[int] = torch.randint(count, (times,), generator=generator).tolist()
    return chosen


def _linear(code: Tensor) -> Tensor:
    """Undo sRGB's curve (IEC 61966-2-1)."""
    return torch.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _coded(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
