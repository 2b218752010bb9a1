"""Where a network's arithmetic must not be short."""

import torch


def full_precision(device: torch.device) -> torch.autocast:
    """Switch autocast off for a while: bfloat16 has eight bits, which show as bands in what is a picture already.

    The device `meta`, on which costs are counted, has no autocast; there nothing is switched.
    """
    return torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False)
