"""Evaluation: how near a run's portraits come to the studio's, beside the flash picture as it was.

Only un-augmented samples count. The paper compares with the "reconstructed ground truth" (equation 8), because details
that move between the two photographs cannot be predicted; the true studio picture stands beside it (models.md 0.6).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from deepflash.errors import ModelError
from deepflash.files import write_json
from deepflash.model.data import Portrait, portraits, unaugmented
from deepflash.model.encodings import encoding_named
from deepflash.model.losses import mean_removed_loss
from deepflash.model.metrics import accuracy, psnr, ssim
from deepflash.model.recipe import Recipe
from deepflash.model.runs import answer, load_run
from deepflash.progress import Report, silent
from deepflash.shards import open_shards

EVALUATION_FORMAT = 1


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
class PairScores:
    """One pair's scores."""

    key: str
    subject: str
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on a split."""

    split: str
    step: int
    mean: Scores
    pairs: tuple[PairScores, ...]

    def table(self) -> str:
        """Return the scores as a table in plain text: those of the flash picture itself, and those of the result."""
        head = f"{self.split + ' pair, flash → result':<32}{'loss':>16}{'accuracy':>19}{'SSIM':>16}{'PSNR':>19}"
        rows = [_table_row(pair.key, pair.scores) for pair in self.pairs]
        return "\n".join([head, *rows, _table_row("mean", self.mean)])


@dataclass(frozen=True)
class Compared:
    """The pictures of a portrait side by side, (1, 3, size, size) float32 in [0, 1]: result, and the best in reach."""

    portrait: Portrait
    result: torch.Tensor
    reconstructed: torch.Tensor
    scores: Scores


def evaluate(run: Path, shards: Path, *, split: str = "test", report: Report = silent) -> Evaluation:
    """Score a run on the un-augmented pairs of a split and store the scores as `evaluation-SPLIT.json` in its folder.

    Parameters
    ----------
    run, shards
        Folders of a trained run and of a data set, not necessarily the one it was trained on.
    split
        `train`, `val` or `test`.
    report
        Called after every pair.

    Raises
    ------
    ModelError
        if the run cannot be used or the split is empty.
    ShardError
        if the data set cannot be read.
    """
    trained = load_run(run)
    dataset = open_shards(shards)
    total = len(unaugmented(dataset, split))
    if not total:
        raise ModelError(
            f"{shards} has no un-augmented pairs in its split {split}; choose another of {', '.join(dataset.splits)}"
        )
    pairs = []
    for compared in compare(trained.network, trained.recipe, portraits(dataset, split, trained.recipe.size)):
        pairs.append(PairScores(compared.portrait.key, compared.portrait.subject, compared.scores))
        report(len(pairs), total, f"PSNR {compared.scores.psnr:.1f} dB")
    evaluation = Evaluation(split, trained.step, mean_scores([pair.scores for pair in pairs]), tuple(pairs))
    write_json(run / f"evaluation-{split}.json", {"format": EVALUATION_FORMAT, **asdict(evaluation)})
    return evaluation


def compare(network: nn.Module, recipe: Recipe, pairs: Iterator[Portrait]) -> Iterator[Compared]:
    """Yield what a network in evaluation mode makes of each pair."""
    device = next(network.parameters()).device
    for portrait in pairs:
        yield _compare(network, recipe, portrait, device)


def mean_scores(scores: list[Scores]) -> Scores:
    """Return the mean of every score."""
    rows = [asdict(one) for one in scores]
    return Scores(**{name: fmean(row[name] for row in rows) for name in rows[0]})


def _table_row(name: str, scores: Scores) -> str:
    cells = (
        f"{scores.flash_loss:.4f} → {scores.loss:.4f}".rjust(16),
        f"{scores.flash_accuracy:.2f} → {scores.accuracy:.2f} %".rjust(19),
        f"{scores.flash_ssim:.3f} → {scores.ssim:.3f}".rjust(16),
        f"{scores.flash_psnr:.2f} → {scores.psnr:.2f} dB".rjust(19),
    )
    return f"{name:<32}{''.join(cells)}"


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
