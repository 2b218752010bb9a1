"""Baselines against NumPy's least squares and scikit-image's histogram matching; a run against equation 2."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.exposure import match_histograms

from deepflash.model.data import Portrait, to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.runs import load_run
from deepflash.model.systems import FLASH, colour_matrix, fitted_baselines, run_system
from tests.model.tiny_dataset import flash_and_studio


def portraits(*subjects: int) -> Iterator[Portrait]:
    for subject in subjects:
        flash, studio = (to_tensor(picture[None]) for picture in flash_and_studio(subject))
        yield Portrait(f"S{subject:03d}-00a", f"S{subject:03d}", flash, studio)


def test_the_colour_matrix_is_numpys_least_squares_over_all_pixels() -> None:
    matrix, _ = fitted_baselines(portraits(0, 1, 2))
    flash, studio = (
        np.concatenate([flash_and_studio(subject)[side].reshape(-1, 3) for subject in range(3)]) / 255 for side in (0, 1)
    )
    solved = np.linalg.lstsq(np.column_stack([flash, np.ones(len(flash))]), studio, rcond=None)[0]
    seen = flash_and_studio(7)[0]
    wanted = np.column_stack([seen.reshape(-1, 3) / 255, np.ones(seen[..., 0].size)]) @ solved
    found = matrix.portrait(to_tensor(seen[None]))[0].permute(1, 2, 0).reshape(-1, 3).numpy()
    assert np.abs(found - wanted).max() < 1e-5


def test_a_known_matrix_is_found_again() -> None:
    truth = np.array([[0.8, 0.1, 0.0, 0.05], [0.0, 0.7, 0.2, 0.0], [0.1, 0.0, 0.6, 0.1]])
    flash = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    studio = colour_matrix(truth).portrait(flash)
    found, _ = fitted_baselines([Portrait("a", "S001", flash, studio)])
    assert torch.allclose(found.portrait(flash), studio, atol=1e-5)


def test_histogram_matching_to_one_picture_is_scikit_images() -> None:
    _, matching = fitted_baselines(portraits(3))
    flash, studio = flash_and_studio(6)[0], flash_and_studio(3)[1]
    oracle = match_histograms(flash.astype(np.float64), studio.astype(np.float64), channel_axis=2)
    found = matching.portrait(to_tensor(flash[None]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - oracle).max() < 1e-3


def test_every_training_picture_weighs_the_same_in_the_mean_histogram() -> None:
    """Matched to the histogram of a black and of a white picture, half of all pixels are black."""
    pictures = [Portrait(str(level), "S", torch.rand(1, 3, 8, 8), torch.full((1, 3, 8, 8), level)) for level in (0.0, 1.0)]
    _, matching = fitted_baselines(pictures)
    ramp = torch.arange(64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8) / 255
    assert (matching.portrait(ramp) == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_without_training_pairs_there_is_nothing_to_fit() -> None:
    assert fitted_baselines([]) == []


def test_a_run_makes_the_picture_of_equation_2(finished: Path) -> None:
    trained = load_run(finished)
    flash = next(portraits(5)).flash[:, :, :32, :32]
    prepared = encoding_named("C").prepare(flash)
    with torch.no_grad():
        wanted = flash - 2 * trained.network(prepared) + 1
    system = run_system("mine", trained)
    assert torch.allclose(system.portrait(flash), wanted, atol=1e-5)
    assert (system.name, system.about) == ("mine", "network deepflash, width 0.0625, encoding C, 22 steps")
    assert torch.equal(FLASH.portrait(flash), flash)
