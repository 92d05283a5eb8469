"""What a sampler is: settings, an order, a cost, and one step from t to any s < t.

Onto s = 0, where no noise is left, every sampler gives x_0 as predicted and draws nothing: there e^-h = 0, and all
polynomials but the constant would reach infinitely far. The first steps of a multistep sampler have fewer predictions
behind them and are of lower order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

from ancestral.diffusion.process import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Timesteps

Noise = Callable[[], Data]  # the next standard normal draw, (B, ...): called only by a step that needs it
Grid = Literal["trailing", "log-snr", "middle", "karras", "quadratic"]
"""Where steps fall: a method of `Schedule` each."""


class Sampler(ABC):
    """Settings and no state: its classes are frozen dataclasses."""

    order: int  # the error of steps of size h falls as h ** order, which a test measures
    calls: int = 1  # network calls of a step at full order
    grid: Grid = "log-snr"  # on which the order is claimed
    eta: float = 0.0  # how much of the noise a step renews: 0 none, 1 as much as ancestral sampling

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return self.eta > 0

    def network_calls(self, steps: int) -> int:
        """Network calls of so many steps down to 0, at most: the last one, onto 0, is one call."""
        return (steps - 1) * self.calls + 1

    @abstractmethod
    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """(x_s, the prediction at x_t), 0 <= s < t <= T; `past`: the predictions of earlier steps, oldest first."""
