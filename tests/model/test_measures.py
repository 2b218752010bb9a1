"""Measures: every person counts once, scales fit the picture, loss and accuracy are the paper's."""

from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from pytorch_msssim import ssim as their_ssim

from deepflash.model.measures import MEASURES, Measures, PairMeasures, Scored, measure
from deepflash.model.metrics import scales_for


def pair(key: str, subject: str, psnr: float) -> PairMeasures:
    measures = Measures(psnr, 0.9, 0.9, 3.0, 0.1, 95.0, 0.01)
    return PairMeasures(key, subject, measures, measures)


def system(name: str, *psnr: float) -> Scored:
    """S001 with three pairs, S002 with one."""
    subjects = ("S001", "S001", "S001", "S002")
    pairs = (pair(str(number), *both) for number, both in enumerate(zip(subjects, psnr, strict=True)))
    return Scored(name, "run", "", None, tuple(pairs))


def test_the_table_shows_every_measure_in_its_order() -> None:
    assert [one.name for one in MEASURES] == [field.name for field in fields(Measures)]


def test_every_person_counts_once_however_many_pairs_there_are() -> None:
    mean = system("a", 10, 20, 30, 40).mean("reconstructed")["psnr"]
    assert mean.mean == 30  # of 20 and 40, not 25 over the pairs
    assert (mean.low, mean.high) == pytest.approx((30 - 127.062, 100), abs=0.01)  # t of one degree of freedom; at most 100 dB


def test_a_difference_is_taken_subject_by_subject() -> None:
    """The systems' own intervals are wide, for the subjects differ; what one gains over the other is the same for both."""
    difference = system("a", 11, 21, 31, 41).difference(system("b", 10, 20, 30, 40), "studio")["psnr"]
    assert (difference.mean, difference.low, difference.high) == pytest.approx((1, 1, 1))


def test_loss_and_accuracy_are_equations_5_and_7_of_what_the_network_answered() -> None:
    """With y and t for answers, result and truth differ by 2 (t - y), however far they leave the range of a picture."""
    generator = torch.Generator().manual_seed(0)
    flash, answer, target = (torch.rand(1, 3, 24, 24, generator=generator) for _ in range(3))
    measured = measure(flash - 2 * answer + 1, flash - 2 * target + 1)
    difference = (answer - target).double().numpy()
    centred = difference - difference.mean(axis=(2, 3), keepdims=True)
    assert measured.loss == pytest.approx(4 * np.square(centred).mean(), rel=1e-5)
    assert measured.accuracy == pytest.approx(100 - 200 * np.abs(difference).mean(), rel=1e-5)


def test_pictures_are_compared_as_they_are_shown() -> None:
    truth = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    bright = 1.5 * truth
    measured = measure(bright, truth)
    error = np.square(np.clip(bright.numpy(), 0, 1) - truth.numpy()).mean()
    assert measured.psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert measured.ssim == pytest.approx(their_ssim(bright.clamp(0, 1), truth, data_range=1.0).item(), abs=1e-4)
    assert measured.lpips is None
    assert all(np.isfinite(value) for value in asdict(measured).values() if value is not None)


@pytest.mark.parametrize(("size", "scales"), [(32, 2), (64, 3), (128, 4), (160, 4), (192, 5), (512, 5)])
def test_ms_ssim_takes_as_many_scales_as_fit(size: int, scales: int) -> None:
    assert scales_for(size) == scales
    assert size // 2 ** (scales - 1) >= 11
    picture = torch.rand(1, 3, size, size)
    assert measure(picture, picture).ms_ssim == pytest.approx(1, abs=1e-5)
