"""From photograph to portrait at full resolution."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from deepflash.errors import NoFaceError, PictureError
from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.recipe import Recipe
from deepflash.model.runs import TrainedRun, build_network
from deepflash.pairs import Face
from deepflash.photos import Photo, from_srgb, srgb_of
from deepflash.pictures import Picture
from tests.model.enhancement.stand_ins import warming_enhancer
from tests.model.tiny_dataset import flash_and_studio
from tests.profiles import WIDE

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


EVERYWHERE = Look(background="enhance")


def brighter(prepared: torch.Tensor) -> torch.Tensor:
    """Adds 0.1."""
    return torch.full_like(prepared, 0.45)


def test_a_small_face_is_seen_apart_and_joins_without_a_seam() -> None:
    """The network says +0.2 of the square around the face and nothing of the whole: no step where they meet."""
    seen: list[torch.Size] = []

    def brighten_the_second(prepared: torch.Tensor) -> torch.Tensor:
        seen.append(prepared.shape)
        answer = torch.full_like(prepared, 0.5)
        answer[1:] = 0.4
        return answer

    picture = data.astronaut() // 2
    result = enhancer_with(brighten_the_second).enhance_picture(picture, EVERYWHERE)
    added = result.astype(int) - picture
    assert seen == [torch.Size([2, 3, 64, 64])]
    assert added[100, 225].min() == 51  # the astronaut's nose
    assert added[400:].max() == 0
    assert max(np.abs(np.diff(added, axis=axis)).max() for axis in (0, 1)) <= 3


def test_overlapping_squares_add_up_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three people cheek to cheek, and the same answer for everybody: the same everywhere."""
    picture = photograph(600, 400) // 2
    people = [Face((x, 100, x + 60, 160)) for x in (100, 180, 290)]
    monkeypatch.setattr("deepflash.model.enhancement.enhancer.find_people", lambda _: people)
    look = Look(background="enhance", red_eye=False)
    result = enhancer_with(brighter).enhance_picture(picture, look)
    assert np.abs(result - (picture + 25.5)).max() <= 0.51


def test_strength_scales_the_change_and_nought_is_the_photograph() -> None:
    picture = photograph(256, 256) // 2
    half = enhancer_with(brighter).enhance_picture(picture, Look(strength=0.5, whole=True))
    assert np.abs(half - (picture + 12.75)).max() <= 0.51
    for look in (Look(strength=0, whole=True), Look(strength=0)):
        picture = data.astronaut()
        assert np.array_equal(enhancer_with(brighter).enhance_picture(picture, look), picture)


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (37, 37)])
def test_a_mask_says_where_and_everything_else_stays(size: tuple[int, int]) -> None:
    picture = photograph(256, 256) // 2
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = 255
    result = enhancer_with(brighter).enhance_picture(picture, WHOLE, mask=mask)
    assert np.abs(result[:, :110] - (picture[:, :110] + 25.5)).max() <= 0.51
    assert np.array_equal(result[:, 146:], picture[:, 146:])


def test_what_is_behind_the_person_stays_or_becomes_a_colour() -> None:
    picture = data.astronaut()
    kept = enhancer_with(brighter).enhance_picture(picture, Look(red_eye=False))
    assert np.array_equal(kept[:60, 460:], picture[:60, 460:])  # the shuttle behind her
    assert (kept[90:130, 205:245].astype(int) - picture[90:130, 205:245]).mean() > 15  # her face
    plain = enhancer_with(brighter).enhance_picture(picture, Look(background=(10, 200, 30)))
    assert (plain[:60, 490:] == (10, 200, 30)).all()


