"""Averages of the weights: the one that samples are generated with, and two that others are rebuilt of.

The first is over the last steps. After n updates the decay is min(decay, (1 + n) / (10 + n)). While young the average
spans about the last tenth of the run, so a short run is not left with its initial weights; once old it spans
1 / (1 - decay) steps. The other two always span the same share of the run (power_average.py).
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ancestral.training.power_average import decay_after, gamma_of


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
        means, weights = (list(each) for each in zip(*pairs, strict=True))
        _move(means, weights, (1 - decay) * taken)
        self.updates += taken

    @torch.no_grad()
    def take_buffers(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """What a network keeps beside its weights, such as the statistics of batch norm, is its newest."""
        for own, newest in pairs:
            own.copy_(newest)


class PowerAverages:
    """Averages of the lengths that are named: `means`, of each, by name of the weight, as the weights lie."""

    def __init__(self, weights: Mapping[str, Tensor], lengths: Mapping[str, float]) -> None:
        self.gammas = {group: gamma_of(length) for group, length in lengths.items()}
        self.means = {group: {name: each.detach().clone() for name, each in weights.items()} for group in lengths}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], updates: Tensor, taken: Tensor | float = 1.0) -> None:
        """Moves them towards the weights by the update after `updates` others; not where `taken`, a () tensor, is
        false."""
        for group, gamma in self.gammas.items():
            _move([*self.means[group].values()], [*weights.values()], (1 - decay_after(updates, gamma)) * taken)


def _move(means: list[Tensor], weights: list[Tensor], share: Tensor) -> None:
    """A share, () float64, of the way from the averages to the weights."""
    torch._foreach_lerp_(means, weights, [share.to(means[0].dtype)] * len(means))
