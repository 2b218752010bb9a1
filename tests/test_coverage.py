"""Which pixels of a sample are real: the share of them exactly, and each of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.affine import compose, scaling
from deepflash.coverage import valid_fraction, valid_mask


def test_the_valid_fraction_is_exact() -> None:
    identity = np.eye(3)[:2]
    assert valid_fraction(100, (identity, (100, 100))) == 1
    assert valid_fraction(100, (identity, (100, 50))) == pytest.approx(0.5)
    shifted = np.array([[1.0, 0, 25.0], [0, 1.0, 0]])
    assert valid_fraction(100, (identity, (100, 50)), (shifted, (100, 100))) == pytest.approx(0.75 * 0.5)
    assert valid_fraction(100, (np.array([[1.0, 0, 500.0], [0, 1.0, 0]]), (100, 100))) == 0


def info(size: int, flash: list[list[float]], studio: list[list[float]], photograph: tuple[int, int]) -> dict[str, object]:
    sizes = {"flash_size": list(photograph), "studio_size": list(photograph)}
    return {"size": size, **sizes, "flash_from_sample": flash, "studio_from_sample": studio}


def test_a_pixel_is_valid_where_its_centre_lies_in_both_photographs() -> None:
    """Flash 6 wide from sample column 1 on; studio as large, from line 2 on: what is left is columns 1-6, lines 2-7."""
    mask = valid_mask(info(8, [[1, 0, -1], [0, 1, 0]], [[1, 0, 0], [0, 1, -2]], (6, 8)))
    expected = np.zeros((8, 8), dtype=bool)
    expected[2:8, 1:6] = True
    np.testing.assert_array_equal(mask, expected)


@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.5, 3),
    shift=st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    twice=st.booleans(),
)
def test_the_valid_fraction_is_the_mean_of_a_finer_mask(
    angle: float, scale: float, shift: tuple[float, float], twice: bool
) -> None:
    """Also where the edges of both photographs coincide, as they do for pairs that need no registration."""
    size, finer = 50, 400
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    other = matrix if twice else np.array([[1.0, 0, 5.25], [0, 1, -3.5]])
    exact = valid_fraction(size, (matrix, (45, 60)), (other, (45, 60)))
    shrink = size / finer
    fine = [compose(affine, scaling(shrink)).tolist() for affine in (matrix, other)]
    mask = valid_mask(info(finer, *fine, (45, 60)))
    assert mask.mean() == pytest.approx(exact, abs=0.006)
