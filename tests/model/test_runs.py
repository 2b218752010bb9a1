"""Every network as the recipes build it: what it takes, and how it begins."""

import pytest
import torch

from deepflash.errors import ModelError
from deepflash.model.encodings import encoding_named
from deepflash.model.recipe import Recipe
from deepflash.model.runs import answer, build_network, usable_device

NETWORKS = ("deepflash", "light", "hdrnet", "unet", "dense-unet", "bokeh")


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_takes_every_multiple_of_32(network: str) -> None:
    """Odd multiples, too, and shapes that it was not trained at: `enhance` gives it any."""
    recipe = Recipe(network=network, encoding="A", width=0.0625, size=64)
    built = build_network(recipe).eval()
    for height, width in ((32, 32), (96, 160), (32, 224)):
        pictures = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            answers = answer(built, pictures, "float32")
        assert answers.shape == pictures.shape
        assert answers.isfinite().all()


@pytest.mark.parametrize(
    ("network", "encoding"),
    [("deepflash", "C"), ("light", "B"), ("hdrnet", "A"), ("hdrnet", "C"), ("dense-unet", "A"), ("dense-unet", "C")],
)
def test_an_untrained_network_leaves_the_photograph_as_it_is(network: str, encoding: str) -> None:
    recipe = Recipe(network=network, encoding=encoding, width=0.0625, size=32)
    flash = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = answer(build_network(recipe).eval(), flash, "float32")
    assert torch.allclose(encoding_named(encoding).decode(flash, answers), flash, atol=1e-5)


def test_a_unet_halves_as_often_as_its_pictures_allow_or_as_it_is_told() -> None:
    for changes, downs in (
        ({"size": 512}, 8),
        ({"size": 128}, 7),
        ({"size": 512, "patch": 96}, 5),
        ({"size": 512, "downs": 9}, 9),
    ):
        recipe = Recipe(network="unet", width=0.0625, **changes)
        assert len(build_network(recipe).down) == recipe.unet_downs == downs


def test_hdrnet_has_the_guide_that_it_is_told() -> None:
    """Curves begin as the mean of red, green and blue; the small network begins by chance."""
    grey = torch.full((1, 3, 32, 32), 0.25)
    curves, pointwise = (
        build_network(Recipe(network="hdrnet", width=0.125, guide=guide)).eval().guide(grey)
        for guide in ("curves", "pointwise")
    )
    assert torch.allclose(curves, torch.tensor(0.25), atol=1e-3)
    assert not torch.allclose(pointwise, torch.tensor(0.25), atol=1e-3)


def test_a_device_that_computes_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match=r"device 'meta' cannot be used here .*; try cpu"):
        usable_device("meta")
