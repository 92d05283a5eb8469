"""The randomness of a step: when each image is looked at, its noise, and whether its label is hidden.

All of it is a function of (seed, step), and with importance sampling of the recent losses; and it is drawn for the
whole batch, of which each process takes its share.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.data.loader import sent
from ancestral.diffusion.timesteps import (
    RecentLosses,
    SampledTimesteps,
    even,
    independent,
    sample_timesteps,
    stratified,
)
from ancestral.rng import generator
from ancestral.settings import TrainingSettings


class Randomness(NamedTuple):
    """The randomness of one step, on the device: times (B,), eps (B, C, H, W), hidden (B,) bool.

    The network does not see the labels that are hidden. eps is drawn on the device: no copy of it has to be sent.
    """

    times: SampledTimesteps
    eps: Tensor
    hidden: Tensor


def randomness_of(
    settings: TrainingSettings,
    seed: int,
    step: int,
    shape: Sequence[int],
    num_timesteps: int,
    device: torch.device,
    recent: RecentLosses | None,
) -> Randomness:
    """That of a step.

    Args:
        shape: (C, H, W) of an image.
        recent: losses to sample the timesteps by; None: as `settings.timesteps` says.
    """
    size, T = settings.batch_size, num_timesteps
    t_generator, hidden_generator = (generator(seed, name, step) for name in ("t", "label-dropout"))
    eps_generator = generator(seed, "eps", step, device=device)
    if settings.timesteps == "uniform":
        t = torch.randint(1, T + 1, (size,), generator=t_generator)
        times = SampledTimesteps(t, torch.ones(size, dtype=torch.float64), independent(size, t_generator))
    else:
        probabilities = even(T) if recent is None else recent.probabilities()
        times = sample_timesteps(probabilities, stratified(size, t_generator))
    hidden = torch.rand(size, generator=hidden_generator) < settings.label_dropout
    eps = torch.randn(size, *shape, generator=eps_generator, device=device)
    return Randomness(SampledTimesteps(*(sent(each, device) for each in times)), eps, sent(hidden, device))
