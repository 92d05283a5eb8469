"""A step of any sampler with all that it was made of, as the names of a plan call it (sampling/plan.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ancestral.diffusion.process import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.plan import PlanMove, move_of
from ancestral.sampling.samplers import Noise, Sampler
from ancestral.tensors import Data, Timesteps

Limit = Callable[[Denoiser], Denoiser]
"""What keeps the x0 of a denoiser within bounds."""


class SeenCall(NamedTuple):
    """One prediction, before and after its x0 was limited."""

    x: Data
    unclipped: Prediction
    prediction: Prediction


class SeenStep(NamedTuple):
    """A step t -> s: its predictions and those remembered, oldest first, and the noise it drew."""

    sampler: Sampler
    t: Timesteps
    s: Timesteps
    past: list[Prediction]
    calls: list[SeenCall]
    noise: list[Data]  # at most one

    def move(self) -> PlanMove:
        """Its table."""
        before = torch.tensor([int(prediction.t) for prediction in self.past], dtype=torch.int64)
        return move_of(self.sampler, before, self.t.cpu(), self.s.cpu())

    def values(self) -> dict[str, Data]:
        """Its vectors."""
        pairs = enumerate([*self.past, *(call.prediction for call in self.calls)], -len(self.past))
        predicted = {f"{kind}.{i}": getattr(pair, kind) for i, pair in pairs for kind in ("x0", "eps")}
        return {"x": self.calls[0].x, **predicted, **dict(zip(["noise"], self.noise, strict=False))}


@dataclass(frozen=True)
class SeenSampler(Sampler):
    """A sampler whose predictions are limited, and whose last step is in `seen`."""

    sampler: Sampler
    limit: Limit
    seen: list[SeenStep] = field(default_factory=list)

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        step = SeenStep(self.sampler, t, s, [*past], [], [])
        self.seen[:] = [step]

        def predict(x: Data, at: Timesteps) -> Prediction:
            unclipped = denoise(x, at)
            step.calls.append(SeenCall(x, unclipped, self.limit(lambda *_: unclipped)(x, at)))
            return step.calls[-1].prediction

        def draw() -> Data:
            step.noise.append(noise())
            return step.noise[-1]

        return self.sampler.step(predict, x_t, t, s, past, draw)
