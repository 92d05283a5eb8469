"""Settings of the noise and of what the network predicts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import MOST_TIMESTEPS, NumTimesteps, PositiveFloat, Settings

Beta = Annotated[float, Field(gt=0, lt=1)]


class ScheduleSettings(Settings):
    """What every schedule has: alpha_bar over the timesteps says how the signal fades."""

    name: str
    num_timesteps: NumTimesteps = 1000
    """T, the number of noising steps."""

    @property
    def ends_without_signal(self) -> bool:
        """Whether nothing of the image is left at t = T."""
        return True


class RescalableSchedule(ScheduleSettings):
    """One that leaves a little of the image at t = T, unless it is told not to."""

    zero_terminal_snr: bool = False
    """Rescale so that nothing of the image is left at t = T (needs prediction x0, v or flow)."""

    @model_validator(mode="after")
    def _something_to_rescale(self) -> RescalableSchedule:
        if self.zero_terminal_snr and self.num_timesteps < 2:
            raise ValueError("expected at least two timesteps with zero_terminal_snr")
        return self

    @property
    def ends_without_signal(self) -> bool:
        return self.zero_terminal_snr


class LinearSchedule(RescalableSchedule):
    name: Literal["linear"] = "linear"
    beta_start: Beta = 1e-4
    """First beta at T = 1000 (1e-4; of scaled-linear 8.5e-4); rescaled by 1000 / T."""
    beta_end: Beta = 0.02
    """Last beta at T = 1000 (0.02; of scaled-linear 0.012); rescaled by 1000 / T."""


class ScaledLinearSchedule(RescalableSchedule):
    name: Literal["scaled-linear"] = "scaled-linear"
    beta_start: Beta = 8.5e-4
    """First beta at T = 1000; rescaled by 1000 / T."""
    beta_end: Beta = 0.012
    """Last beta at T = 1000; rescaled by 1000 / T."""


class CosineSchedule(RescalableSchedule):
    name: Literal["cosine"] = "cosine"


class SigmoidSchedule(RescalableSchedule):
    name: Literal["sigmoid"] = "sigmoid"


class LogSnrSchedule(RescalableSchedule):
    name: Literal["log-snr"] = "log-snr"
    log_snr_max: float = 13.3
    """Log-SNR at t = 1."""
    log_snr_min: float = -5.0
    """Log-SNR at t = T."""

    @model_validator(mode="after")
    def _falls(self) -> LogSnrSchedule:
        if self.log_snr_max <= self.log_snr_min:
            raise ValueError(f"expected log_snr_max above log_snr_min, got {self.log_snr_max} and {self.log_snr_min}")
        return self


class RectifiedSchedule(ScheduleSettings):
    name: Literal["rectified"] = "rectified"
    shift: PositiveFloat = 1.0
    """More noise at each t: sigma / alpha times this; 3 is usual for images of 1024 pixels."""


class BetasSchedule(RescalableSchedule):
    name: Literal["betas"] = "betas"
    betas: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(max_length=MOST_TIMESTEPS)] = ()
    """The T betas; only the last may be 1."""

    @model_validator(mode="after")
    def _one_a_timestep(self) -> BetasSchedule:
        if len(self.betas) != self.num_timesteps:
            raise ValueError(f"expected num_timesteps = {self.num_timesteps} betas, got {len(self.betas)}")
        return self

    @property
    def ends_without_signal(self) -> bool:
        return super().ends_without_signal or self.betas[-1] == 1


AnySchedule = (
    LinearSchedule | ScaledLinearSchedule | CosineSchedule | SigmoidSchedule | LogSnrSchedule | RectifiedSchedule
    | BetasSchedule
)  # fmt: skip

ReverseVariance = Literal["beta", "beta_published", "beta_tilde", "analytic"]  # of a network without a learned one


class DiffusionSettings(Settings):
    """The process and what the network predicts."""

    schedule: Annotated[AnySchedule, Field(discriminator="name")] = CosineSchedule()
    """linear, scaled-linear: in beta, its root. cosine, sigmoid: in alpha_bar. log-snr: in log-SNR. rectified: on the
    straight path of flow matching. betas: your own."""
    prediction: Literal["eps", "x0", "v", "flow", "levels"] = "eps"
    """What the network's output means: the noise, the image, v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0, the
    velocity eps - x0 of flow matching, or how likely each of the 256 levels of every pixel is."""
    variance: Literal["beta", "beta_published", "beta_tilde", "learned"] = "beta_tilde"
    """Variance of a reverse step: beta is exact for unit-variance data, beta_tilde for constant data; beta_published:
    beta, but of the last step beta_tilde, as in the DDPM paper's program; learned: the network says where between."""
    time: Literal["index", "thousandths", "log-snr", "flow", "sit"] = "index"
    """What the network is told of time: the timestep's index, the same as thousandths of T, or the log-SNR, which also
    names the times between. flow: 1000 tau, beside x_t on the straight path, as networks of flow matching are
    elsewhere. sit: as SiT's are."""

    @property
    def tells_noise(self) -> bool:
        """Whether the network is told the noise itself, and so knows it under any schedule."""
        return self.time not in ("index", "thousandths")

    @model_validator(mode="after")
    def _something_to_predict_from(self) -> DiffusionSettings:
        if self.schedule.ends_without_signal and self.prediction == "eps":
            raise ValueError("expected prediction x0, v or flow where nothing of x0 is left at t = T: eps says nothing")
        if self.time == "sit" and (self.prediction != "flow" or self.variance == "learned"):
            raise ValueError("expected prediction flow and no variance learned with time sit")
        return self
