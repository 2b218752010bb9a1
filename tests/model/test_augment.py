"""Chance moves what belongs together by the same amount, everywhere it may, and is repeated by its seed."""

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from skimage import data

from deepflash.model.augment import by_other_cameras, chance_of, jittered, mirrored, patches, varied
from deepflash.model.bilateral import bilateral
from deepflash.model.metrics import psnr


def numbered(count: int, height: int, width: int) -> torch.Tensor:
    """Pictures whose pixels tell their picture, row and column."""
    axes = torch.meshgrid(torch.arange(count), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack(axes, dim=1).float()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_patches_are_whole_come_from_their_picture_and_from_every_place() -> None:
    found = patches(numbered(200, 6, 5), 4, 3, seeded())
    assert found.shape == (200, 3, 4, 3)
    corners = found[:, :, :1, :1]
    assert torch.equal(found - corners, numbered(1, 4, 3).expand(200, -1, -1, -1))
    assert torch.equal(corners[:, 0, 0, 0], torch.arange(200.0))
    assert {tuple(corner) for corner in corners[:, 1:, 0, 0].tolist()} == {(y, x) for y in range(3) for x in range(3)}


def test_a_patch_of_the_whole_picture_is_the_picture() -> None:
    assert torch.equal(patches(numbered(2, 3, 4), 3, 4, seeded()), numbered(2, 3, 4))


def test_patches_larger_than_the_picture_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"no patch of 5 x 3 px can be cut out of pictures \(2, 3, 3, 4\)"):
        patches(numbered(2, 3, 4), 3, 5, seeded())


@pytest.mark.parametrize(("upside_down", "axis"), [(False, -1), (True, -2)])
def test_about_half_of_the_pictures_are_mirrored(upside_down: bool, axis: int) -> None:
    pictures = numbered(100, 3, 3)
    found = mirrored(pictures, seeded(), upside_down=upside_down)
    is_mirrored = [torch.equal(one, other.flip(axis)) for one, other in zip(found, pictures, strict=True)]
    is_same = [torch.equal(one, other) for one, other in zip(found, pictures, strict=True)]
    assert all(a != b for a, b in zip(is_mirrored, is_same, strict=True))
    assert 35 <= sum(is_mirrored) <= 65


def test_jitter_is_pix2pixs() -> None:
    """The result is found again, to the pixel, in the picture that OpenCV has brought to 286/256 of its size."""
    picture = np.float32(data.astronaut()[:128, 150:278, 1] / 255)
    found = jittered(torch.from_numpy(picture)[None, None].expand(8, 2, -1, -1), seeded())
    assert found.shape == (8, 2, 128, 128)
    assert torch.equal(found[:, 0], found[:, 1])  # a picture and what belongs to it
    large = cv2.resize(picture, (143, 143), interpolation=cv2.INTER_LINEAR)
    places = set()
    for patch in found[:, 0].numpy():
        matches = [(np.abs(cut - version).max(), y, x) for version in (patch, patch[:, ::-1])
                   for y in range(16) for x in range(16) for cut in [large[y : y + 128, x : x + 128]]]  # fmt: skip
        best = min(matches)
        assert best[0] < 1e-5
        places.add(best[1:])
    assert len(places) > 5


def test_the_seed_decides() -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=seeded())
    assert torch.equal(jittered(pictures, seeded(1)), jittered(pictures, seeded(1)))
    assert not torch.equal(jittered(pictures, seeded(1)), jittered(pictures, seeded(2)))


def test_chance_is_one_of_its_own_for_every_seed_step_and_rank() -> None:
    numbers = {
        int(torch.randint(2**62, (1,), generator=chance_of(*key)))
        for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**63 - 1, 10**6, 63)]
    }
    assert len(numbers) == 5
    assert torch.equal(torch.rand(3, generator=chance_of(1, 2, 3)), torch.rand(3, generator=chance_of(1, 2, 3)))


