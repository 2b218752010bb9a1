"""What is evaluated: whatever makes a portrait of a flash picture. Trained runs, and baselines that need no network.

The baselines say what a network is worth: nothing done at all, one matrix for all colours of all people, and the
histogram of an average studio portrait. All are measured in the same way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepflash.model.data import Portrait, to_picture
from deepflash.model.encodings import encoding_named
from deepflash.model.runs import TrainedRun, answer

FITTED_NAMES = ("colour matrix", "histogram matching")
"""Of the baselines that look at training pairs."""

_LEVELS = 256


@dataclass(frozen=True)
class System:
    """Something that makes portraits.

    Attributes
    ----------
    name
        For the tables; no two systems of a table share one.
    kind
        `run`, `baseline`, or `bound` for what has seen the answer, so that nothing need surpass it.
    about
        What it is, in a few words.
    portrait
        `portrait(flash)`: the result for a (1, 3, H, W) picture in [0, 1], of the same shape, not clipped.
    """

    name: str
    kind: Literal["run", "baseline", "bound"]
    about: str
    portrait: Callable[[Tensor], Tensor]


def run_system(name: str, trained: TrainedRun) -> System:
    """Return what a run has learned to do, at the resolution that it was trained at."""
    recipe, network = trained.recipe, trained.network
    encoding = encoding_named(recipe.encoding)

    @torch.no_grad()
    def portrait(flash: Tensor) -> Tensor:
        return encoding.decode(flash, answer(network, encoding.prepare(flash), recipe.precision))

    about = f"network {recipe.network}, width {recipe.width:g}, encoding {recipe.encoding}, {trained.step} steps"
    return System(name, "run", about, portrait)


FLASH = System("flash picture", "baseline", "nothing done", lambda flash: flash)
"""The photograph as it was: what every system has to surpass."""


def fitted_baselines(pairs: Iterable[Portrait]) -> list[System]:
    """Fit the baselines that look at training pairs, in one pass; none if there are no pairs.

    Parameters
    ----------
    pairs
        Un-augmented pairs of the training split.

    Returns
    -------
    list of System
        The colour matrix, then histogram matching.
    """
    normal, moment = np.zeros((4, 4)), np.zeros((4, 3))
    histogram = np.zeros((3, _LEVELS))
    for pair in pairs:
        flash, studio = (side.double().flatten(2)[0].T.numpy() for side in (pair.flash, pair.studio))  # (pixels, 3)
        with_one = np.column_stack([flash, np.ones(len(flash))])
        normal += with_one.T @ with_one
        moment += with_one.T @ studio
        levels = to_picture(pair.studio[0]).reshape(-1, 3)
        histogram += [np.bincount(channel, minlength=_LEVELS) / len(levels) for channel in levels.T]
    if not histogram.any():
        return []
    matrix = np.linalg.lstsq(normal, moment, rcond=None)[0].T
    return [colour_matrix(matrix.astype(np.float64)), histogram_matching(histogram)]


def colour_matrix(matrix: NDArray[np.float64]) -> System:
    """Return the system that changes every colour by one affine map of the sRGB values.

    Parameters
    ----------
    matrix
        (3, 4): red, green and blue of the result from red, green, blue and 1. That of `fitted_baselines` has the
        smallest squared error over all pixels of all training pairs.
    """
    weights = torch.from_numpy(matrix).float()

    def portrait(flash: Tensor) -> Tensor:
        linear, offset = weights[:, :3].to(flash.device), weights[:, 3].to(flash.device)
        return torch.einsum("ij,njhw->nihw", linear, flash) + offset[:, None, None]

    return System(FITTED_NAMES[0], "baseline", "best 3 x 4 matrix of the training pairs", portrait)


def histogram_matching(histogram: NDArray[np.float64]) -> System:
    """Return the system that gives every picture the same histogram, channel by channel.

    Parameters
    ----------
    histogram
        (3, 256): how often each level of red, green and blue shall occur. That of `fitted_baselines` is the mean over the
        training split's studio pictures.

    Notes
    -----
    Gonzalez and Woods, Digital Image Processing, section 3.3; between levels interpolated, as scikit-image does.
    """

    def portrait(flash: Tensor) -> Tensor:
        channels = zip(to_picture(flash[0]).transpose(2, 0, 1), histogram, strict=True)
        matched = np.stack([_matched(levels, wanted) for levels, wanted in channels])
        return torch.from_numpy(matched)[None].to(flash.device, torch.float32) / (_LEVELS - 1)

    return System(FITTED_NAMES[1], "baseline", "to the mean histogram of the training studio pictures", portrait)


def _matched(levels: NDArray[np.uint8], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a channel (H, W) the wanted histogram: each level goes to where the same share of pixels is darker."""
    share = np.cumsum(np.bincount(levels.ravel(), minlength=_LEVELS)) / levels.size
    occurring = np.flatnonzero(wanted)
    wanted_share = np.cumsum(wanted[occurring]) / wanted.sum()
    return np.asarray(np.interp(share, wanted_share, occurring.astype(np.float64))[levels])
