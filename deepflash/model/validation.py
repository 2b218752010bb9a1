"""How near a network comes to its target, in its own encoding: what the trainer measures at every validation.

The paper compares with the "reconstructed ground truth" (equation 8), because details that move between the two photographs
cannot be predicted; the true studio picture stands beside it (models.md 0.6). Runs are compared with each other, and with
what needs no training, by `evaluate`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import nn

from deepflash.model.data import Portrait
from deepflash.model.encodings import encoding_named
from deepflash.model.losses import mean_removed_loss
from deepflash.model.metrics import accuracy, psnr, ssim
from deepflash.model.recipe import Recipe
from deepflash.model.runs import answer


@dataclass(frozen=True)
class Scores:
    """What is measured of a pair, or the mean over pairs.

    Attributes
    ----------
    loss
        Equation 3 with the recipe's mean_weight.
    accuracy
        Equation 7, in per cent.
    ssim, psnr
        Result against the reconstructed ground truth; PSNR in dB.
    ssim_studio, psnr_studio
        Result against the studio picture itself.
    flash_loss, flash_accuracy, flash_ssim, flash_psnr, flash_ssim_studio, flash_psnr_studio
        The same for the flash picture, had nothing been done to it.
    """

    loss: float
    accuracy: float
    ssim: float
    psnr: float
    ssim_studio: float
    psnr_studio: float
    flash_loss: float
    flash_accuracy: float
    flash_ssim: float
    flash_psnr: float
    flash_ssim_studio: float
    flash_psnr_studio: float


@dataclass(frozen=True)
class Compared:
    """The pictures of a portrait side by side, (1, 3, size, size) float32 in [0, 1]: result, and the best in reach."""

    portrait: Portrait
    result: torch.Tensor
    reconstructed: torch.Tensor
    scores: Scores


def compare(network: nn.Module, recipe: Recipe, pairs: Iterator[Portrait]) -> Iterator[Compared]:
    """Yield what a network in evaluation mode makes of each pair."""
    device = next(network.parameters()).device
    for portrait in pairs:
        yield _compare(network, recipe, portrait, device)


def mean_scores(scores: list[Scores]) -> Scores:
    """Return the mean of every score."""
    rows = [asdict(one) for one in scores]
    return Scores(**{name: fmean(row[name] for row in rows) for name in rows[0]})


@torch.no_grad()
def _compare(network: nn.Module, recipe: Recipe, portrait: Portrait, device: torch.device) -> Compared:
    encoding = encoding_named(recipe.encoding)
    flash, studio = portrait.flash.to(device), portrait.studio.to(device)
    prepared = encoding.prepare(flash)
    target = encoding.target(prepared, encoding.prepare(studio))
    predicted = answer(network, prepared, recipe.precision)
    decoded, wanted = encoding.decode(prepared, predicted), encoding.decode(prepared, target)
    result = encoding.decode(flash, predicted).clamp(0, 1)
    reconstructed = encoding.decode(flash, target).clamp(0, 1)
    scores = Scores(
        loss=float(mean_removed_loss(decoded, wanted, mean_weight=recipe.mean_weight)),
        accuracy=float(accuracy(decoded, wanted)),
        ssim=float(ssim(result, reconstructed)),
        psnr=float(psnr(result, reconstructed)),
        ssim_studio=float(ssim(result, studio)),
        psnr_studio=float(psnr(result, studio)),
        flash_loss=float(mean_removed_loss(prepared, wanted, mean_weight=recipe.mean_weight)),
        flash_accuracy=float(accuracy(prepared, wanted)),
        flash_ssim=float(ssim(flash, reconstructed)),
        flash_psnr=float(psnr(flash, reconstructed)),
        flash_ssim_studio=float(ssim(flash, studio)),
        flash_psnr_studio=float(psnr(flash, studio)),
    )
    return Compared(portrait, result, reconstructed, scores)
