"""Pictures of a pair: its edges lie on each other once it is registered."""

import cv2
import numpy as np
import pytest

from deepflash.align.batch import align_pair
from deepflash.align.views import before_after, before_after_strip
from deepflash.pairs import Alignment, Pair

from .sitters import write_pair


@pytest.fixture(scope="module")
def alignment(tmp_path_factory: pytest.TempPathFactory) -> Alignment:
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder, "01", "hopper", seed=2, width=780)
    return align_pair(Pair("01", "01", folder / "01_flash.jpg", folder / "01_studio.jpg"))


def _coloured(picture: np.ndarray) -> float:
    """Return how much of the edges is red or cyan rather than white."""
    return float(np.abs(picture[:, :, 0].astype(float) - picture[:, :, 1]).mean() / picture.mean())


def test_registration_takes_the_colour_out_of_the_edges(alignment: Alignment) -> None:
    pictures = before_after(alignment, width=200)

    assert _coloured(pictures.after) < 0.6 * _coloured(pictures.before)


def test_pictures_have_the_size_asked_for(alignment: Alignment) -> None:
    pictures = before_after(alignment, width=160)

    for picture in (pictures.flash, pictures.studio, pictures.before, pictures.after):
        assert picture.shape == (200, 160, 3)
        assert picture.dtype == np.uint8
    assert before_after_strip(alignment, width=160).shape == (200, 4 * 160 + 3 * 8, 3)


def test_decoding_at_a_reduced_size_does_not_shift_the_view(alignment: Alignment) -> None:
    """A narrow picture is drawn from a half or quarter decode, a wide one from the whole; both show the same place."""
    narrow, wide = (before_after(alignment, width=width).studio for width in (112, 448))

    shrunk = cv2.resize(wide, (112, 140), interpolation=cv2.INTER_AREA).astype(np.float32)
    (dx, dy), _ = cv2.phaseCorrelate(shrunk[:, :, 1], narrow[:, :, 1].astype(np.float32))
    assert abs(dx) < 0.1
    assert abs(dy) < 0.1
