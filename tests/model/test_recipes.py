"""What the recipes of other papers' networks want beside a data set: each other's weights, and weights that people have."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepflash.errors import ModelError
from deepflash.model.bokeh import Bokeh
from deepflash.model.recipe import Recipe, load_recipe
from deepflash.model.runs import build_network, load_run
from deepflash.model.train import read_metrics, train
from tests.model.test_vgg_features import reference
from tests.model.tiny_dataset import write_shards

TINY = ("size=32", "width=0.0625", "batch=2", "max_steps=2")


@pytest.fixture(scope="module")
def larger_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("larger") / "shards", {"train": range(1), "val": range(1, 2)}, size=64)


def noted(shards: Path, run: Path, recipe: Recipe) -> list[str]:
    notes: list[str] = []
    train(shards, run, recipe, device="cpu", report=lambda done, total, note: notes.append(note))
    return notes


def test_bokehs_three_phases_begin_with_one_another(larger_shards: Path, tmp_path: Path) -> None:
    """The second has larger pictures, and so larger kernels; the third minimises -SSIM, as the recipe says in its comment."""
    first, second, third = (tmp_path / f"phase-{number}" for number in (1, 2, 3))
    larger = (*TINY, "size=64")
    noted(larger_shards, first, load_recipe("bokeh", TINY))
    noted(larger_shards, second, load_recipe("bokeh", [*larger, f"start_from={first}"]))
    ssim_alone = ["pixel_weight=0", "ssim_weight=1"]
    noted(larger_shards, third, load_recipe("bokeh", [*larger, f"start_from={second}", *ssim_alone]))

    small, large = (load_run(run).network for run in (first, second))
    assert isinstance(small, Bokeh)
    assert isinstance(large, Bokeh)
    assert large.kernels_px > small.kernels_px
    ended, began = read_metrics(second)[-1], read_metrics(third)[0]
    assert began["psnr"] == ended["psnr"]
    (line,) = (line for line in read_metrics(third) if line["split"] == "train")
    assert 0 < line["loss"] < 1


def test_bokeh_begins_with_megadepths_weights(shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "megadepth.pth"
    trained = build_network(Recipe(network="bokeh", encoding="A", width=0.0625, seed=7)).hourglass.state_dict()
    torch.save({f"module.{name}": tensor for name, tensor in trained.items()}, file)
    recipe = load_recipe("bokeh", [*TINY, f"encoder_weights={file}", "learning_rate=1e-30"])
    assert noted(shards, tmp_path / "run", recipe)[0] == f"the hourglass begins with {file}"
    begun = load_run(tmp_path / "run").network.hourglass
    assert torch.equal(begun[0].weight, trained["0.weight"])


def test_a_unet_for_another_size_is_no_start_for_one_that_halves_more_often(larger_shards: Path, tmp_path: Path) -> None:
    noted(larger_shards, tmp_path / "run", load_recipe("pix2pix", TINY))
    larger = [*TINY, "size=64", f"start_from={tmp_path / 'run'}"]
    with pytest.raises(ModelError, match=r"cannot be started from: it has downs 5, not 6; change the recipe"):
        train(larger_shards, tmp_path / "larger", load_recipe("pix2pix", larger), device="cpu")
    noted(larger_shards, tmp_path / "same", load_recipe("pix2pix", [*larger, "downs=5"]))


def test_without_vgg19_the_dense_unet_says_once_what_it_lacks(shards: Path, tmp_path: Path) -> None:
    recipe = load_recipe("dense-unet-gan", [*TINY, "patch=32"])
    notes = noted(shards, tmp_path / "run", recipe)
    assert [note for note in notes if "vgg19_weights" in note] == notes[:1]
    assert notes[0] == "no vgg19_weights, so the loss is without the features that its paper compares"


def test_with_vgg19_its_features_are_added_to_the_loss(shards: Path, tmp_path: Path) -> None:
    """Random features here: real ones may not be shipped."""
    torch.manual_seed(0)
    file = tmp_path / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in reference().state_dict().items()}, file)
    plain = load_recipe("dense-unet-gan", [*TINY, "patch=32", "batch=2", "max_steps=1"])
    losses = []
    for run, recipe in (("without", plain), ("with", replace(plain, vgg19_weights=str(file)))):
        notes = noted(shards, tmp_path / run, recipe)
        assert ("no vgg19_weights" in notes[0]) == (run == "without")
        losses += [line["loss"] for line in read_metrics(tmp_path / run) if line["split"] == "train"]
    assert losses[1] > losses[0] + 0.01

    with pytest.raises(ModelError, match=r"nowhere\.pth does not exist"):
        train(shards, tmp_path / "new", replace(plain, vgg19_weights="nowhere.pth"), device="cpu")
    assert not (tmp_path / "new").exists()
