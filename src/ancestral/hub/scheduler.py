"""Schedulers of diffusers to and from a schedule: the betas, what the network predicts, the variance, the clipping.

A scheduler there is a noise schedule and a sampler in one. The schedule is honoured, or the key that stands against it
is named. Of the sampler only its name is kept, as what to generate by unless another is asked for; keys that shape its
steps are chosen anew whenever images are generated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ancestral.diffusion import schedules
from ancestral.errors import InputError
from ancestral.hub.keys import DIFFUSERS_VERSION, Json, Keys, keys_of, read_named

PREDICTION_TYPES = {
    "eps": "epsilon", "x0": "sample", "v": "v_prediction", "flow": "flow_prediction", "levels": "levels",
}  # fmt: skip
"""Names of diffusers, which has none for the last; its DDPMScheduler refuses the last two."""
VARIANCE_TYPES = {
    "beta_published": "fixed_large",  # diffusers draws the same by both: its full chain ends without noise
    "beta": "fixed_large",  # of one name the last is what it is read as
    "beta_tilde": "fixed_small",
    "learned": "learned_range",
}
"""Names of diffusers. Its "learned", an output that is the variance itself and has no bounds, is refused."""


class _Kind(NamedTuple):
    sampler: str  # ours of the same rule
    clips: bool | None = None  # what a missing clip_sample means; None: it never clips, whatever its file says
    ends: tuple[float, float] = (0.0001, 0.02)  # what a missing beta_start and beta_end mean


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
FLOW = "FlowMatchEulerDiscreteScheduler"
"""The class of straight paths: a network that is given (1 - tau) x_0 + tau eps and told 1000 tau; by steps of DDIM."""
OF_THE_SAMPLER = {
    "timestep_spacing", "steps_offset", "tensor_format", "set_alpha_to_one", "skip_prk_steps", "solver_order",
    "solver_type", "solver_p", "algorithm_type", "predict_x0", "lower_order_final", "euler_at_final",
    "disable_corrector", "final_sigmas_type", "interpolation_type", "lambda_min_clipped", "use_karras_sigmas",
    "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "sigma_min", "sigma_max", "time_shift_type",
    "flow_shift",
}  # fmt: skip
"""Keys that only say where and how steps are taken, and in which array library."""
NOT_OF_FLOW = OF_THE_SAMPLER | {
    "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "use_flow_sigmas",
    "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr", "variance_type",
    "clip_sample", "clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value",
}  # fmt: skip
"""Those that say nothing of a straight path either: what its steps are, or of which betas it takes none."""


class _Scheduler(Keys):
    """A scheduler's file. Keys of one value may change what the network is told, or what of."""

    num_train_timesteps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    trained_betas: list[Annotated[float, Field(gt=0, le=1)]] | None = None
    beta_schedule: str = "linear"  # above which `trained_betas` stand
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    beta_end: Annotated[float, Field(gt=0, lt=1)]
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal["epsilon", "sample", "v_prediction", "flow_prediction", "levels"] = "epsilon"
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "learned_range"] | None = "fixed_small"
    clip_sample: bool
    clip_sample_range: Any = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Any = 0.995
    sample_max_value: Any = 1.0
    predict_epsilon: Literal[True] = True
    use_flow_sigmas: Literal[False] = False  # true: `_Flow`
    use_dynamic_shifting: Literal[False] = False
    shift_terminal: None = None
    timestep_type: Literal["discrete"] = "discrete"


class _Flow(Keys):
    """What shapes a straight path, and keys of one value as in `_Scheduler`."""

    num_train_timesteps: Literal[1000] = 1000
    shift: Annotated[float, Field(gt=0)] = 1.0
    prediction_type: Literal["flow_prediction"] = "flow_prediction"
    thresholding: Literal[False] = False
    use_dynamic_shifting: Literal[False] = False
    invert_sigmas: Literal[False] = False
    stochastic_sampling: Literal[False] = False
    shift_terminal: None = None


@dataclass(frozen=True)
class ScheduleDescription:
    """A noise schedule and what goes with it, by the names of our settings."""

    betas: tuple[float, ...] = field(repr=False)  # T in float64; a last one of 1 means zero terminal SNR
    prediction: str
    variance: str
    clip: str
    time: str = "index"
    sampler: str = "ancestral"  # what it was written for
    shift: float | None = None  # that of a straight path, which has no betas


