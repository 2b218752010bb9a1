"""deepflash/hardware/emulator/relighting.py: the same person under lamps and under flash."""

import numpy as np
import pytest

from deepflash.hardware.emulator.head import find_pupils
from deepflash.hardware.emulator.matting import face_width
from deepflash.hardware.emulator.relighting import relight
from deepflash.hardware.emulator.sitters import Sitter, SitterChoice, load_sitter


@pytest.fixture(scope="module", params=["S001", "S002"])
def sitter(request) -> Sitter:
    return load_sitter(SitterChoice(request.param))


def test_the_flash_leaves_the_backdrop_darker_than_the_lamps_do(sitter):
    relit = relight(sitter)
    assert np.median(relit.flash_backdrop[..., 1]) < 0.4 * np.median(relit.lamps_backdrop[..., 1])


def test_the_flash_is_cooler_than_the_lamps_on_the_same_skin(sitter):
    relit = relight(sitter)
    skin = sitter.skin > 0.8
    red, _, blue = np.median(relit.lamps[skin], axis=0)
    flash_red, _, flash_blue = np.median(relit.flash[skin], axis=0)
    assert red / blue > 2.5 * flash_red / flash_blue


def test_the_flash_flattens_the_face():
    """The astronaut is lit from one side: what separates her cheeks under the lamps is weaker under the flash."""
    sitter = load_sitter(SitterChoice("S001"))
    relit = relight(sitter)
    (x, y), width = sitter.landmarks["nose_bridge"][3], face_width(sitter.landmarks)
    reach = round(0.05 * width)
    centres = [(round(x + dx * width), round(y + 0.15 * width)) for dx in (-0.3, -0.2, 0.2, 0.3)]

    def unevenness(picture):
        light = [picture[y - reach : y + reach, x - reach : x + reach, 1].mean() for x, y in centres]
        return np.std(light) / np.mean(light)

    assert unevenness(relit.flash) < 0.8 * unevenness(relit.lamps)


def test_skin_shines_under_the_flash_up_to_clipping(sitter):
    relit = relight(sitter)
    face = sitter.skin > 0.8
    assert 0.001 < (relit.flash[face].max(axis=1) > 1).mean() < 0.25


def test_pupils_are_red_under_the_flash_and_only_there(sitter):
    relit = relight(sitter)
    for centre, iris in find_pupils(sitter):
        for dx, dy in ((0.35, 0), (-0.35, 0), (0, 0.3)):  # beside the glint
            x, y = (centre + np.multiply(iris, (dx, dy))).round().astype(int)
            red, green, blue = relit.flash[y, x]
            assert red > 2.5 * max(green, blue)
        x, y = centre.round().astype(int)
        lamps = relit.lamps[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))
        assert lamps[0] < 0.25  # dark in the portrait, as pupils are


def test_the_shadow_falls_beside_the_head(sitter):
    """The shadow reaches beyond the silhouette on one side, and falls short of it on the other."""
    relit = relight(sitter)
    row = round(sitter.landmarks["nose_bridge"][0, 1])
    matte = sitter.matte[row, ::4][: relit.shadow.shape[1]]
    shadow = relit.shadow[row // 4] / relit.shadow.max()
    edges = [np.flatnonzero(line > 0.5)[[0, -1]] for line in (matte, shadow)]
    shift = np.subtract(edges[1], edges[0]) / (face_width(sitter.landmarks) / 4)
    assert np.sign(shift[0]) == np.sign(shift[1])
    assert 0.01 < np.abs(shift).mean() < 0.15


def test_relighting_is_repeatable(sitter):
    first, again = relight(sitter), relight(sitter)
    assert np.array_equal(first.flash, again.flash)
    assert np.array_equal(first.lamps, again.lamps)
