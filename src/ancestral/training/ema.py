"""An average of the weights over the last steps: what samples are generated with.

After n updates the decay is min(decay, (1 + n) / (10 + n)). While young the average spans about the last tenth of the
run, so a short run is not left with its initial weights; once old it spans 1 / (1 - decay) steps.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class ExponentialAverage:
    """`network` is the averaged copy, in evaluation mode; `updates` is n, () float64, counted where the weights are,
    since only there is it known at once whether a step was taken."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = torch.zeros((), dtype=torch.float64, device=next(network.parameters()).device)

    @torch.no_grad()
    def update(self, pairs: Iterable[tuple[Tensor, Tensor]], taken: Tensor | float = 1.0) -> None:
        """Moves each average towards its weight by one step; not where `taken`, a () tensor, is false.

        Args:
            pairs: (averaged, current), of every weight or of the rows that this process holds.
        """
        decay = ((1 + self.updates) / (10 + self.updates)).clamp(max=self.decay)
        weight = ((1 - decay) * taken).float()
        means, weights = (list(each) for each in zip(*pairs, strict=True))
        torch._foreach_lerp_(means, weights, [weight] * len(means))
        self.updates += taken

    @torch.no_grad()
    def take_buffers(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """What a network keeps beside its weights, such as the statistics of batch norm, is its newest."""
        for own, newest in pairs:
            own.copy_(newest)
