"""Blurs against SciPy's, normalised convolution against a loop over its formula, stacks against their sum."""

import numpy as np
import pytest
import skimage.data
from scipy.ndimage import gaussian_filter

from deepflash.model.stacks import FLOOR, Channel, blurred, laplacian_stack, normalised, resized

SIGMAS_PX = (4.0, 8.0, 16.0, 32.0)


@pytest.fixture(scope="module")
def channel() -> Channel:
    return np.asarray(skimage.data.astronaut()[:403, :311, 1] / 255, np.float32)


@pytest.mark.parametrize("sigma_px", [1.0, 3.0, 7.0, 11.9, 12.0, 25.0, 60.0])
def test_a_wide_blur_on_a_reduced_copy_is_scipys_to_half_a_percent(channel: Channel, sigma_px: float) -> None:
    exact = gaussian_filter(channel, sigma_px, mode="reflect", truncate=5)
    assert np.abs(blurred(channel, sigma_px).full() - exact).max() < 0.005


@pytest.mark.parametrize("masked", [False, True])
def test_a_stack_sums_up_to_its_channel(channel: Channel, masked: bool) -> None:
    weight = np.random.default_rng(0).random(channel.shape, dtype=np.float32) if masked else None
    stack = list(laplacian_stack(channel, SIGMAS_PX, weight))
    assert len(stack) == len(SIGMAS_PX) + 1
    assert np.abs(np.sum(stack, axis=0, dtype=np.float64) - channel).max() < 1e-6


def test_the_bands_are_differences_of_gaussians(channel: Channel) -> None:
    exact = gaussian_filter(channel, 8, mode="reflect", truncate=5) - gaussian_filter(channel, 16, mode="reflect", truncate=5)
    _, _, band, *_ = laplacian_stack(channel, SIGMAS_PX)
    assert np.abs(band - exact).max() < 0.006


def test_normalised_convolution_is_the_weighted_mean_of_its_formula() -> None:
    random = np.random.default_rng(1)
    values, weight = random.random((15, 11), dtype=np.float32), random.random((15, 11), dtype=np.float32) ** 4
    sigma_px, reach = 2.0, 12
    beyond = [np.pad(one.astype(np.float64), reach, mode="symmetric") for one in (values, weight + FLOOR)]
    expected = np.zeros(values.shape)
    for y, x in np.ndindex(values.shape):
        above = below = 0.0
        for down in range(-reach, reach + 1):
            for across in range(-reach, reach + 1):
                at = (y + reach + down, x + reach + across)
                share = np.exp(-(down**2 + across**2) / (2 * sigma_px**2)) * beyond[1][at]
                above, below = above + share * beyond[0][at], below + share
        expected[y, x] = above / below

    assert np.abs(normalised(values, weight, sigma_px).full() - expected).max() < 1e-3


def test_what_has_no_weight_hardly_leaks_in() -> None:
    values = np.full((120, 120), 0.5, np.float32)
    values[:, 60:] = 1.0
    weight = np.zeros_like(values)
    weight[:, :60] = 1.0
    plain, weighted = normalised(values, None, 16).full(), normalised(values, weight, 16).full()
    assert np.abs(plain[:, 55] - 0.5).min() > 0.15
    assert np.abs(weighted[:, :60] - 0.5).max() < 0.01


def test_a_channel_that_is_brought_to_its_own_size_is_the_same(channel: Channel) -> None:
    assert resized(channel, (403, 311)) is channel
