"""Style transfer as systems: the example is the answer, or the most alike of the other people."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from matplotlib import get_data_path

from deepflash.errors import ModelError
from deepflash.model.data import Portrait, to_picture, to_tensor
from deepflash.model.style_systems import STYLE_NAMES, style_of_another, style_of_the_answer
from deepflash.model.style_transfer import transfer_style
from deepflash.pictures import Picture, read_rgb


def astronaut() -> Picture:
    return skimage.data.astronaut()[:256, 96:352]


def hopper() -> Picture:
    return read_rgb(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg")[40:296, 130:386]


def of(subject: str, studio: Picture, light: float = 0.6) -> Portrait:
    flash = np.asarray(studio * [light, light, 0.9 * light], np.uint8)
    return Portrait(f"{subject}-00a", subject, to_tensor(flash[None]), to_tensor(studio[None]))


def restyled(flash: torch.Tensor, example: Picture) -> Picture:
    return transfer_style(to_picture(flash[0]), example)


def test_with_the_answer_as_example_each_pair_gets_its_own() -> None:
    pairs = [of("S001", astronaut()), of("S002", hopper())]
    system = style_of_the_answer(iter(pairs))
    assert (system.name, system.kind) == (STYLE_NAMES[0], "baseline")
    for pair, studio in zip(pairs, (astronaut(), hopper()), strict=True):
        portrait = system.portrait(pair.flash)
        assert portrait.shape == pair.flash.shape
        assert (to_picture(portrait[0]) == restyled(pair.flash, studio)).all()


def test_a_flash_picture_without_a_pair_is_refused() -> None:
    system = style_of_the_answer([of("S001", astronaut())])
    with pytest.raises(ModelError, match="has no pair to take the style from; give the split that is evaluated"):
        system.portrait(of("S002", hopper()).flash)


def test_for_a_new_photograph_the_most_alike_serves_as_example() -> None:
    system = style_of_another([of("S001", astronaut()), of("S002", hopper())])
    seen = of("S003", astronaut(), light=0.55).flash
    assert (to_picture(system.portrait(seen)[0]) == restyled(seen, astronaut())).all()


def test_nobody_serves_as_their_own_example() -> None:
    pairs = [of("S001", astronaut()), of("S001", astronaut()[:, ::-1].copy()), of("S002", hopper())]
    portrait = style_of_another(pairs).portrait(pairs[0].flash)
    assert (to_picture(portrait[0]) == restyled(pairs[0].flash, hopper())).all()


def test_one_person_alone_is_too_few() -> None:
    pair = of("S001", astronaut())
    with pytest.raises(ModelError, match="nobody else to take the style from"):
        style_of_another([pair]).portrait(pair.flash)


def test_where_no_face_is_found_the_colours_of_the_middle_decide() -> None:
    gray, red = (np.full((64, 64, 3), colour, np.uint8) for colour in ((120, 120, 120), (160, 60, 50)))
    system = style_of_another([of("S001", gray), of("S002", red)])
    portrait = system.portrait(of("S003", red, light=0.5).flash)
    np.testing.assert_allclose(to_picture(portrait[0]).mean(axis=(0, 1)), red[0, 0], atol=2)
