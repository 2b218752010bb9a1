"""What a network costs: parameters, multiply-accumulates, time."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor, nn

_WARM_UP_CALLS = 2
_TIMED_CALLS = 7


@dataclass(frozen=True)
class Cost:
    """What one picture costs.

    Attributes
    ----------
    parameters
        Numbers that are trained.
    multiply_accumulates
        Of one picture's convolutions and linear layers.
    milliseconds
        Median time from flash picture to result, on the device at hand. Two costs that differ in it alone are equal.
    """

    parameters: int
    multiply_accumulates: int
    milliseconds: float = field(compare=False)


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_accumulates(network: nn.Module, height: int, width: int) -> int:
    """Count the multiply-accumulates of convolutions, transposed convolutions and linear layers for one RGB picture.

    Element-wise work, normalisation and interpolation are left out, as is the field's habit. Nothing is computed: the shapes
    pass through a copy of the network that holds no numbers.
    """
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Multiply: a weight of one output channel (of one input channel, if transposed) is used once for each place."""
        weight = layer.weight
        if isinstance(weight, Tensor):
            counts.append(weight[0].numel() * (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output).numel())

    shadow = copy.deepcopy(network).to("meta")
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, 3, height, width, device="meta"))
    return sum(counts)


def median_milliseconds(make: Callable[[Tensor], Tensor], picture: Tensor) -> float:
    """Time how long `make` takes for a picture, on the picture's device: the median of seven calls after two."""
    times = [_seconds(make, picture) for _ in range(_WARM_UP_CALLS + _TIMED_CALLS)]
    return 1000 * median(times[_WARM_UP_CALLS:])


def _seconds(make: Callable[[Tensor], Tensor], picture: Tensor) -> float:
    began_s = time.perf_counter()
    make(picture)
    if picture.device.type == "cuda":
        torch.cuda.synchronize(picture.device)  # a GPU's work is only ordered when the call returns
    return time.perf_counter() - began_s
