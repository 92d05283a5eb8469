"""Settings to what they name: schedules, processes, samplers and grids. A name stands in one table, here."""

from collections.abc import Callable

from ancestral.config import DiffusionSettings, ImageSpec, SamplingSettings, ScheduleSettings
from ancestral.diffusion import schedules
from ancestral.diffusion.levels import PredictsLevels
from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.diffusion.variances import Variance, beta, beta_tilde, interpolated
from ancestral.errors import InputError
from ancestral.sampling import samplers
from ancestral.sampling.samplers import Sampler
from ancestral.tensors import Timesteps

PARAMETERIZATIONS: dict[str, Parameterization] = {
    "eps": PredictsEps(),
    "x0": PredictsX0(),
    "v": PredictsV(),
    "levels": PredictsLevels(),
}
VARIANCES: dict[str, Variance] = {"beta": beta, "beta_tilde": beta_tilde, "learned": interpolated}
FLOWS: dict[str, Callable[[Schedule], Sampler]] = {
    "euler": samplers.Euler,
    "heun": samplers.Heun,
    "dpm++2m": samplers.DPMSolver2M,
    "dpm++3m": samplers.DPMSolver3M,
    "dpm++2s": samplers.DPMSolver2S,
    "dpm++3s": samplers.DPMSolver3S,
    "unipc-1": samplers.UniPC1,
    "unipc-2": samplers.UniPC2,
    "unipc-3": samplers.UniPC3,
    "deis-2": samplers.DEIS2,
    "deis-3": samplers.DEIS3,
    "deis-4": samplers.DEIS4,
    "ipndm-2": samplers.IPNDM2,
    "ipndm-3": samplers.IPNDM3,
    "ipndm-4": samplers.IPNDM4,
}
"""Samplers that follow the probability flow and have no settings."""
GRIDS: dict[str, Callable[[Schedule, int], Timesteps]] = {
    "trailing": Schedule.trailing,
    "log-snr": Schedule.uniform_log_snr,
    "middle": Schedule.middle,
    "karras": Schedule.karras,
    "quadratic": Schedule.quadratic,
}


def build_diffusion(settings: DiffusionSettings) -> GaussianDiffusion:
    """The process that `settings` describe."""
    schedule, variance = build_schedule(settings.schedule), VARIANCES[settings.variance]
    return GaussianDiffusion(schedule, PARAMETERIZATIONS[settings.prediction], variance, settings.time)


def outputs(settings: DiffusionSettings, spec: ImageSpec) -> int:
    """Channels of the output of a network of these settings."""
    return spec.channels * (PARAMETERIZATIONS[settings.prediction].channels + (settings.variance == "learned"))


def build_schedule(settings: ScheduleSettings) -> Schedule:
    """The schedule that `settings` describe, ends left at None at their published values."""
    num_timesteps = settings.num_timesteps
    ends = {
        name: value
        for name in ("beta_start", "beta_end", "log_snr_max", "log_snr_min")
        if (value := getattr(settings, name)) is not None
    }
    match settings.name:
        case "linear":
            schedule = schedules.linear(num_timesteps, **ends)
        case "scaled-linear":
            schedule = schedules.scaled_linear(num_timesteps, **ends)
        case "cosine":
            schedule = schedules.cosine(num_timesteps)
        case "sigmoid":
            schedule = schedules.sigmoid(num_timesteps)
        case "log-snr":
            schedule = schedules.log_snr_linear(num_timesteps, **ends)
        case "betas":
            schedule = schedules.from_betas(settings.betas or ())
    return schedules.zero_terminal_snr(schedule) if settings.zero_terminal_snr else schedule


def build_sampler(settings: SamplingSettings, diffusion: GaussianDiffusion) -> Sampler:
    """The sampler that `settings` name."""
    match settings.sampler:
        case "ancestral":
            return samplers.Ancestral(diffusion)
        case "ddim":
            return samplers.DDIM(diffusion.schedule, settings.eta or 0.0)
        case "dpm++2m-sde":
            return samplers.DPMSolver2MSDE(diffusion.schedule, 1.0 if settings.eta is None else settings.eta)
        case name:
            return FLOWS[name](diffusion.schedule)


def build_grid(settings: SamplingSettings, sampler: Sampler, schedule: Schedule) -> Timesteps:
    """The falling timesteps of `settings`, (steps + 1,), on the sampler's own grid where none is named.

    Raises:
        InputError: more steps than timesteps.
    """
    if settings.steps > schedule.num_timesteps:
        raise InputError(f"expected at most T = {schedule.num_timesteps} steps, got {settings.steps}")
    return GRIDS[settings.grid or sampler.grid](schedule, settings.steps)
