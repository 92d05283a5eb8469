"""Settings of the noise and of what the network predicts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import MOST_TIMESTEPS, NumTimesteps, Settings


class ScheduleSettings(Settings):
    """How the signal fades: alpha_bar over the timesteps. Ends left at None take the schedule's published values."""

    name: Literal["linear", "cosine", "scaled-linear", "sigmoid", "log-snr", "betas"] = "cosine"
    """linear, scaled-linear: in beta, its root. cosine, sigmoid: in alpha_bar. log-snr: in log-SNR. betas: your own."""
    num_timesteps: NumTimesteps = 1000
    """T, the number of noising steps."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] | None = None
    """First beta of linear (1e-4) and scaled-linear (8.5e-4), at T = 1000; rescaled by 1000 / T."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Last beta of linear (0.02) and scaled-linear (0.012), at T = 1000; rescaled by 1000 / T."""
    log_snr_max: float | None = None
    """Log-SNR at t = 1 of log-snr (13.3)."""
    log_snr_min: float | None = None
    """Log-SNR at t = T of log-snr (-5)."""
    betas: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(max_length=MOST_TIMESTEPS)] | None = None
    """The T betas of the schedule `betas`; only the last may be 1."""
    zero_terminal_snr: bool = False
    """Rescale so that nothing of the image is left at t = T (needs prediction x0 or v)."""

    @model_validator(mode="after")
    def _only_what_the_schedule_uses(self) -> ScheduleSettings:
        linear, log_snr = ("linear", "scaled-linear"), ("log-snr",)
        users = {"beta_start": linear, "beta_end": linear, "log_snr_max": log_snr, "log_snr_min": log_snr}
        for field, schedules in {**users, "betas": ("betas",)}.items():
            if getattr(self, field) is not None and self.name not in schedules:
                raise ValueError(f"expected no {field} with the schedule {self.name}, which does not use it")
        top = 13.3 if self.log_snr_max is None else self.log_snr_max
        bottom = -5.0 if self.log_snr_min is None else self.log_snr_min
        if top <= bottom:
            raise ValueError(f"expected log_snr_max above log_snr_min, got {top} and {bottom}")
        if self.zero_terminal_snr and self.num_timesteps < 2:
            raise ValueError("expected at least two timesteps with zero_terminal_snr")
        if self.name == "betas" and len(self.betas or ()) != self.num_timesteps:
            raise ValueError(f"expected num_timesteps = {self.num_timesteps} betas, got {len(self.betas or ())}")
        return self


ReverseVariance = Literal["beta", "beta_published", "beta_tilde", "analytic"]  # of a network without a learned one


class DiffusionSettings(Settings):
    """The process and what the network predicts."""

    schedule: ScheduleSettings = ScheduleSettings()
    prediction: Literal["eps", "x0", "v", "levels"] = "eps"
    """What the network's output means: the noise, the image, v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0, or how
    likely each of the 256 levels of every pixel is."""
    variance: Literal["beta", "beta_published", "beta_tilde", "learned"] = "beta_tilde"
    """Variance of a reverse step: beta is exact for unit-variance data, beta_tilde for constant data; beta_published:
    beta, but of the last step beta_tilde, as in the DDPM paper's program; learned: the network says where between."""
    time: Literal["index", "log-snr"] = "index"
    """What the network is told of time: the timestep's index, or the log-SNR, which also names the times between."""

    @model_validator(mode="after")
    def _something_to_predict_from(self) -> DiffusionSettings:
        no_signal = self.schedule.zero_terminal_snr or (self.schedule.betas or (0.0,))[-1] == 1
        if no_signal and self.prediction == "eps":
            raise ValueError("expected prediction x0 or v with zero_terminal_snr (at t = T, eps says nothing of x0)")
        return self
