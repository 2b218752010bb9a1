"""The game that a network may play with a judge while it trains: the judge learns to tell its answers from the true ones.

A judge gives logits: one for a picture, or one for each of its patches; positive is "real". In every step it first minimises
`discriminator_loss`; then the network minimises `deception_loss`, weighed against what its answers should be. Three play:

- pix2pix (Isola et al. 2017) shows a patch judge the input beside the answer;
- DeepFlash as the generator of a GAN is the paper's own future work (section 7): "the discriminator is trained to recognize if
  a given image is a difference between the bilateral filtered version of a flash and no flash images". In encoding C answers
  and targets are such differences (equation 1), so a patch judge sees them as they are, with nothing beside them;
- the Dense U-Net (Que and Lee 2018) is judged by whole patches of its pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepflash.model.dense_unet import PictureDiscriminator
from deepflash.model.pix2pix import PatchDiscriminator
from deepflash.model.ranks import Ranks
from deepflash.model.recipe import Recipe
from deepflash.model.runs import to_device


@dataclass(frozen=True)
class Game:
    """A judge, what it learns with, and what it is shown. See `game_of`."""

    judge: nn.Module
    optimizer: torch.optim.Adam
    shows_input: bool

    def let_judge_learn(self, prepared: Tensor, target: Tensor, answers: Tensor, rate: float, ranks: Ranks) -> float:
        """Let the judge take a step and return its loss.

        Parameters
        ----------
        prepared, target, answers
            (N, 3, H, W): what the network saw, should have answered and has answered.
        rate
            Learning rate of the step.
        ranks
            Whose gradients are averaged; the judge's statistics for batch normalisation stay each rank's own.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.judge.requires_grad_(True)
        self.optimizer.zero_grad(set_to_none=True)
        real, made = self._judged(prepared, target), self._judged(prepared, answers.detach())
        loss = discriminator_loss(real, made)
        loss.backward()  # type: ignore[no-untyped-call]
        ranks.average_gradients(self.judge)
        self.optimizer.step()
        return loss.item()

    def deception(self, prepared: Tensor, answers: Tensor) -> Tensor:
        """Return `deception_loss` of the answers, a scalar; its gradient reaches the network, not the judge."""
        self.judge.requires_grad_(False)
        return deception_loss(self._judged(prepared, answers))

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes from step to step."""
        return {"network": self.judge.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.judge.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])

    def _judged(self, prepared: Tensor, answers: Tensor) -> Tensor:
        logits: Tensor = self.judge(torch.cat([prepared, answers], dim=1) if self.shows_input else answers)
        return logits


def game_of(recipe: Recipe, device: torch.device) -> Game | None:
    """Return the game that a recipe asks for, before its first step; None if it names no judge."""
    if recipe.judge == "none":
        return None
    shows_input = recipe.judge == "patch-beside"
    judge = to_device(_judge(recipe, 6 if shows_input else 3), device).train()
    betas = (recipe.beta1, recipe.beta2)
    return Game(judge, torch.optim.Adam(judge.parameters(), recipe.learning_rate, betas, recipe.epsilon), shows_input)


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return how badly the real is told from the made: the mean of both halves' cross-entropy, log 2 for a coin.

    Parameters
    ----------
    real, made
        Logits of any shape; the made pictures must be detached from their network.

    Returns
    -------
    Tensor
        Scalar.
    """
    return (_cross_entropy(real, is_real=True) + _cross_entropy(made, is_real=False)) / 2


def deception_loss(made: Tensor) -> Tensor:
    """Return how far made pictures are from being taken for real, a scalar; its slope is steepest where nobody is deceived.

    Goodfellow et al., Generative Adversarial Nets, 2014, section 3.
    """
    return _cross_entropy(made, is_real=True)


def _judge(recipe: Recipe, channels: int) -> nn.Module:
    seed = recipe.seed + 1  # not the network's own first weights
    if recipe.judge == "picture":
        return PictureDiscriminator(recipe.seen_px, recipe.width, seed=seed)
    return PatchDiscriminator(channels, recipe.width, seed=seed)


def _cross_entropy(logits: Tensor, *, is_real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))
