"""What the trainer measures: the run's own encoding and loss, beside the flash picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from deepflash.model.data import portraits
from deepflash.model.encodings import encoding_named
from deepflash.model.runs import load_run
from deepflash.model.validation import compare, mean_scores
from deepflash.shards import open_shards
from tests.model.tiny_dataset import flash_and_studio


def test_the_flash_picture_is_what_scikit_image_says(finished: Path, shards: Path) -> None:
    trained = load_run(finished)
    (compared,) = compare(trained.network, trained.recipe, portraits(open_shards(shards), "test", 32))
    flash, studio = (cv2.resize(side, (32, 32), interpolation=cv2.INTER_AREA) for side in flash_and_studio(5))
    assert compared.portrait.key == "S005-00a"
    assert compared.scores.flash_psnr_studio == pytest.approx(peak_signal_noise_ratio(studio, flash), abs=1e-3)


def test_the_loss_is_the_recipes(finished: Path, shards: Path) -> None:
    """mean_weight is 1 in this recipe: the plain mean square of y_d - t_d, four times that of y - t."""
    trained = load_run(finished)
    (compared,) = compare(trained.network, trained.recipe, portraits(open_shards(shards), "test", 32))
    encoding = encoding_named("C")
    prepared, studio = (encoding.prepare(side) for side in (compared.portrait.flash, compared.portrait.studio))
    with torch.no_grad():
        answer = trained.network(prepared)
    wanted = 4 * np.square((answer - encoding.target(prepared, studio)).numpy()).mean()
    assert compared.scores.loss == pytest.approx(wanted, rel=1e-4)
    assert compared.scores.loss < compared.scores.flash_loss


def test_means_are_means(finished: Path, shards: Path) -> None:
    trained = load_run(finished)
    scores = [one.scores for one in compare(trained.network, trained.recipe, portraits(open_shards(shards), "train", 32))]
    assert len(scores) == 4
    assert mean_scores(scores).psnr == pytest.approx(np.mean([one.psnr for one in scores]))
