"""Settings to what they name: schedules, processes, samplers and grids. A name stands in one table, here."""

from collections.abc import Callable
from functools import partial

from ancestral.codec import Codec, PixelCodec
from ancestral.diffusion import schedules
from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsFlow, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.diffusion.variances import Variance, beta, beta_published, beta_tilde, interpolated
from ancestral.errors import InputError
from ancestral.sampling import samplers
from ancestral.sampling.samplers import Sampler
from ancestral.settings import (
    AnyCodec,
    AutoencoderSettings,
    DiffusionSettings,
    ImageSpec,
    KLSettings,
    PixelSettings,
    SamplingSettings,
    ScheduleSettings,
)
from ancestral.tensors import Timesteps

CODECS: dict[str, Callable[[], Codec]] = {"pixels": PixelCodec}
"""Those that a pipeline's folder names and that hold nothing; one of one's own is given to whoever loads it."""
PARAMETERIZATIONS: dict[str, Parameterization] = {
    "eps": PredictsEps(),
    "x0": PredictsX0(),
    "v": PredictsV(),
    "flow": PredictsFlow(),
    "levels": PredictsCategorical(),
}
VARIANCES: dict[str, Variance] = {
    "beta": beta,
    "beta_published": beta_published,
    "beta_tilde": beta_tilde,
    "learned": interpolated,
}
FORMULAS: dict[str, Callable[..., Schedule]] = {  # of num_timesteps, and what else is set, by its name
    "linear": schedules.linear,
    "scaled-linear": schedules.scaled_linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "log-snr": schedules.log_snr_linear,
    "rectified": schedules.rectified,
    "betas": lambda num_timesteps, betas: schedules.from_betas(betas),
}
FLOWS: dict[str, Callable[[Schedule], Sampler]] = {  # samplers that follow the probability flow, without settings
    "euler": samplers.Euler,
    "heun": samplers.Heun,
    "dpm++2m": partial(samplers.DPMSolverMultistep, order=2),
    "dpm++3m": partial(samplers.DPMSolverMultistep, order=3),
    "dpm++2s": samplers.DPMSolver2S,
    "dpm++3s": samplers.DPMSolver3S,
    "unipc-1": partial(samplers.UniPC, order=2),
    "unipc-2": partial(samplers.UniPC, order=3),
    "unipc-3": partial(samplers.UniPC, order=4),
    "deis-2": partial(samplers.DEIS, order=2),
    "deis-3": partial(samplers.DEIS, order=3),
    "deis-4": partial(samplers.DEIS, order=4),
    "ipndm-2": partial(samplers.IPNDM, order=2),
    "ipndm-3": partial(samplers.IPNDM, order=3),
    "ipndm-4": partial(samplers.IPNDM, order=4),
}
GRIDS: dict[str, Callable[[Schedule, int], Timesteps]] = {
    "trailing": Schedule.trailing,
    "log-snr": Schedule.uniform_log_snr,
    "middle": Schedule.middle,
    "karras": Schedule.karras,
    "quadratic": Schedule.quadratic,
}


def build_diffusion(settings: DiffusionSettings) -> GaussianDiffusion:
    schedule, variance = build_schedule(settings.schedule), VARIANCES[settings.variance]
    return GaussianDiffusion(schedule, PARAMETERIZATIONS[settings.prediction], variance, settings.time)


def latent_spec(codec: Codec, spec: ImageSpec) -> ImageSpec:
    """What the network sees of images: the shape of their x0, and their classes."""
    channels, height, width = codec.shape(spec.shape)
    return spec.model_copy(update={"channels": channels, "height": height, "width": width})


def planned_spec(settings: AnyCodec, spec: ImageSpec) -> ImageSpec:
    """`latent_spec` by the settings of a codec that is yet to be made; of a frozen one it is unknown, so that it is
    taken for one of the usual size."""
    if isinstance(settings, PixelSettings):
        return spec
    own = settings if isinstance(settings, AutoencoderSettings) else KLSettings()
    height, width = (-(-side // own.factor) for side in (spec.height, spec.width))
    return spec.model_copy(update={"channels": own.channels, "height": height, "width": width})


def outputs(settings: DiffusionSettings, spec: ImageSpec) -> int:
    """Channels of the output of a network of these settings; `spec`: of x0."""
    return spec.channels * (PARAMETERIZATIONS[settings.prediction].channels + (settings.variance == "learned"))


def build_schedule(settings: ScheduleSettings) -> Schedule:
    own = {name: value for name, value in settings if name not in ScheduleSettings.model_fields}
    rescaled = own.pop("zero_terminal_snr", False)
    try:
        schedule = FORMULAS[settings.name](settings.num_timesteps, **own)
        return schedules.zero_terminal_snr(schedule) if rescaled else schedule
    except ValueError as fault:  # float64 cannot tell one timestep from the next
        usual = {name: field.default for name, field in type(settings).model_fields.items()}
        far = [name for name in own if own[name] != usual[name] and isinstance(own[name], float)]
        nearer = [f"{name} {own[name]:g} nearer to {usual[name]:g}" for name in far]
        remedy = f"; bring {' or '.join(nearer)}" if nearer else ""
        raise InputError(f"diffusion.schedule.{settings.name}: {fault}{remedy}") from None


def build_sampler(settings: SamplingSettings, diffusion: GaussianDiffusion) -> Sampler:
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
    """The falling timesteps of `settings`, (steps + 1,), on the sampler's own grid where none is named."""
    if settings.steps > schedule.num_timesteps:
        raise InputError(f"expected at most T = {schedule.num_timesteps} steps, got {settings.steps}; ask for fewer")
    return GRIDS[settings.grid or sampler.grid](schedule, settings.steps)
