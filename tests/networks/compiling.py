"""Compiles the named blocks of the paper's network; prints how far their gradients are from those computed as they are.

Run by a test in a process of its own: the suite's checks of shapes cannot be compiled.
"""

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ancestral.networks.blocks import Attention, ResnetBlock, time_width
from ancestral.networks.compiled import compiled
from ancestral.settings import UNetSettings

SETTINGS = UNetSettings(widths=(128, 256), attention=(1,), norm_eps=1e-6)
BATCH = 2


def with_random_weights(block: nn.Module) -> nn.Module:
    """Last layers start at 0, and nothing flows back through them."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.05)
    return block.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def gradients(block: nn.Module, call: Callable[..., Tensor], inputs: list[Tensor]) -> dict[str, Tensor]:
    """Of a random projection of the output, by parameter and input."""
    leaves = [each.clone().requires_grad_(True) for each in inputs]
    output = call(*leaves)
    toward = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((output * toward).sum())
    found = {name: parameter.grad for name, parameter in block.named_parameters()}
    block.zero_grad(set_to_none=True)
    return {**found, **{f"input {i}": leaf.grad for i, leaf in enumerate(leaves)}}  # type: ignore[dict-item]


def differences(block: nn.Module, inputs: list[Tensor]) -> dict[str, float]:
    """Relative to the largest entry of the gradient computed as it is.

    A bias of the keys adds the same to every score of a query, and softmax does not see it: its gradient is 0 but for
    rounding, and is compared on the scale of that of the queries.
    """
    plain = gradients(block, block, inputs)
    fast = gradients(block, compiled(block, "whole"), inputs)
    scales = {name: plain[name.replace("to_k.bias", "to_q.bias")].abs().max() for name in plain}
    return {name: float((fast[name] - plain[name]).abs().max() / scales[name]) for name in plain}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, pixels = torch.randn(BATCH, 128, 32, 32), torch.randn(BATCH, 256, 16, 16)
    images, pixels = (each.to(memory_format=torch.channels_last) for each in (images, pixels))
    time = torch.randn(BATCH, time_width(SETTINGS))
    blocks: dict[str, tuple[nn.Module, list[Tensor]]] = {
        "resnet": (ResnetBlock(SETTINGS, 128, 128), [images, time]),
        "attention": (Attention(SETTINGS, 256), [pixels]),
    }
    found = {name: differences(with_random_weights(blocks[name][0]), blocks[name][1]) for name in sys.argv[1:]}
    frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    print(json.dumps({"differences": found, "graphs": frames}))