def test_flips_give_all_four_pictures_and_nothing_changes_nothing() -> None:
    pictures = numbered(1, 3, 4).expand(60, -1, -1, -1)
    found = varied(pictures, "flips", 0, seeded())
    assert {tuple(corner) for corner in found[:, 1:, 0, 0].tolist()} == {(y, x) for y in (0, 2) for x in (0, 3)}
    assert torch.equal(varied(pictures, "none", 0, seeded()), pictures)


def test_patches_are_cut_after_the_rest() -> None:
    pictures = torch.rand(4, 3, 64, 64, generator=seeded())
    assert varied(pictures, "jitter", 32, seeded()).shape == (4, 3, 32, 32)
    assert torch.equal(varied(pictures, "none", 32, seeded(1)), patches(pictures, 32, 32, seeded(1)))


def test_another_camera_has_one_white_balance_exposure_and_contrast() -> None:
    """What was done is found again in three greys, which no camera of the range makes white: two tell it, the third agrees.

    Half of the pictures stay as they were.
    """
    codes = np.array([0.2, 0.35, 0.45])
    greys = torch.tensor(codes, dtype=torch.float32)[None, None, None].expand(600, 3, 1, -1)
    drawn = []
    for picture in by_other_cameras(greys, seeded()).double().numpy()[:, :, 0]:
        contrasts, gains = zip(*(camera_of(codes, channel) for channel in picture), strict=True)
        assert np.ptp(contrasts) < 1e-3, "the same for red, green and blue"
        drawn.append(np.log2([gains[0] / gains[1], gains[2] / gains[1], gains[1], contrasts[0]]))
    changed = np.abs(drawn).max(axis=1) > 1e-3
    assert 0.4 < changed.mean() < 0.6
    drawn = np.array(drawn)[changed]
    least, most = drawn.min(axis=0), drawn.max(axis=0)
    assert least == pytest.approx([-0.5, -0.6, -1.5, -0.25], abs=0.05)
    assert most == pytest.approx([1.25, 0.4, 0.5, 0.25], abs=0.05)
    assert np.abs(np.corrcoef(drawn, rowvar=False) - np.eye(4)).max() < 0.2, "one says nothing of another"


def camera_of(codes: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Return the contrast and the gain that made one channel of two greys, checked with the third."""

    def linear(code: np.ndarray) -> np.ndarray:
        return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)

    def gains(contrast: float) -> np.ndarray:
        return linear(seen ** (1 / contrast)) / linear(codes)

    contrast = brentq(lambda contrast: np.log(gains(contrast)[0] / gains(contrast)[2]), 0.5, 2)
    assert np.ptp(gains(contrast)) < 1e-3 * gains(contrast)[1]
    return contrast, gains(contrast)[1]


def test_what_another_camera_sees_is_a_picture_and_repeated_by_its_seed() -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=seeded())
    seen = by_other_cameras(pictures, seeded(1))
    assert seen.shape == pictures.shape
    assert 0 <= seen.min() <= seen.max() <= 1
    assert torch.equal(by_other_cameras(pictures, seeded(1)), seen)
    assert not torch.equal(by_other_cameras(pictures, seeded(2)), seen)
    assert torch.equal(by_other_cameras(pictures[:2], seeded(1))[0], seen[0]), "whatever else is in the batch"


@pytest.mark.parametrize("picture", [data.astronaut()[:128, 150:278], data.astronaut()[20:148, 180:308] // 2])
def test_a_filtered_picture_may_be_changed_instead_of_a_changed_one_filtered(picture: np.ndarray) -> None:
    """30 dB is what the best networks here reach on people they have seen: what differs is little beside their errors."""
    pictures = torch.from_numpy(np.float32(picture / 255)).permute(2, 0, 1)[None].expand(8, -1, -1, -1)
    before, after = by_other_cameras(bilateral(pictures, 4), seeded()), bilateral(by_other_cameras(pictures, seeded()), 4)
    assert psnr(before, after).min() > 30
