"""The game: its losses against their formulas, a round of it for each recipe that plays, and what training makes of it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.adversarial import deception_loss, discriminator_loss, game_of
from deepflash.model.encodings import encoding_named
from deepflash.model.losses import picture_loss
from deepflash.model.pix2pix import PatchDiscriminator
from deepflash.model.ranks import Ranks
from deepflash.model.recipe import Recipe, load_recipe
from deepflash.model.runs import answer, build_network
from deepflash.model.train import read_metrics, train
from tests.model.test_train import stop_at

CPU = torch.device("cpu")
PLAYERS = ("pix2pix", "pix2pix-c", "deepflash-gan", "dense-unet-gan")


def small(name: str, *changes: str) -> Recipe:
    patch = ["patch=32"] if load_recipe(name).patch else []
    return load_recipe(name, ["size=32", "width=0.0625", "batch=4", "max_steps=2", *patch, *changes])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pair(side: int = 64) -> tuple[Tensor, Tensor]:
    """Return two flash pictures and what the studio would have made of them."""
    astronaut = torch.as_tensor(data.astronaut()[:side, 100:228] / 255, dtype=torch.float32).permute(2, 0, 1)
    flash = torch.stack([astronaut[..., :side], astronaut[..., -side:]])
    return flash, (0.8 * flash.roll(1, dims=1) + 0.1).clamp(0, 1)


def test_the_losses_are_cross_entropies() -> None:
    real, made = 4 * random(2, 1, 3, 3) - 2, 4 * random(2, 1, 3, 3, seed=1) - 2
    chance_real, chance_made = (1 / (1 + np.exp(-logits.double().numpy())) for logits in (real, made))
    told_apart = -(np.log(chance_real).mean() + np.log(1 - chance_made).mean()) / 2
    assert discriminator_loss(real, made).item() == pytest.approx(told_apart, rel=1e-5)
    assert deception_loss(made).item() == pytest.approx(-np.log(chance_made).mean(), rel=1e-5)


def test_a_coin_costs_log_2_and_certainty_is_no_overflow() -> None:
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(np.log(2))
    assert discriminator_loss(torch.full((2,), 1e4), torch.full((2,), -1e4)).item() == 0
    assert deception_loss(torch.full((2,), -1e4)).item() == pytest.approx(1e4)


def test_who_deceives_nobody_learns_most() -> None:
    """The slope is that of finite differences, and does not vanish where the discriminator is sure."""
    slopes = []
    for logit in (-5.0, 0.0, 5.0):
        made = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        deception_loss(made).backward()
        assert made.grad is not None
        moved = [deception_loss(torch.tensor([logit + step], dtype=torch.float64)).item() for step in (1e-4, -1e-4)]
        assert made.grad.item() == pytest.approx((moved[0] - moved[1]) / 2e-4, rel=1e-5)
        slopes.append(made.grad.item())
    assert slopes == sorted(slopes)
    assert slopes[0] == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("name", ["pix2pix", "pix2pix-c"])
def test_pix2pix_weighs_answers_from_minus_one_to_one_by_a_hundred(name: str) -> None:
    recipe = load_recipe(name)
    decode = encoding_named(recipe.encoding).decode
    prepared, answers, target = (random(2, 3, 8, 8, seed=seed) for seed in range(3))
    loss = picture_loss(
        decode(prepared, answers), decode(prepared, target), kind=recipe.loss, pixel_weight=recipe.pixel_weight
    )  # fmt: skip
    assert recipe.gan_weight == 1
    assert loss.item() == pytest.approx(100 * ((2 * answers - 1) - (2 * target - 1)).abs().mean().item(), rel=1e-5)


def test_answers_in_encoding_c_are_the_differences_that_the_paper_wants_judged() -> None:
    """The discriminator's own [-1, 1] makes of them BL(flash) - BL(studio)."""
    flash, studio = pair()
    encoding = encoding_named("C")
    smooth_flash, smooth_studio = encoding.prepare(flash), encoding.prepare(studio)
    judge = PatchDiscriminator(3, 0.125).eval()
    assert torch.allclose(
        judge(encoding.target(smooth_flash, smooth_studio)), judge.layers(smooth_flash - smooth_studio), atol=1e-5
    )


@pytest.mark.parametrize("name", ["quick", "paper", "light", "hdrnet", "bokeh"])
def test_who_has_no_judge_plays_no_game(name: str) -> None:
    assert game_of(load_recipe(name), CPU) is None


