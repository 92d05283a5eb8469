"""Classifier-free guidance (Ho and Salimans 2022).

    eps = eps_cond + (scale - 1) (eps_cond - eps_null)                                          (1)

x_t = a x_0 + s eps for both predictions, so the same combination of their x_0 is the x_0 of (1). Scale 1 is exactly
the conditional prediction, scale 0 exactly the unconditional mean in real arithmetic. A spread is no direction to
push in: it is the conditional prediction's own.
"""

from dataclasses import dataclass

from ancestral.diffusion.parameterization import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class ClassifierFree:
    """Pushes a conditional prediction away from the unconditional one by (1). Two network calls a step."""

    conditional: Denoiser
    unconditional: Denoiser
    scale: float

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        given, null = self.conditional(x_t, t), self.unconditional(x_t, t)
        push = self.scale - 1
        x0, eps = given.x0 + push * (given.x0 - null.x0), given.eps + push * (given.eps - null.eps)
        return Prediction(t, x0, eps, given.spread)
