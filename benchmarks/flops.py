"""How much is computed: operations counted where torch dispatches them, on shapes alone.

Convolutions and matrix products are counted, two operations for each multiply-add; normalisations, activations and the
optimiser are not. A copy of the network on the `meta` device is run, so counting allocates and computes nothing.
Attention is counted in its written-out form: the fused kernels do the same products.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[Any, Tensor, Tensor], Any]
"""(network, x (B, C, H, W), time (B,)) -> its output."""


def forward_flops(network: nn.Module, call: Call, shape: tuple[int, ...]) -> int:
    """Operations of a forward pass on images of `shape` (B, C, H, W)."""
    return _count(network, call, shape, backward=False)


def step_flops(network: nn.Module, call: Call, shape: tuple[int, ...]) -> int:
    """Operations of a forward and a backward pass on images of `shape` (B, C, H, W)."""
    return _count(network, call, shape, backward=True)


def _count(network: nn.Module, call: Call, shape: tuple[int, ...], backward: bool) -> int:
    shadow = _without_numbers(network).train(backward).requires_grad_(backward)
    x, time = torch.zeros(shape, device="meta"), torch.zeros(shape[0], device="meta")
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(backward):
        output = call(shadow, x, time)
        if backward:
            torch.autograd.backward(output.sum())
    return int(counter.get_total_flops())


def _without_numbers(network: nn.Module) -> nn.Module:
    """A copy whose tensors have shapes only; nothing is allocated on the way, which `memory` would see."""
    parameters = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    buffers = {id(b): b.to("meta") for b in network.buffers()}
    return copy.deepcopy(network, {**parameters, **buffers})