@pytest.mark.parametrize("name", PLAYERS)
def test_in_a_round_each_comes_nearer_to_what_it_wants(name: str) -> None:
    """The judge tells better what it was shown; then the network, which alone the deception moves, deceives it better."""
    recipe = small(name, "size=64", "width=0.125", *(["patch=64"] if name == "dense-unet-gan" else []))
    encoding = encoding_named(recipe.encoding)
    flash, studio = map(encoding.prepare, pair())
    target = encoding.target(flash, studio)
    game, network = game_of(recipe, CPU), build_network(recipe).train()
    assert game is not None
    torch.manual_seed(0)
    answers = answer(network, flash, recipe.precision)

    first = game.let_judge_learn(flash, target, answers, 1e-3, Ranks())
    assert all(parameter.grad is None for parameter in network.parameters())
    judged = [parameter.clone() for parameter in game.judge.parameters()]
    deception = game.deception(flash, answers)
    deception.backward()
    assert all(torch.equal(*both) for both in zip(judged, game.judge.parameters(), strict=True))
    torch.optim.Adam(network.parameters(), 1e-4, (recipe.beta1, recipe.beta2)).step()
    torch.manual_seed(0)  # the same layers drop out
    assert game.deception(flash, answer(network, flash, recipe.precision)) < deception
    assert game.let_judge_learn(flash, target, answers, 1e-3, Ranks()) < first


def test_a_judge_sees_the_input_beside_the_answer_or_not_at_all() -> None:
    flash, studio = pair()
    other = flash.flip(-1)
    for judge, sees in (("patch-beside", True), ("patch", False), ("picture", False)):
        game = game_of(Recipe(network="unet", judge=judge, gan_weight=1.0, size=64, width=0.125, batch=2), CPU)
        assert game is not None
        assert torch.equal(game.deception(flash, studio), game.deception(other, studio)) != sees


def test_the_curve_has_both_losses_and_the_state_has_the_judge(shards: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    recipe = small("pix2pix")
    train(shards, tmp_path / "run", recipe, device="cpu", report=lambda done, total, note: notes.append(note))
    (line,) = (line for line in read_metrics(tmp_path / "run") if line["split"] == "train")
    assert line["loss"] > line["judge_loss"] > 0
    assert all(", judge's loss 0." in note or ", judge's loss 1." in note for note in notes)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    judge = game_of(recipe, CPU)
    assert judge is not None
    assert state["judge"]["network"].keys() == judge.judge.state_dict().keys()
    assert len(state["averaged"]) == 0


def test_only_the_network_is_averaged(shards: Path, tmp_path: Path) -> None:
    recipe = small("dense-unet-gan")
    train(shards, tmp_path / "run", recipe, device="cpu")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["averaged"].keys() == state["network"].keys() == build_network(recipe).state_dict().keys()


def test_a_game_that_diverges_names_both_losses(shards: Path, tmp_path: Path) -> None:
    recipe = replace(small("pix2pix"), learning_rate=1e30, max_steps=20)
    with pytest.raises(
        ModelError, match=r"the loss became \S+ and the judge's loss became \S+ in step \d+ .*lower learning_rate"
    ):
        train(shards, tmp_path / "run", recipe, device="cpu")


def test_two_processes_share_a_judge(shards: Path, tmp_path: Path) -> None:
    """Gradients are averaged, so that both have the same judge after every step."""
    program = tmp_path / "two.py"
    program.write_text(
        "import sys; from pathlib import Path; import torch; from torch import distributed\n"
        "from deepflash.model import adversarial; from deepflash.model.recipe import load_recipe\n"
        "from deepflash.model.train import train\n"
        "learn, judges = adversarial.Game.let_judge_learn, []\n"
        "def watched(game, *rest):\n"
        "    loss = learn(game, *rest)\n"
        "    mine = torch.cat([parameter.detach().flatten() for parameter in game.judge.parameters()])\n"
        "    both = [torch.empty_like(mine) for _ in range(2)]\n"
        "    distributed.all_gather(both, mine)\n"
        "    judges.append(torch.equal(*both))\n"
        "    return loss\n"
        "adversarial.Game.let_judge_learn = watched\n"
        "changes = ['size=32', 'width=0.0625', 'batch=4', 'max_steps=3']\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), load_recipe('pix2pix', changes), device='cpu')\n"
        "assert judges == [True] * 3, judges\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(program), str(shards), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert [line["split"] for line in read_metrics(tmp_path / "run")] == ["val", "train", "val"]


@pytest.mark.parametrize("name", PLAYERS)
def test_a_game_stopped_at_every_step_ends_with_the_same_bits(name: str, shards: Path, tmp_path: Path) -> None:
    """Also the judge, which nobody keeps but the state."""
    recipe = replace(small(name), max_steps=3)
    for run, stops in (("whole", ()), ("parts", (1, 2))):
        for step in stops:
            with pytest.raises(KeyboardInterrupt):
                train(shards, tmp_path / run, recipe, device="cpu", report=stop_at(step))
        train(shards, tmp_path / run, recipe, device="cpu")
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def assert_same_state(one: Path, other: Path) -> None:
    """Compare networks and judges, bit for bit."""
    states = [torch.load(run / "state.pt", weights_only=True) for run in (one, other)]
    weights = [
        {**state["network"], **{f"judge.{name}": tensor for name, tensor in state["judge"]["network"].items()}}
        for state in states
    ]
    assert weights[0].keys() == weights[1].keys()
    assert [name for name, tensor in weights[0].items() if not torch.equal(tensor, weights[1][name])] == []