def read_schedule(path: Path) -> ScheduleDescription:
    """What a scheduler's file says; its betas' product must be one that float64 can hold."""
    name, values = read_named(path, (*KINDS, FLOW))
    if name == FLOW or values.get("use_flow_sigmas") is True:
        return _straight(name, values, path)
    kind = KINDS[name]
    usual = {"beta_start": kind.ends[0], "beta_end": kind.ends[1], "clip_sample": bool(kind.clips)}
    keys = keys_of(_Scheduler, usual | values, path, unheeded=OF_THE_SAMPLER)
    predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}
    variances = {theirs: ours for ours, theirs in VARIANCE_TYPES.items()}
    # classes that draw no noise of their own say null
    variance = variances.get(keys.variance_type or "", "beta_tilde")
    betas, prediction = _betas(keys, path), predictions[keys.prediction_type]
    return ScheduleDescription(betas, prediction, variance, _clip(keys, path, kind), sampler=kind.sampler)


def _straight(name: str, values: Json, path: Path) -> ScheduleDescription:
    """That of a straight path; where another class is told to take it, the shift has a name of its own."""
    if name != FLOW:
        values = {"prediction_type": "epsilon", **values, "shift": values.get("flow_shift", 1.0)}
    keys = keys_of(_Flow, values, path, unheeded=NOT_OF_FLOW)
    sampler = "ddim" if name == FLOW else KINDS[name].sampler
    return ScheduleDescription((), "flow", "beta_tilde", "none", "flow", sampler, keys.shift)


def _clip(keys: _Scheduler, path: Path, kind: _Kind) -> str:
    """Thresholding wins over clipping; with its default maximum of 1 it is clipping."""
    if keys.thresholding:
        _check(keys.dynamic_thresholding_ratio == 0.995, keys, path, "dynamic_thresholding_ratio", "0.995")
        most = keys.sample_max_value
        vast = isinstance(most, int | float) and 999 < most < math.inf
        _check(most == 1 or vast, keys, path, "sample_max_value", "1, or 1000 and more")
        return "static" if most == 1 else "dynamic"
    if not keys.clip_sample or kind.clips is None:
        return "none"
    _check(keys.clip_sample_range == 1, keys, path, "clip_sample_range", "1")
    return "static"


def _betas(keys: _Scheduler, path: Path) -> tuple[float, ...]:
    start, num_timesteps, own = keys.beta_start, keys.num_train_timesteps, keys.trained_betas

    def line(first: float, last: float) -> Tensor:
        return torch.linspace(first, last, num_timesteps, dtype=torch.float64)

    formulas: dict[str, Callable[[float], Tensor]] = {
        "linear": lambda end: line(start, end),
        "scaled_linear": lambda end: line(start**0.5, end**0.5) ** 2,
        "squaredcos_cap_v2": lambda end: schedules.cosine(num_timesteps).betas,
        "sigmoid": lambda end: torch.sigmoid(line(-6, 6)) * (end - start) + start,
    }
    if own is not None:
        fits = len(own) == num_timesteps and 1 not in own[:-1]
        _check(fits, keys, path, "trained_betas", f"null or {num_timesteps} numbers between 0 and 1, the last maybe 1")
    else:
        _check(keys.beta_schedule in formulas, keys, path, "beta_schedule", f"one of {', '.join(formulas)}")

    def betas(end: float) -> Tensor:
        table = formulas[keys.beta_schedule](end) if own is None else torch.tensor(own, dtype=torch.float64)
        schedule = schedules.from_betas(table)
        return schedules.zero_terminal_snr(schedule).betas if keys.rescale_betas_zero_snr else table

    try:
        return tuple(betas(keys.beta_end).tolist())
    except ValueError as fault:
        bound = schedules.bound_of(betas, good=start, bad=keys.beta_end)
        if bound is None:
            raise InputError(f"{path}: {fault}") from None
        raise InputError(
            f"expected beta_end in {path} to be at most {bound} with {num_timesteps} timesteps, as float64 can hold, "
            f"got {keys.beta_end:g}"
        ) from None


def _check(holds: bool, keys: _Scheduler, path: Path, key: str, expected: str) -> None:
    if not holds:
        raise InputError(f"expected {key} in {path} to be {expected}, got {getattr(keys, key)!r:.60}")


def scheduler_config(schedule: ScheduleDescription) -> Json:
    if schedule.shift is not None:
        about = {"_class_name": FLOW, "_diffusers_version": DIFFUSERS_VERSION, "num_train_timesteps": 1000}
        return {**about, "shift": schedule.shift, "use_dynamic_shifting": False}
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