def test_a_mask_must_fit() -> None:
    enhancer, picture = enhancer_with(brighter), photograph(200, 100)
    with pytest.raises(PictureError, match="the mask has 100 x 200 pixels, the photograph, as it is displayed, 200 x 100"):
        enhancer.enhance_picture(picture, WHOLE, mask=np.zeros((200, 100), np.uint8))
    with pytest.raises(PictureError, match=r"must be \(h, w\) uint8"):
        enhancer.enhance_picture(picture, WHOLE, mask=np.zeros((100, 200, 3), np.uint8))
    with pytest.raises(PictureError, match="leave one out"):
        enhancer.enhance_picture(picture, Look(background="enhance", whole=True), mask=np.zeros((100, 200), np.uint8))
    with pytest.raises(PictureError, match="give a mask"):
        enhancer.enhance_picture(picture, Look(whole=True, background=(0, 0, 0)))


@pytest.mark.parametrize("depth", [1, 257])
def test_a_grey_photograph_gets_no_colour(depth: int) -> None:
    """The network, which has seen colour alone, would tint the person; the change of light stays."""
    light = cv2.cvtColor(photograph(128, 96), cv2.COLOR_RGB2GRAY) // 2 + 60
    grey = np.repeat(light[..., None], 3, axis=2).astype(np.uint8 if depth == 1 else np.uint16) * depth
    result = warming_enhancer().enhance_picture(grey.astype(grey.dtype), WHOLE)
    assert (result == result[..., :1]).all()
    added = 0.299 * 0.4 + 0.587 * 0.04 - 0.114 * 0.1  # Rec. 601
    assert np.abs(result / depth - (grey / depth + 255 * added)).max() <= 0.51
    coloured = grey.copy()
    coloured[:24, :24, 0] += 40 * depth
    assert (warming_enhancer().enhance_picture(coloured, WHOLE)[-24:, -24:, 0] > result[-24:, -24:, 0]).all()


def test_nobody_in_the_photograph_is_a_sentence() -> None:
    with pytest.raises(NoFaceError, match="turn it if it is not upright; --whole treats the entire picture"):
        enhancer_with(brighter).enhance_picture(np.full((100, 150, 3), 200, np.uint8))


def test_sixteen_bits_are_changed_in_sixteen_bits() -> None:
    """A ramp of single 16-bit steps stays one: nothing is rounded to 8 bits."""
    ramp = np.broadcast_to(np.arange(20000, 20256, dtype=np.uint16)[None, :, None], (256, 256, 3))
    result = enhancer_with(brighter).enhance_picture(np.ascontiguousarray(ramp), WHOLE)
    assert result.dtype == np.uint16
    assert np.abs(result - (ramp + 6553.5)).max() <= 1.01


def test_in_a_wider_space_the_network_sees_srgb_and_its_answer_is_brought_there() -> None:
    """Where the network changes nothing, the values of a wide space come back untouched; where it does, as sRGB would look."""
    picture = photograph(128, 128) // 2 + 40
    same = enhancer_with(lambda prepared: torch.full_like(prepared, 0.5))
    assert np.array_equal(same.enhance(Photo(picture, profile=WIDE), WHOLE).pixels, picture)
    plain = np.full((64, 64, 3), (150, 120, 100), np.uint8)
    wide = Photo(from_srgb(plain, WIDE), profile=WIDE)
    result = srgb_of(enhancer_with(brighter).enhance(wide, WHOLE).pixels, WIDE)
    assert np.abs(result - (plain + 25.5)).max() <= 2.5


def test_no_detail_becomes_flat_white_or_black() -> None:
    """Levels that differ in the photograph still differ when the change would have passed white."""
    picture = np.repeat(np.arange(180, 250, 10, dtype=np.uint8), 40)[None, :, None].repeat(280, 0).repeat(3, 2)
    result = enhancer_with(lambda prepared: torch.full_like(prepared, 0.3)).enhance_picture(picture, WHOLE)
    levels = result[140, 20::40, 0].astype(int)
    assert (np.diff(levels) >= 1).all()
    assert levels.max() < 255
    dark = enhancer_with(lambda prepared: torch.full_like(prepared, 0.7)).enhance_picture(255 - picture, WHOLE)
    assert dark.min() > 0
