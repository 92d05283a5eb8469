"""Algorithm 2 of Ho et al. 2020, as a generator of steps, from which bars, films and tests take what they need:

x_T ~ N(0, I)
for t, s in pairs of falling timesteps
    estimate (x_0, eps) at x_t
    x_s from x_t, the estimate and, where the sampler wants it, z ~ N(0, I)
return x_0
"""

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

REMEMBERED = 4  # predictions kept for multistep samplers: enough for order 4


class Step(NamedTuple):
    """One step t -> s: from x_t to x_s, (B, ...), by way of the estimate of x0 made at x_t, (B, ...)."""

    t: int
    s: int
    x_t: Data
    x_s: Data
    x0: Data


class Chain(NamedTuple):
    """All that a chain from noise to images is made of: what `sample` wants."""

    denoise: Denoiser
    sampler: Sampler
    x_T: Data  # noise at timesteps[0]
    timesteps: Timesteps  # (steps + 1,) int64, falling
    noise: Noise

    def steps(self) -> Iterator[Step]:
        """As of `computed`."""
        return computed(sample(*self), len(self.timesteps) - 1)


def sample(
    denoise: Denoiser, sampler: Sampler, x_T: Data, timesteps: Timesteps, noise: Noise, past: Sequence[Prediction] = ()
) -> Iterator[Step]:
    """Steps along `timesteps`, (steps + 1,) int64, falling; the last one, usually onto 0, holds the sample in `x_s`.

    `past`: predictions made on the way to x_T, oldest first, where a chain is taken up again.
    """
    if timesteps.ndim != 1 or len(timesteps) < 2 or not bool((timesteps.diff() < 0).all()) or timesteps[-1] < 0:
        raise ValueError(f"expected at least two falling timesteps down to 0 or more, got {timesteps.tolist()}")
    x_t, remembered = x_T, deque(past, maxlen=REMEMBERED)
    for t, s in itertools.pairwise(timesteps):
        x_s, prediction = sampler.step(denoise, x_t, t, s, remembered, noise)
        remembered.append(prediction)
        yield Step(int(t), int(s), x_t, x_s, prediction.x0)
        x_t = x_s


def computed(steps: Iterator[Step], count: int) -> Iterator[Step]:
    """The same `count` steps, each computed in inference mode, which is off again in the caller's code between two.

    Raises NonFinite at the first step that leads to NaN or infinity, which is not yielded.
    """
    for number in itertools.count(1):
        try:
            with torch.inference_mode():
                step = next(steps, None)
                # the network's predictions are checked where they are made; what a sampler makes of them, here
                if step is not None and not is_finite(step.x_s):
                    raise NonFinite(
                        f"x at t = {step.s} is not finite, though every prediction was: the sampler or its guidance "
                        "diverged; take more steps, less guidance, or clip static"
                    )
        except NonFinite as fault:
            raise NonFinite(f"step {number} of {count}: {fault}") from None
        if step is None:
            return
        yield step
