"""Recipes: what is shipped, what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.errors import ModelError
from deepflash.model.recipe import Recipe, load_recipe, recipe_names


def test_the_shipped_recipes_are_these_and_can_be_read() -> None:
    networks = ["hdrnet", "hdrnet-c", "light", "paper", "pix2pix", "pix2pix-c", "quick"]
    assert recipe_names() == ["bokeh", "deepflash-gan", "dense-unet-gan", *networks]
    for name in recipe_names():
        assert isinstance(load_recipe(name), Recipe)


def test_our_own_recipe_learns_for_other_cameras_and_those_of_papers_do_not() -> None:
    assert [name for name in recipe_names() if load_recipe(name).other_cameras] == ["light"]


def test_paper_is_the_paper_to_the_letter() -> None:
    """Section 3.2 and 5: Adam 1e-5, 0.9, 0.999, 1e-8, batch 4, 512 px, 62 epochs, unit deviation, Xavier, equation 5."""
    paper = load_recipe("paper")
    assert (paper.learning_rate, paper.beta1, paper.beta2, paper.epsilon) == (1e-5, 0.9, 0.999, 1e-8)
    assert (paper.width, paper.size, paper.batch, paper.epochs, paper.max_steps) == (1.0, 512, 4, 62, 0)
    assert (paper.decoder_std, paper.head, paper.mean_weight, paper.ema, paper.schedule) == (
        1.0,
        "xavier",
        0.0,
        0.0,
        "constant",
    )


def test_a_recipe_written_as_toml_is_read_back_the_same(tmp_path: Path) -> None:
    recipe = Recipe(width=1 / 3, learning_rate=3e-7, head="xavier", max_steps=7, ema=0.999)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.as_toml())
    assert load_recipe(path) == recipe


def test_single_values_can_be_changed() -> None:
    changed = load_recipe("quick", ["learning_rate=3e-4", "encoding = A", 'schedule="constant"', "batch=2"])
    assert changed == replace(load_recipe("quick"), learning_rate=3e-4, encoding="A", schedule="constant", batch=2)
    with pytest.raises(ModelError, match="recipe quick has unknown keys learning_rat; a recipe knows encoding"):
        load_recipe("quick", ["learning_rat=1"])
    with pytest.raises(ModelError, match="recipe quick: batch is ''; it must be of type int"):
        load_recipe("quick", ["batch"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat = 1e-3", "unknown keys learning_rat; a recipe knows encoding,"),
        ("width = 'wide'", "width is 'wide'; it must be of type float"),
        ("batch = 2.5", "batch is 2.5; it must be of type int"),
        ("epochs = true", "epochs is True; it must be of type int"),
        ("head = 3", "head is 3; it must be of type str"),
        ("size = 100", "size is 100; it must be a multiple of 32"),
        ("width = 0", "width is 0.0; it must be positive"),
        ("width = 1e9", "width is 1000000000.0; it must be positive and at most 16"),
        ("batch = 100000", "batch is 100000; it must be from 1 to 4096"),
        ("seed = -1", "seed is -1; it must be from 0 to 2^63 - 1"),
        ("seed = 99999999999999999999", "it must be from 0 to 2^63 - 1"),
        ("learning_rate = nan", "learning_rate is nan; it must be positive"),
        ("mean_weight = inf", "mean_weight is inf; it must be at least 0"),
        ("encoding = 'D'", "encoding is 'D'; it must be one of A, B, C"),
        ("ema = 1.0", "ema is 1.0; it must be at least 0 and below 1"),
        ("batch = 1\nsize = 32", "leaves batch normalisation one value"),
        ("batch = 1\nsize = 32\nbatch_norm = false\nencoder = 'resnet18'", "leaves batch normalisation one value"),
        ("encoder = 'resnet50'", "encoder is 'resnet50'; it must be one of vgg16, resnet18, resnet34"),
        ("size = 160\nms_ssim_scales = 5", "pictures of 160 px allow 4 scales of MS-SSIM; lower ms_ssim_scales or raise size"),
        ("ms_ssim_scales = 6", "ms_ssim_scales is 6; it must be from 0 to 5"),
        ("network = 'light'\nencoder = 'resnet18'\nimage_skip = true", "the light network has no encoder and no image_skip"),
        ("network = 'vgg'", "network is 'vgg'; it must be one of deepflash, light, hdrnet, unet, dense-unet, bokeh"),
        ("network = 'unet'\nguide = 'curves'", "the unet network has no guide; leave that out"),
        ("network = 'light'\nhead = 'xavier'", "the light network has no head; leave that out"),
        ("downs = 8", "the deepflash network has no downs; leave that out"),
        ("network = 'hdrnet'\nencoder_weights = 'vgg.pth'", "the hdrnet network has no encoder_weights; leave that out"),
        ("network = 'unet'\ndowns = 1", "downs is 1; it must be 0, or from 2 to 9"),
        ("network = 'bokeh'", "bokeh answers with pictures, those of encoding C are differences; use encoding A"),
        ("judge = 'patch'", "judge patch and gan_weight 0.0 do not go together; give both, or neither"),
        ("gan_weight = 1.0", "judge none and gan_weight 1.0 do not go together; give both, or neither"),
        ("judge = 'patch'\ngan_weight = 1\naccumulate = 2", "a judge sees whole batches; leave out accumulate"),
        ("judge = 'me'", "judge is 'me'; it must be one of none, patch, patch-beside, picture"),
        ("pixel_weight = 0", "nothing is minimised: every weight is 0; raise pixel_weight or another"),
        ("patch = 96\nsize = 64", "no patch of 96 px can be cut out of 64 px; lower patch or raise size"),
        ("patch = 100", "patch is 100; it must be 0 or a multiple of 32"),
        ("patch = 96\nms_ssim_scales = 5", "pictures of 96 px allow 4 scales of MS-SSIM"),
        (
            "network = 'unet'\npatch = 32\nbatch = 1\njudge = 'picture'\ngan_weight = 1",
            "one picture of 32 px at a time leaves batch normalisation one value; raise patch or batch",
        ),
        ("chance = 'luck'", "chance is 'luck'; it must be one of none, jitter, flips"),
        ("width = ", "is not TOML"),
    ],
)
def test_a_bad_recipe_gets_one_sentence_with_its_path(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


def test_processes_that_share_a_batch_need_more_than_one_value_each() -> None:
    Recipe(batch=4, size=32).refuse_single_values(processes=2)
    with pytest.raises(ModelError, match=r"in each of 4 processes leaves batch normalisation one value; raise size"):
        Recipe(batch=4, size=32).refuse_single_values(processes=4)


def test_without_batch_normalisation_one_small_picture_is_enough() -> None:
    assert Recipe(batch=1, size=32, batch_norm=False).batch == 1


def test_a_run_may_go_on_compiled_or_keep_more_but_not_learn_otherwise() -> None:
    recipe = load_recipe("quick")
    assert recipe.trains_as(replace(recipe, compile=True, keep=3))
    assert not recipe.trains_as(replace(recipe, compile=True, batch=4))


def test_a_missing_recipe_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"there is no recipe quik; give a TOML file, or one of bokeh, .*, quick"):
        load_recipe("quik")


@given(st.integers(1, 500), st.integers(0, 100))
def test_the_learning_rate_rises_then_falls_and_stays_positive(steps: int, warmup: int) -> None:
    recipe = Recipe(learning_rate=1e-3, warmup_steps=warmup, schedule="cosine")
    rates = [recipe.learning_rate_at(step, steps + warmup) for step in range(steps + warmup)]
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_a_constant_schedule_is_constant() -> None:
    assert {Recipe().learning_rate_at(step, 100) for step in range(100)} == {1e-5}
