"""Multiply-accumulates: against arithmetic on layer tables, and against torch's own counter."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepflash.model.cost import Cost, count_parameters, median_milliseconds, multiply_accumulates
from deepflash.model.light import Light
from deepflash.model.network import DeepFlash


def test_a_network_whose_work_is_known() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 3 * 9 for each of 8 channels of 10 x 12
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),  # 9 for each of 8 channels of 5 x 6
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1),  # 4 * 16 for each of 8 channels of 5 x 6
        nn.Flatten(),
        nn.Linear(4 * 10 * 12, 7),
    )
    assert multiply_accumulates(network, 10, 12) == 27 * 8 * 120 + 9 * 8 * 30 + 64 * 8 * 30 + 480 * 7
    assert count_parameters(network) == (27 * 8 + 8) + (9 * 8 + 8) + (8 * 4 * 16 + 4) + (480 * 7 + 7)


@pytest.mark.parametrize("network", [DeepFlash(0.125), Light(0.25)], ids=["deepflash", "light"])
def test_torch_counts_the_same(network: nn.Module) -> None:
    """It counts a multiplication and an addition as two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 96))
    assert multiply_accumulates(network, 64, 96) == counter.get_total_flops() // 2


def test_counting_leaves_the_network_as_it_was() -> None:
    network = Light(0.125)
    before = copy.deepcopy(network.state_dict())
    multiply_accumulates(network, 64, 64)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_time_is_measured_over_several_calls_and_does_not_tell_costs_apart() -> None:
    calls: list[torch.Tensor] = []
    assert median_milliseconds(lambda picture: calls.append(picture) or picture, torch.zeros(1)) >= 0
    assert len(calls) == 9
    assert Cost(1, 2, 3.0) == Cost(1, 2, 4.0)
    assert Cost(1, 2, 3.0) != Cost(1, 3, 3.0)
