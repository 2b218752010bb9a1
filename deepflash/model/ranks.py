"""Several processes that train one network together, started by `torchrun`; or one that trains alone.

Each process, a *rank*, works on its share of every batch; gradients are averaged over the ranks in each step. The first
rank alone writes, validates and tells.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from deepflash.errors import ModelError


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, chosen: list[int]) -> list[int]:
        """Return what of a batch is this rank's."""
        return chosen[self.rank :: self.count]

    def together(self, network: nn.Module) -> nn.Module:
        """Return what to call for the network's answer, so that backward passes average the ranks' gradients."""
        return network if self.count == 1 else nn.parallel.DistributedDataParallel(network)

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean of the ranks' values."""
        return self._reduced(value, device, distributed.ReduceOp.SUM) / self.count

    def any(self, flag: bool, device: torch.device) -> bool:
        """Say whether the flag is up in any rank."""
        return self._reduced(float(flag), device, distributed.ReduceOp.MAX) > 0

    def wait(self) -> None:
        """Wait for the other ranks."""
        if self.count > 1:
            distributed.barrier()

    def _reduced(self, value: float, device: torch.device, operation: distributed.ReduceOp.RedOpType) -> float:
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor, operation)
        return tensor.item()


def device_of_rank(device: str | None) -> str:
    """Return the device that this process is to use if none was named: its own GPU, or the CPU."""
    if device is not None:
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


@contextmanager
def joined(device: torch.device, batch: int, parts: int = 1) -> Iterator[Ranks]:
    """Join the other ranks for the time of the block, if `torchrun` has started several.

    Parameters
    ----------
    device
        That of this process.
    batch, parts
        Pictures of a step, and in how many equal parts each rank works on its share of them.

    Raises
    ------
    ModelError
        if a batch cannot be shared out evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    if batch % (count * parts):
        each = f", in {parts} parts each" if parts > 1 else ""
        raise ModelError(
            f"batches of {batch} pictures cannot be shared evenly by {count} processes{each}; change one of the two"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
