"""UniPC (Zhao et al. 2023): the prediction at the end of a step also corrects the step that led there.

UniPC-p steps from t to s by the polynomial through p predictions (predictor: UniP-p). At s the network is called once,
at the predicted x_s; with that prediction as one more node the step from t to s is done again (corrector: UniC-p), and
the next step sets out from the corrected x_s. Both are (2) of `exponential`; for two nodes the paper's a = 1/2 with its
second choice of B(h) is the rule (7), and for more B(h) drops out and the weights are those of (5). The call is not
repeated at the corrected x_s, whose error over a chain is h^(p+1): the order is p + 1 for one network call a step.

The corrected x_s is remembered in the prediction itself: its x_0 is what the network said at the predicted x_s, and its
eps is the one that makes the corrected x_s with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser, with_x0
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.exponential import by_x0, first_order, is_finite
from ancestral.sampling.samplers.multistep import latest
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class _UniPC(Sampler):
    """UniPC-p with p = order - 1."""

    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """The predicted x_s; corrects x_t before."""
        prediction = denoise(x_t, t)
        if past and is_finite(self.schedule, past[-1].t):
            x_t = self._corrected(x_t, prediction, past)
            prediction = prediction._replace(eps=with_x0(self.schedule, prediction.x0, x_t, t).eps)
        known = latest(self.schedule, prediction, past, self.order - 1)
        if s == 0 or not is_finite(self.schedule, t):
            return first_order(self.schedule, prediction, s), prediction
        return by_x0(self.schedule, x_t, t, s, known), prediction

    def _corrected(self, x_t: Data, prediction: Prediction, past: Sequence[Prediction]) -> Data:
        """x_t by the step that led there, with the prediction made at its end."""
        before = past[-1]
        x_before = first_order(self.schedule, before, before.t)
        return by_x0(
            self.schedule, x_before, before.t, prediction.t, latest(self.schedule, prediction, past, self.order)
        )


@dataclass(frozen=True)
class UniPC1(_UniPC):
    """UniPC-1: DDIM, corrected. Deterministic, one network call."""

    order: ClassVar[int] = 2


@dataclass(frozen=True)
class UniPC2(_UniPC):
    """UniPC-2: 2M, corrected. Deterministic, one network call."""

    order: ClassVar[int] = 3


@dataclass(frozen=True)
class UniPC3(_UniPC):
    """UniPC-3: 3M, corrected. Deterministic, one network call."""

    order: ClassVar[int] = 4
