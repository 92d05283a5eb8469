"""A network's call, compiled or left as it is.

Shapes are taken as fixed, and each is compiled once: a batch in parts whose last is smaller has two. Compiling changes
how a call is computed and nothing of the module, whose tensors keep their names and whose copies are not compiled.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ancestral.errors import InputError

SHAPES = 64  # shapes that one piece of code may be compiled for; torch gives up at 8


def compiled(network: nn.Module, how: Literal["no", "whole"]) -> Callable[..., Tensor]:
    """What to call in place of `network`. The first call with a shape compiles, which takes a minute or more."""
    if how == "no":
        return network
    _rehearse(next(network.parameters()).device)
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, SHAPES)
    return torch.compile(network, dynamic=False)


def _rehearse(device: torch.device) -> None:
    """Compiles next to nothing, forward and backward: what fails is said now, and not in the middle of a step."""
    x = torch.ones(64, device=device, requires_grad=True)
    try:
        torch.autograd.backward(torch.compile(lambda x: (x * torch.sigmoid(x)).sum())(x))
    except Exception as fault:  # for want of a C compiler most often
        said = str(fault).strip().splitlines() or [type(fault).__name__]
        raise InputError(f"expected torch to compile for {device}, got: {said[0]}; set --compute.compile no") from None
