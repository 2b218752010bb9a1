"""Sums of integers give the statistics of all pictures at once, in whatever order they are added."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepflash.dataset.statistics import PixelSums


@given(seed=st.integers(0, 10**6), count=st.integers(1, 5))
def test_they_are_those_of_all_pixels_together(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 256, (*rng.integers(1, 9, 2), 3)).astype(np.uint8) for _ in range(count)]
    together = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255
    sums = [PixelSums.of(picture) for picture in pictures]
    forward, backward = sum(sums, PixelSums()), sum(sums[::-1], PixelSums())
    assert forward.as_dict() == backward.as_dict()
    np.testing.assert_allclose(forward.as_dict()["mean"], together.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(forward.as_dict()["std"], together.std(axis=0), atol=1e-9)


def test_no_pixels_have_no_statistics_but_zeros() -> None:
    assert PixelSums().as_dict() == {"mean": [0, 0, 0], "std": [0, 0, 0]}
