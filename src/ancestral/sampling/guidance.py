"""Classifier-free guidance (Ho and Salimans 2022).

    eps = eps_cond + (scale - 1) (eps_cond - eps_null)                                          (1)

x_t = a x_0 + s eps for both predictions, so the same combination of their x_0 is the x_0 of (1). Scale 1 is exactly
the conditional prediction, scale 0 exactly the unconditional mean in real arithmetic. A spread is no direction to
push in: it is the conditional prediction's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Timesteps

Pair = Callable[[Data, Timesteps], tuple[Prediction, Prediction]]
"""(x_t (B, ...), t () int64) -> the conditional and the unconditional prediction at the same x_t."""


@dataclass(frozen=True)
class TwoCalls:
    """The pair by two denoisers, one after the other."""

    conditional: Denoiser
    unconditional: Denoiser

    def __call__(self, x_t: Data, t: Timesteps) -> tuple[Prediction, Prediction]:
        return self.conditional(x_t, t), self.unconditional(x_t, t)


@dataclass(frozen=True)
class OneCall:
    """The pair by one denoiser, whose condition is bound to a batch of 2B: B conditional, then B unconditional."""

    denoise: Denoiser

    def __call__(self, x_t: Data, t: Timesteps) -> tuple[Prediction, Prediction]:
        both = self.denoise(torch.cat([x_t, x_t]), t)
        halves = zip(both.x0.chunk(2), both.eps.chunk(2), _halves(both.spread), strict=True)
        given, null = (Prediction(t, x0, eps, spread) for x0, eps, spread in halves)
        return given, null


def _halves(spread: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if spread is None else (spread[: len(spread) // 2], spread[len(spread) // 2 :])


@dataclass(frozen=True)
class ClassifierFree:
    """Pushes a conditional prediction away from the unconditional one by (1)."""

    pair: Pair
    scale: float

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        given, null = self.pair(x_t, t)
        push = self.scale - 1
        x0, eps = given.x0 + push * (given.x0 - null.x0), given.eps + push * (given.eps - null.eps)
        return Prediction(t, x0, eps, given.spread)
