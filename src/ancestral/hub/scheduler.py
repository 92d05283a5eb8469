"""Schedulers of diffusers to and from a schedule: the betas, what the network predicts, the variance, the clipping.

A scheduler there is a noise schedule and a sampler in one. The schedule is honoured, or the key that stands against it
is named. Of the sampler only its name is kept, as what to generate by unless another is asked for; keys that shape its
steps are chosen anew whenever images are generated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ancestral.diffusion import schedules
from ancestral.errors import InputError
from ancestral.hub.keys import DIFFUSERS_VERSION, Json, Keys, between

PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction", "levels": "levels"}
"""Names of diffusers, which has none for the last: it refuses the folder."""
VARIANCE_TYPES = {
    "beta_published": "fixed_large",  # diffusers draws the same by both: its full chain ends without noise
    "beta": "fixed_large",  # of one name the last is what it is read as
    "beta_tilde": "fixed_small",
    "learned": "learned_range",
}
"""Names of diffusers. Its "learned", an output that is the variance itself and has no bounds, is refused."""
MOST_TIMESTEPS = 100_000


class _Kind(NamedTuple):
    """A class of scheduler.

    Attributes:
        sampler: ours of the same rule.
        clips: what a missing clip_sample means; None: the class never clips, whatever its file says.
        ends: what a missing beta_start and beta_end mean.
    """

    sampler: str
    clips: bool | None = None
    ends: tuple[float, float] = (0.0001, 0.02)


KINDS = {
    "DDPMScheduler": _Kind("ancestral", clips=True),
    "DDIMScheduler": _Kind("ddim", clips=True),
    "PNDMScheduler": _Kind("ipndm-4"),
    "LMSDiscreteScheduler": _Kind("ipndm-4"),
    "EulerDiscreteScheduler": _Kind("euler"),
    "EulerAncestralDiscreteScheduler": _Kind("ancestral"),
    "HeunDiscreteScheduler": _Kind("heun", clips=False, ends=(0.00085, 0.012)),
    "DPMSolverMultistepScheduler": _Kind("dpm++2m"),
    "DPMSolverSinglestepScheduler": _Kind("dpm++2s"),
    "UniPCMultistepScheduler": _Kind("unipc-2"),
    "DEISMultistepScheduler": _Kind("deis-2"),
}
"""Classes whose schedule is that of a DDPM: alpha_bar by a table, and a network that is told the index."""
OF_THE_SAMPLER = {
    "timestep_spacing", "steps_offset", "tensor_format", "set_alpha_to_one", "skip_prk_steps", "solver_order",
    "solver_type", "solver_p", "algorithm_type", "predict_x0", "lower_order_final", "euler_at_final",
    "disable_corrector", "final_sigmas_type", "interpolation_type", "lambda_min_clipped", "use_karras_sigmas",
    "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "sigma_min", "sigma_max", "time_shift_type",
    "flow_shift",
}  # fmt: skip
"""Keys that only say where and how steps are taken, and in which array library."""
BUILT_IN = {
    "predict_epsilon": True,
    "use_flow_sigmas": False,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "timestep_type": "discrete",
}
"""Keys that may change what the network is told, or what of; they have one value here."""


@dataclass(frozen=True)
class ScheduleDescription:
    """A noise schedule and what goes with it: T betas in float64, a last one of 1 meaning zero terminal SNR.

    `sampler` is what it was written for. All names are those of our settings.
    """

    betas: tuple[float, ...] = field(repr=False)
    prediction: str
    variance: str
    clip: str
    time: str = "index"
    sampler: str = "ancestral"


def read_schedule(keys: Keys) -> ScheduleDescription:
    """What a scheduler's file says.

    Raises:
        InputError: another class, a key that cannot be honoured, or betas whose product float64 cannot hold.
    """
    kind = keys.choice("_class_name", None, KINDS)
    description = ScheduleDescription(
        betas=_betas(keys, *kind.ends),
        prediction=keys.choice("prediction_type", "epsilon", {name: ours for ours, name in PREDICTION_TYPES.items()}),
        variance=_variance(keys),
        clip=_clip(keys, kind),
        sampler=kind.sampler,
    )
    for key, value in BUILT_IN.items():
        keys.only(key, value)
    keys.asked |= OF_THE_SAMPLER
    keys.finish()
    return description


def _variance(keys: Keys) -> str:
    """None is said by classes that draw no noise of their own."""
    known: dict[Any, str] = {name: variance for variance, name in VARIANCE_TYPES.items()}
    return keys.choice("variance_type", "fixed_small", known | {"fixed_small_log": "beta_tilde", None: "beta_tilde"})


def _clip(keys: Keys, kind: _Kind) -> str:
    """Thresholding wins over clipping; with its default maximum of 1 it is clipping."""
    thresholds, clips = keys.flag("thresholding", False), keys.flag("clip_sample", bool(kind.clips))
    keys.asked |= {"dynamic_thresholding_ratio", "sample_max_value", "clip_sample_range"}
    if thresholds:
        keys.only("dynamic_thresholding_ratio", 0.995)
        vast = between(999.0, math.inf)
        most = keys.get("sample_max_value", 1.0, "1, or 1000 and more", lambda value: value == 1 or vast(value))
        return "static" if most == 1 else "dynamic"
    if not clips or kind.clips is None:
        return "none"
    keys.only("clip_sample_range", 1.0)
    return "static"


def _betas(keys: Keys, usual_start: float, usual_end: float) -> tuple[float, ...]:
    num_timesteps = keys.count("num_train_timesteps", 1000, MOST_TIMESTEPS)
    start = keys.number("beta_start", usual_start, 0.0, 1.0)
    end = keys.number("beta_end", usual_end, 0.0, 1.0)
    formula, rescaled = _formula(keys, num_timesteps, start), keys.flag("rescale_betas_zero_snr", False)

    def betas(end: float) -> Tensor:
        table = formula(end)
        schedule = schedules.from_betas(table)
        return schedules.zero_terminal_snr(schedule).betas if rescaled else table

    try:
        return tuple(betas(end).tolist())
    except ValueError as fault:
        bound = schedules.bound_of(betas, good=start, bad=end)
        if bound is None:
            raise InputError(f"{keys.path}: {fault}") from None
        raise keys.fault("beta_end", f"at most {bound} with {num_timesteps} timesteps, as float64 can hold") from None


def _formula(keys: Keys, num_timesteps: int, start: float) -> Callable[[float], Tensor]:
    """beta_end -> the betas, (T,) float64; `trained_betas` stand above every formula."""

    def line(first: float, last: float) -> Tensor:
        return torch.linspace(first, last, num_timesteps, dtype=torch.float64)

    formulas: dict[str, Callable[[float], Tensor]] = {
        "linear": lambda end: line(start, end),
        "scaled_linear": lambda end: line(start**0.5, end**0.5) ** 2,
        "squaredcos_cap_v2": lambda end: schedules.cosine(num_timesteps).betas,
        "sigmoid": lambda end: torch.sigmoid(line(-6, 6)) * (end - start) + start,
    }
    own = _own_betas(keys, num_timesteps)
    keys.asked.add("beta_schedule")
    if own is not None:
        table = torch.tensor(own, dtype=torch.float64)
        return lambda end: table
    return keys.choice("beta_schedule", "linear", formulas)


def _own_betas(keys: Keys, num_timesteps: int) -> list[float] | None:
    """`trained_betas`; only the last may be 1."""

    def fits(value: Any) -> bool:
        if value is None:
            return True
        if not isinstance(value, list) or len(value) != num_timesteps or not all(map(between(0.0, 1.0), value[:-1])):
            return False
        return value[-1] == 1 or between(0.0, 1.0)(value[-1])

    return keys.get("trained_betas", None, f"null or {num_timesteps} numbers between 0 and 1", fits)


def scheduler_config(schedule: ScheduleDescription) -> Json:
    """A scheduler's file."""
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": len(schedule.betas),
        "trained_betas": list(schedule.betas),
        "prediction_type": PREDICTION_TYPES[schedule.prediction],
        "variance_type": VARIANCE_TYPES[schedule.variance],
        "clip_sample": schedule.clip == "static",
        "clip_sample_range": 1.0,
        "thresholding": schedule.clip == "dynamic",
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1e6,  # never reached: 1, its default, would make thresholding mere clipping
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,
    }
