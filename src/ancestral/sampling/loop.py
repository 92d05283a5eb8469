"""The sampling loop: a generator of steps, from which bars, films and tests take what they need."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from ancestral.diffusion.process import Prediction
from ancestral.errors import NonFinite
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers import Noise, Sampler
from ancestral.tensors import Data, Timesteps, is_finite

REMEMBERED = 4
"""Predictions kept for multistep samplers: enough for order 4, and a long chain does not fill memory."""


class Step(NamedTuple):
    """One step t -> s: where it arrived, x_s (B, ...), and the estimate of x0 made at x_t, (B, ...)."""

    t: int
    s: int
    x: Data
    x0: Data


def sample(
    denoise: Denoiser,
    sampler: Sampler,
    x_T: Data,
    timesteps: Timesteps,
    noise: Noise,
    past: Sequence[Prediction] = (),
) -> Iterator[Step]:
    """Steps along `timesteps`, from x_T to x_0; the last one holds the sample in `x`.

    Args:
        x_T: (B, ...) noise at timesteps[0].
        timesteps: (steps + 1,) int64, falling; the last is usually 0.
        past: predictions made on the way to x_T, oldest first, where a chain is taken up again; usually none.

    Raises:
        ValueError: timesteps that do not fall.
    """
    if timesteps.ndim != 1 or len(timesteps) < 2 or not bool((timesteps.diff() < 0).all()) or timesteps[-1] < 0:
        raise ValueError(f"expected at least two falling timesteps down to 0 or more, got {timesteps.tolist()}")
    x, remembered = x_T, deque(past, maxlen=REMEMBERED)
    for t, s in itertools.pairwise(timesteps):
        x, prediction = sampler.step(denoise, x, t, s, remembered, noise)
        remembered.append(prediction)
        yield Step(int(t), int(s), x, prediction.x0)


def computed(steps: Iterator[Step], count: int) -> Iterator[Step]:
    """The same `count` steps, each computed in inference mode, which is off again in the caller's code between two.

    Raises:
        NonFinite: at the first step that leads to NaN or infinity, which is not yielded.
    """
    for number in itertools.count(1):
        try:
            with torch.inference_mode():
                step = next(steps, None)
                _check(step)
        except NonFinite as fault:
            raise NonFinite(f"step {number} of {count}: {fault}") from None
        if step is None:
            return
        yield step


def _check(step: Step | None) -> None:
    """The network's predictions are checked where they are made; what a sampler makes of them, here."""
    if step is not None and not is_finite(step.x):
        raise NonFinite(
            f"x at t = {step.s} is not finite, though every prediction was: the sampler or its guidance diverged; "
            "take more steps, less guidance, or clip static"
        )
