"""Enhancers that need no trained network."""

import threading
from collections.abc import Callable

import torch

from deepflash.model.enhancement.enhancer import Enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.recipe import Recipe
from deepflash.model.runs import TrainedRun
from deepflash.photos import Photo


class Warming(torch.nn.Module):
    """Stands where the network stands: adds 0.4 of red, more than there is room for in the light, takes 0.1 of blue."""

    def __init__(self) -> None:
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return 0.5 - torch.tensor([0.2, 0.02, -0.05])[None, :, None, None].expand_as(prepared)


def warming_enhancer() -> Enhancer:
    return Enhancer(TrainedRun(Recipe(width=0.0625, size=64), Warming(), step=0))


class Slow:
    """An enhancer that works until it is let go, and counts."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.working = self.most = self.done = 0

    def develop(self, photo: Photo, look: Look) -> Callable[[float], Photo]:
        return lambda _strength: self.enhance(photo, look)

    def enhance(self, photo: Photo, _look: Look) -> Photo:
        self.working += 1
        self.most = max(self.most, self.working)
        self.begun.release()
        assert self.go.wait(30)
        self.working -= 1
        self.done += 1
        return photo
