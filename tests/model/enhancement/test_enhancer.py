"""From photograph to portrait at full resolution."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from deepflash.accounts import SetAside
from deepflash.errors import PictureError
from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
from deepflash.model.enhancement.files import enhance_files
from deepflash.model.recipe import Recipe
from deepflash.model.runs import TrainedRun, build_network
from deepflash.pictures import Picture, encode, read_rgb
from tests.model.tiny_dataset import flash_and_studio


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
    assert np.array_equal(enhancer.enhance_picture(picture), picture)


def test_a_constant_difference_is_added_to_every_pixel_and_clipped() -> None:
    """pred = x - 2y + 1: an answer of 0.45 adds 0.1."""
    picture = photograph(310, 230)
    result = enhancer_with(lambda prepared: torch.full_like(prepared, 0.45)).enhance_picture(picture)
    assert np.abs(result - np.clip(picture + 25.5, 0, 255)).max() <= 0.51


def test_the_difference_lands_where_it_belongs() -> None:
    """A ramp across the picture: at the pixel centres of full resolution, without shift, to half a grey level."""

    def brighter_to_the_right(prepared: torch.Tensor) -> torch.Tensor:
        ramp = (torch.arange(prepared.shape[3]) + 0.5) / prepared.shape[3]
        return (0.5 - 0.1 * ramp).expand_as(prepared)

    picture = np.full((256, 256, 3), 100, np.uint8)
    result = enhancer_with(brighter_to_the_right).enhance_picture(picture)
    expected = 100 + 255 * 0.2 * (np.arange(256) + 0.5) / 256
    inside = slice(8, -8)  # beyond the outermost nodes interpolation holds the last value
    assert np.abs(result[:, inside].astype(float) - expected[inside, None]).max() <= 1.0


def test_details_never_pass_the_network() -> None:
    """What is finer than the network's size is the photograph's own: its high frequencies come out as they went in."""
    picture = photograph(512, 512)
    brightened = enhancer_with(lambda prepared: 0.5 - 0.1 * torch.ones_like(prepared), size=32).enhance_picture(picture // 2)
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

    result = enhancer_with(brighten_the_dark).enhance_picture(edge)
    small = cv2.resize(cv2.resize(truth, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
                       - cv2.resize(edge, (64, 64), interpolation=cv2.INTER_AREA), (512, 512))  # fmt: skip
    assert psnr(result, truth) > psnr(np.clip(edge + small, 0, 255), truth) + 2


def test_the_network_sees_the_scale_it_was_trained_on() -> None:
    """The shorter side is the recipe's size, as in the wide frame of the data set; sides are padded to multiples of 32."""
    seen: list[torch.Size] = []

    def watch(prepared: torch.Tensor) -> torch.Tensor:
        seen.append(prepared.shape)
        return torch.full_like(prepared, 0.5)

    enhancer_with(watch).enhance_picture(photograph(300, 400))
    assert seen == [torch.Size([1, 3, 96, 64])]


@pytest.mark.parametrize(
    "picture",
    [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_grey_alpha_and_floating_pictures_are_refused_with_a_sentence(picture: Picture) -> None:
    with pytest.raises(PictureError, match=r"must be \(H, W, 3\) RGB uint8 or uint16, not .*; convert it first"):
        enhancer_with(lambda prepared: prepared).enhance_picture(picture)


def test_a_trained_run_makes_an_unseen_portrait_better(finished: Path) -> None:
    flash, studio = flash_and_studio(5, size=128)
    assert psnr(load_enhancer(finished).enhance_picture(flash), studio) > psnr(flash, studio) + 0.5


def test_files_are_enhanced_skipped_set_aside_and_accounted_for(finished: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "again").mkdir(parents=True)
    picture = photograph(90, 120)
    names = ["one.jpg", "two.PNG", "grey.jpg", "broken.jpg", "again/one.jpeg"]
    for name in names:
        (photos / name).write_bytes(encode(picture, ".png" if name.endswith("PNG") else ".jpg"))
    (photos / "grey.jpg").write_bytes(encode(picture[..., 0], ".jpg"))
    (photos / "broken.jpg").write_bytes((photos / "one.jpg").read_bytes()[:500])
    out = tmp_path / "out"
    calls: list[tuple[int, int, str]] = []

    account = enhance_files(
        [photos / name for name in names], out, finished, report=lambda *call: calls.append(call)
    )  # fmt: skip

    assert account.sentence() == "5 photographs in = 3 done + 0 skipped + 2 set aside"
    assert sorted(path.name for path in out.iterdir()) == ["grey.jpg", "one.jpg", "two.png"]
    assert read_rgb(out / "two.png").shape == picture.shape
    assert "broken.jpg" in account.set_aside[0].reason
    assert account.set_aside[1] == SetAside(
        str(photos / "again/one.jpeg"), f"its result would replace that of {photos / 'one.jpg'}; enhance it into another folder"
    )
    assert calls[-1] == (5, 5, "one.jpeg")


def test_existing_results_are_skipped_unless_forced(finished: Path, tmp_path: Path) -> None:
    photo = tmp_path / "one.png"
    photo.write_bytes(encode(photograph(64, 64), ".png"))
    out = tmp_path / "out"
    assert enhance_files([photo], out, finished).done == 1
    (out / "one.png").write_bytes(b"retouched by hand")
    assert enhance_files([photo], out, finished).skipped == 1
    assert (out / "one.png").read_bytes() == b"retouched by hand"
    assert enhance_files([photo], out, finished, force=True).done == 1
    assert read_rgb(out / "one.png").shape == (64, 64, 3)


def test_a_photograph_is_never_replaced_by_its_result(finished: Path, tmp_path: Path) -> None:
    photo = tmp_path / "one.png"
    photo.write_bytes(encode(photograph(64, 64), ".png"))
    account = enhance_files([photo], tmp_path, finished, force=True)
    assert [aside.reason for aside in account.set_aside] == ["its result would replace it; choose another output folder"]
    assert np.array_equal(read_rgb(photo), photograph(64, 64))


def test_a_file_in_the_place_of_the_output_folder_is_a_sentence(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(PictureError, match="is a file; give a folder"):
        enhance_files([], tmp_path / "out", finished)
