"""One photograph at several angles is one photograph; two photographs of one person are two."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image
from skimage import data

from deepflash.dataset.rotated import Copy, Look, find_copies, look_at
from deepflash.pictures import Picture


@pytest.fixture(scope="module")
def people() -> list[Picture]:
    """Two sitters, and the first one with another expression: a smooth warp of a few pixels around mouth and eyes."""
    collins = np.asarray(data.astronaut())
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = np.asarray(Image.open(file).convert("RGB").resize((512, 606)))
    y, x = np.mgrid[:512, :512].astype(np.float32)
    bump = 9 * np.exp(-(((x - 220) / 60) ** 2 + ((y - 110) / 60) ** 2)).astype(np.float32)
    smiling = cv2.remap(collins, x + bump, y - bump, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return [collins, hopper, np.asarray(smiling, np.uint8)]


def turned(
    picture: Picture, angle_deg: float, *, scale: float = 1.0, mirrored: bool = False, border: int = cv2.BORDER_CONSTANT
) -> Picture:
    """Turn a picture about a point that is not its middle, as about a face, and compress it as a data set would."""
    height, width = picture.shape[:2]
    picture = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
    matrix = cv2.getRotationMatrix2D((0.45 * width, 0.35 * height), angle_deg, scale)
    laid = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=border)
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", laid, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR), np.uint8)


def looks(*pictures: Picture) -> list[Look]:
    return [look_at(picture) for picture in pictures]


def test_the_upright_picture_of_each_photograph_is_kept(people: list[Picture]) -> None:
    angles = (20, -10, 0, 10, -20)
    copies = find_copies(looks(*(turned(person, angle) for angle in angles for person in people)))
    kept = [6, 7, 8]  # at 0 degrees
    assert [copy.index for copy in copies] == [index for index in range(15) if index not in kept]
    for copy in copies:
        assert copy.of == 6 + copy.index % 3, "nobody is taken for somebody else, nor one expression for another"
        assert copy.angle_deg == pytest.approx(angles[copy.index // 3], abs=0.5)
        assert copy.scale == pytest.approx(1, abs=0.01)
        assert not copy.mirrored


def test_with_repeated_borders_the_middle_angle_is_kept(people: list[Picture]) -> None:
    angles = (-20, -10, 0, 10, 20)
    copies = find_copies(looks(*(turned(people[0], angle, border=cv2.BORDER_REPLICATE) for angle in angles)))
    assert [(copy.index, copy.of) for copy in copies] == [(0, 2), (1, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize(("scale", "mirrored", "angle_deg"), [(1.3, False, 0.0), (1.0, True, 0.0), (1.25, True, 15.0)])
def test_enlarged_and_mirrored_copies_are_recognised_too(
    people: list[Picture], scale: float, mirrored: bool, angle_deg: float
) -> None:
    (copy,) = find_copies(looks(people[1], turned(people[1], angle_deg, scale=scale, mirrored=mirrored)))
    assert (copy.index, copy.of, copy.mirrored) == (1, 0, mirrored)
    assert copy.scale == pytest.approx(scale, abs=0.02)
    assert copy.angle_deg == pytest.approx(angle_deg, abs=0.6)


def _still(person: Picture) -> Picture:
    noise = np.random.default_rng(0).normal(0, 6, person.shape)
    return np.clip(np.roll(person, 1, axis=1) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "other",
    [_still, lambda person: turned(person, 0), np.zeros_like, lambda person: np.full_like(person, 90)],
    ids=["a second shot", "compressed again", "black", "grey"],
)
def test_what_is_not_turned_is_no_copy(people: list[Picture], other: Callable[[Picture], Picture]) -> None:
    """A person who sat still for two photographs gave two."""
    assert find_copies(looks(people[0], other(people[0]), other(people[0]))) == []


def test_nothing_and_pictures_of_few_pixels_are_no_copies() -> None:
    assert find_copies([]) == []
    assert find_copies(looks(*(np.full((1, size, 3), 9, np.uint8) for size in (1, 5, 400)))) == []


def test_the_order_of_files_does_not_matter(people: list[Picture]) -> None:
    pictures = looks(*(turned(people[0], angle) for angle in (-20, 0, 20)))
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        copies = find_copies([pictures[index] for index in order])
        assert {order[copy.of] for copy in copies} == {1}
        assert {(order[copy.index], round(copy.angle_deg, -1)) for copy in copies} == {(0, -20), (2, 20)}
        assert all(isinstance(copy, Copy) for copy in copies)
