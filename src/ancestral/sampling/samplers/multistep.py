"""What multistep samplers share: one network call a step, and a polynomial through it and the calls before."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.exponential import first_order, is_finite
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class Multistep(Sampler):
    """Follows the probability flow by the last `order` predictions, or as many as there are."""

    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s of the probability flow."""
        prediction = denoise(x_t, t)
        known = latest(self.schedule, prediction, past, self.order)
        if s == 0 or len(known) == 1:
            return first_order(self.schedule, prediction, s), prediction
        return self.follow(x_t, t, s, known), prediction

    @abstractmethod
    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s from two predictions or more, the newest, at x_t, first; signal and noise are left at all, and at s."""


def latest(schedule: Schedule, prediction: Prediction, past: Sequence[Prediction], count: int) -> list[Prediction]:
    """Up to `count` predictions, newest first, that one polynomial in log-SNR can go through.

    Where no signal is left the log-SNR is infinite: a prediction made there stands alone, and is no past of others.
    """
    newest = [prediction, *reversed(past)][:count]
    return [each for each in newest if is_finite(schedule, each.t)] or [prediction]
