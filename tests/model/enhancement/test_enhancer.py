"""From photograph to portrait at full resolution."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from deepflash.errors import PictureError
from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.recipe import Recipe
from deepflash.model.runs import TrainedRun, build_network
from deepflash.pictures import Picture
from tests.model.tiny_dataset import flash_and_studio

WHOLE = Look(whole=True)


class Answering(torch.nn.Module):
    """Stands where the network stands: answers with a function of what it sees."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return self.answer(prepared)


def enhancer_with(answer: object, size: int = 64) -> Enhancer:
    return Enhancer(TrainedRun(Recipe(width=0.0625, size=size), Answering(answer), step=0))


def photograph(width: int, height: int) -> Picture:
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def psnr(a: Picture, b: Picture) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean()))


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (300, 400), (401, 299), (33, 35), (20, 12), (700, 40), (5, 300), (1, 1)]
)
def test_the_untrained_network_returns_the_photograph_at_any_size(width: int, height: int) -> None:
    """Same size, same pixels: nothing is lost on the way down and up again."""
    picture = photograph(width, height)
    recipe = Recipe(width=0.0625, size=64)
    enhancer = Enhancer(TrainedRun(recipe, build_network(recipe).eval(), step=0))
    assert np.array_equal(enhancer.enhance_picture(picture, WHOLE), picture)


def test_a_constant_difference_is_added_to_every_pixel() -> None:
    """pred = x - 2y + 1: an answer of 0.45 adds 0.1."""
    picture = photograph(310, 230) // 2
    result = enhancer_with(lambda prepared: torch.full_like(prepared, 0.45)).enhance_picture(picture, WHOLE)
    assert np.abs(result - (picture + 25.5)).max() <= 0.51


def test_the_difference_lands_where_it_belongs() -> None:
    """A ramp across the picture: at the pixel centres of full resolution, without shift, to half a grey level."""

    def brighter_to_the_right(prepared: torch.Tensor) -> torch.Tensor:
        ramp = (torch.arange(prepared.shape[3]) + 0.5) / prepared.shape[3]
        return (0.5 - 0.1 * ramp).expand_as(prepared)

    picture = np.full((256, 256, 3), 100, np.uint8)
    result = enhancer_with(brighter_to_the_right).enhance_picture(picture, WHOLE)
    expected = 100 + 255 * 0.2 * (np.arange(256) + 0.5) / 256
    inside = slice(8, -8)  # beyond the outermost nodes interpolation holds the last value
    assert np.abs(result[:, inside].astype(float) - expected[inside, None]).max() <= 1.0


def test_details_never_pass_the_network() -> None:
    """What is finer than the network's size is the photograph's own: its high frequencies come out as they went in."""
    picture = photograph(512, 512)
    brightened = enhancer_with(lambda prepared: 0.5 - 0.1 * torch.ones_like(prepared), size=32).enhance_picture(
        picture // 2, WHOLE
    )
    difference = brightened.astype(int) - picture // 2
    assert difference.min() == difference.max() == 51


def test_edges_of_the_photograph_are_found_again() -> None:
    """A difference that follows an edge at 64 px is brought to 512 px better than by interpolation."""
    edge = np.full((512, 512, 3), 40, np.uint8)
    edge[:, 205:] = 200
    truth = edge.copy()
    truth[:, :205] += 60

    def brighten_the_dark(prepared: torch.Tensor) -> torch.Tensor:
        share = ((200 / 255 - prepared) / (160 / 255)).clamp(0, 1)
        return 0.5 - share * 30 / 255

    result = enhancer_with(brighten_the_dark).enhance_picture(edge, WHOLE)
    small = cv2.resize(cv2.resize(truth, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
                       - cv2.resize(edge, (64, 64), interpolation=cv2.INTER_AREA), (512, 512))  # fmt: skip
    assert psnr(result, truth) > psnr(np.clip(edge + small, 0, 255), truth) + 2


def test_the_network_sees_the_scale_it_was_trained_on() -> None:
    """The shorter side is the recipe's size, as in the wide frame of the data set; sides are padded to multiples of 32."""
    seen: list[torch.Size] = []

    def watch(prepared: torch.Tensor) -> torch.Tensor:
        seen.append(prepared.shape)
        return torch.full_like(prepared, 0.5)

    enhancer_with(watch).enhance_picture(photograph(300, 400), WHOLE)
    assert seen == [torch.Size([1, 3, 96, 64])]


@pytest.mark.parametrize(
    "picture",
    [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_grey_alpha_and_floating_pictures_are_refused_with_a_sentence(picture: Picture) -> None:
    with pytest.raises(PictureError, match=r"must be \(H, W, 3\) RGB uint8 or uint16, not .*; convert it first"):
        enhancer_with(lambda prepared: prepared).enhance_picture(picture, WHOLE)


def test_a_trained_run_makes_an_unseen_portrait_better(finished: Path) -> None:
    flash, studio = flash_and_studio(5, size=128)
    assert psnr(load_enhancer(finished).enhance_picture(flash, WHOLE), studio) > psnr(flash, studio) + 0.5
