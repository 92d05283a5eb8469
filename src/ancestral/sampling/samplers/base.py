"""What a sampler is: settings, an order, a cost, and one step from t to any s < t.

Onto s = 0, where no noise is left, every sampler gives x_0 as predicted and draws nothing: there e^-h = 0, and all
polynomials but the constant would reach infinitely far. The first steps of a multistep sampler have fewer predictions
behind them and are of lower order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ancestral.diffusion.process import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Timesteps

Noise = Callable[[], Data]
"""The next standard normal draw, (B, ...): called only by a step that needs it."""

Grid = Literal["trailing", "log-snr", "middle", "karras", "quadratic"]
"""Where steps fall: a method of `Schedule` each."""


@dataclass(frozen=True)
class Sampler(ABC):
    """Settings and no state. `order`: the error of steps of size h falls as h ** order (a test measures it).

    `calls`: network calls of a step at full order; `grid`: the grid on which the order is claimed.
    """

    order: ClassVar[int]
    calls: ClassVar[int] = 1
    grid: ClassVar[Grid] = "log-snr"

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return False

    def network_calls(self, steps: int) -> int:
        """Network calls of so many steps down to 0, at most: the last one, onto 0, is one call."""
        return (steps - 1) * self.calls + 1

    @abstractmethod
    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """(x_s, the prediction at x_t), 0 <= s < t <= T.

        Args:
            past: what the last few steps before this one returned as predictions, oldest first.
        """
