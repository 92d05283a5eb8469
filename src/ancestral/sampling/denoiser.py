"""Denoisers: functions of (x_t, t). Whatever conditions or limits a prediction wraps one and is one.

Feature caching (Ma et al. 2023, DeepCache): what the lower levels of a U-Net say of an image changes slowly along a
chain, and it is most of the work. They are computed only every so many calls; between two whole calls only the first
level is, from the new x_t and t, around the deep features of the last whole call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError, NonFinite
from ancestral.tensors import Data, Timesteps, broadcast_like, is_finite

Denoiser = Callable[[Data, Timesteps], Prediction]
"""(x_t (B, ...), t () int64) -> the estimate of x0 and eps at x_t, and the network's variance coefficient if any."""
Resumable = Callable[[Data, Tensor, Data | None], tuple[Data, Data]]
"""(x (B, ...), time (B,), deep features of an earlier call, or None for a whole call) -> (output, deep features)."""
FAINT = 1e-60  # a share of signal whose root float32 cannot divide by and stay finite


class Cached:
    """A resumable network as a plain one, whole at each `every`th call, from the first. It belongs to one chain."""

    def __init__(self, network: Resumable, every: int) -> None:
        self.network, self.every = network, every
        self.calls = 0
        self.deep: Data | None = None

    def __call__(self, x: Data, time: Tensor) -> Data:
        kept = self.deep if self.calls % self.every else None
        output, self.deep = self.network(x, time, kept)
        self.calls += 1
        return output


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network as a denoiser; its condition is already bound. One network call."""

    diffusion: GaussianDiffusion
    network: Callable[[Data, Tensor], Data]

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        output = self.diffusion.ask(self.network, x_t, self.diffusion.schedule.level(t))
        return self.diffusion.decode(output.to(x_t.dtype), x_t, t)


@dataclass(frozen=True)
class Finite:
    """A denoiser that says numbers; NaN and infinity stop here, before clipping could hide them.

    Where next to no signal is left, the x0 of a network that predicts eps may be infinite: clipping mends that.
    """

    denoise: Denoiser
    schedule: Schedule
    cause: Callable[[Data], str]  # what has probably led there, in words, from the x_t at which it happened

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        prediction = self.denoise(x_t, t)
        faint = float(self.schedule.alpha_bar_at(t).min()) < FAINT
        told = prediction.variance_coeff is None or is_finite(prediction.variance_coeff)
        if not (told and is_finite(prediction.eps) and (faint or is_finite(prediction.x0))):
            raise NonFinite(f"the prediction at t = {int(t.max())} is not finite: {self.cause(x_t)}")
        return prediction


@dataclass(frozen=True)
class StaticClip:
    """x0 clipped to [-bound, bound], eps recomputed so that the pair still makes x_t."""

    denoise: Denoiser
    schedule: Schedule
    bound: float = 1.0

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        prediction = self.denoise(x_t, t)
        x0 = prediction.x0.clamp(-self.bound, self.bound)
        return with_x0(self.schedule, x0, x_t, t)._replace(variance_coeff=prediction.variance_coeff)


@dataclass(frozen=True)
class DynamicClip:
    """x0 clipped to its own `quantile` of |x0|, at least `bound`, and scaled back to that (Saharia et al. 2022, section
    2.3)."""

    denoise: Denoiser
    schedule: Schedule
    quantile: float = 0.995
    bound: float = 1.0

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        prediction = self.denoise(x_t, t)
        x0 = prediction.x0
        reach = torch.quantile(x0.abs().flatten(1), self.quantile, dim=1).clamp(min=self.bound)
        most = broadcast_like(reach, x0)
        clipped = self.bound * torch.maximum(torch.minimum(x0, most), -most) / most
        return with_x0(self.schedule, clipped, x_t, t)._replace(variance_coeff=prediction.variance_coeff)


def clipped(
    denoise: Denoiser, schedule: Schedule, how: Literal["none", "static", "dynamic"], bound: float | None
) -> Denoiser:
    """`denoise` with its x0 kept in [-bound, bound] as the settings call it; a bound of None refuses all but none."""
    if how == "none":
        return denoise
    if bound is None:
        raise InputError(f"expected sampling.clip none, got {how}: the latents of this pipeline's codec have no bound")
    return StaticClip(denoise, schedule, bound) if how == "static" else DynamicClip(denoise, schedule, bound=bound)


def with_x0(schedule: Schedule, x0: Data, x_t: Data, t: Timesteps) -> Prediction:
    """The prediction with this x0, and the eps for which x_t = alpha_t x0 + sigma_t eps."""
    return Prediction(t, x0, (x_t - schedule.alpha(t, x_t) * x0) / schedule.sigma(t, x_t))
