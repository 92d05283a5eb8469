"""An average of the weights over the last steps: what samples are drawn with.

After n updates the decay is min(decay, (1 + n) / (10 + n)). While young the average spans about the last tenth of the
run, so a short run is not left with its initial weights; once old it spans 1 / (1 - decay) steps.
"""

import copy

import torch
from torch import nn


class ExponentialAverage:
    """`network` is the averaged copy, in evaluation mode; `updates` is n, saved with it."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average towards `network` by one step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_([*self.network.parameters()], [*network.parameters()], 1 - decay)
        self.updates += 1
