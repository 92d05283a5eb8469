"""Plans: a sampler on a grid as a table of numbers, for runners that know nothing of samplers (docs/plans.md).

What a sampler makes of a step is linear in x_t, in the predictions (x_0, eps) of this step and of those before, and in
the noise it draws; how x_0 and eps come from x_t and the network's output is linear too. Only guidance's rescaling,
clipping and pixels' levels are not, and all of these sit between the output and the pair. So `Sampler.step` itself is
run on vectors of which each has an axis of its own, and what comes out is the table, in float64: no sampler, process
or parameterisation is written a second time.

A sampler that remembers does another step after a new start than in the middle of a chain. A step's moves are all of
them: the one with no prediction remembered, with one, and so on until nothing changes.

The noise of a learned variance is a power of the network's coefficient v, sigma = low^(1 - w) high^w with w = (v + 1) /
2: low and high are what the sampler draws at v = -1 and v = 1.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.parameterization import Prediction, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.errors import InputError
from ancestral.files import json_object
from ancestral.sampling.denoiser import DynamicClip
from ancestral.sampling.guidance import timesteps_of_noise
from ancestral.sampling.loop import REMEMBERED
from ancestral.sampling.samplers import Sampler
from ancestral.settings import NumTimesteps, SamplingSettings, Settings, parse
from ancestral.tensors import Timesteps

AXES = 32  # of the vectors of a step: more than it has
Combination = dict[str, float]
"""A sum of vectors by their names, each times its factor: x is x_t; x0.0, eps.0 the step's first prediction, x0.1 its
second; x0.-1, eps.-1 that remembered of the step before."""


class PlanLevel(Settings):
    """All that is needed at a timestep to ask the network and to understand it."""

    t: NumTimesteps
    alpha: float
    sigma: float
    time: float  # what the network is told, float32
    scale: float  # of x_t, where the network sees it
    x0: tuple[float, float]  # of x_t and of the output
    eps: tuple[float, float]
    guidance: float = Field(ge=0)  # 1: the network is called once


class PlanCall(Settings):
    """One prediction: at a timestep, of a point."""

    t: NumTimesteps
    x: Combination


class PlanMove(Settings):
    """A step after so many since the last start."""

    calls: tuple[PlanCall, ...] = Field(min_length=1)
    x: Combination  # the next x, less its noise
    noise: tuple[float, float] | None  # the least and the most deviation of what is drawn; None: nothing is
    x0: Combination  # of the prediction that is remembered
    eps: Combination

    def unknown(self, remembered: int) -> set[str]:
        """Names of vectors that are not there yet where they are used."""
        known, missing = {"x", *_pair(range(-remembered, 0))}, set[str]()
        for number, call in enumerate(self.calls):
            missing |= call.x.keys() - known
            known |= {*_pair([number])}
        return missing | {*self.x, *self.x0, *self.eps} - known


class PlanStep(Settings):
    """From t to s, by one of its moves: that of as many predictions as are remembered, or the last."""

    t: NumTimesteps
    s: int = Field(ge=0)
    moves: tuple[PlanMove, ...] = Field(min_length=1, max_length=REMEMBERED + 1)


class Plan(Settings):
    """A sampler on a grid, with its guidance and clipping, as numbers. `compile_plan` makes it."""

    format: Literal["ancestral-plan"] = "ancestral-plan"
    version: Literal[1] = 1
    sampler: str
    output: Literal["numbers", "levels"]  # levels: how likely each of the 256 of every pixel is
    bound: float | None = Field(gt=0)  # of |x0|; None: it is not clipped
    quantile: float | None = Field(gt=0, le=1)  # of |x0| that is brought to the bound; None: static clipping
    rescale: float = Field(ge=0, le=1)
    null: int  # the label that guidance moves away from
    levels: tuple[PlanLevel, ...] = Field(min_length=1)
    steps: tuple[PlanStep, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_run(self) -> "Plan":
        grid, there = [*(step.t for step in self.steps), self.steps[-1].s], {level.t for level in self.levels}
        if [step.s for step in self.steps] != grid[1:] or any(t <= s for t, s in itertools.pairwise(grid)):
            raise ValueError("expected steps that fall, each from where the one before has ended")
        moves = [(back, move) for step in self.steps for back, move in enumerate(step.moves)]
        asked = {*grid, *(call.t for _, move in moves for call in move.calls)} - {0}
        if missing := asked - there:
            raise ValueError(f"expected a level for every timestep, got none for {min(missing)}")
        if unknown := {name for back, move in moves for name in move.unknown(back)}:
            raise ValueError(f"expected vectors that are there, got {min(unknown)[:40]!r}")
        return self

    def to_json(self) -> str:
        """The plan's file. Numbers are written such that every reader gets the same bits."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: bytes | str, where: str = "the plan") -> "Plan":
        """The plan of a file; an InputError of one line says what is wrong with it."""
        return parse(cls, json_object(text, where), where)


def compile_plan(
    diffusion: GaussianDiffusion,
    sampler: Sampler,
    timesteps: Timesteps,
    settings: SamplingSettings,
    bound: float | None,
    null: int,
) -> Plan:
    """The sampler along `timesteps`, (steps + 1,) int64, falling, with the guidance and clipping of `settings`.

    Args:
        bound: of |x0|, that of the codec.
        null: the label that guidance moves away from and that guidance 0 asks for.
    """
    check_plannable(settings)
    if settings.clip != "none" and bound is None:
        raise InputError(f"expected clip none where x0 has no bound, got {settings.clip}")
    steps = []
    for i, (t, s) in enumerate(itertools.pairwise(timesteps)):
        moves = [move_of(sampler, timesteps[i:i], t, s)]
        for back in range(1, min(i, REMEMBERED) + 1):
            if (move := move_of(sampler, timesteps[i - back : i], t, s)) == moves[-1]:
                break
            moves.append(move)
        steps.append(PlanStep(t=int(t), s=int(s), moves=tuple(moves)))
    called = {call.t for step in steps for move in step.moves for call in move.calls}
    asked = sorted({*called, *timesteps.tolist()} - {0}, reverse=True)
    return Plan(
        sampler=settings.sampler,
        output="levels" if isinstance(diffusion.parameterization, PredictsCategorical) else "numbers",
        bound=None if settings.clip == "none" else bound,
        quantile=DynamicClip.quantile if settings.clip == "dynamic" else None,
        rescale=settings.guidance_rescale,
        null=null,
        levels=tuple(_level(diffusion, settings, torch.tensor(t)) for t in asked),
        steps=tuple(steps),
    )


def check_plannable(settings: SamplingSettings) -> None:
    """Raises InputError for what no table of one network's calls holds."""
    if settings.guidance_by != "classifier-free":
        by = settings.guidance_by
        raise InputError(f"expected guidance_by classifier-free in a plan, got {by}: a runner calls one network")
    if settings.cache > 1:
        raise InputError(f"expected cache 1 in a plan, got {settings.cache}: a runner keeps no features")


class _Axes:
    """The vectors of a step, (2, AXES) each, of a batch of two images that differ in what they say of the variance."""

    coefficient = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, AXES)
    units = torch.eye(AXES, dtype=torch.float64)

    def __init__(self) -> None:
        self.names: list[str] = []

    def new(self, *names: str) -> list[Tensor]:
        assert not {*names} & {*self.names}, "a vector for each prediction, and one draw of noise"
        self.names += names
        return [self.units[self.names.index(name)].expand(2, AXES) for name in names]

    def terms(self, x: Tensor) -> Combination:
        return {name: factor for name, factor in zip(self.names, x[0].tolist(), strict=False) if factor}


def move_of(sampler: Sampler, before: Timesteps, t: Timesteps, s: Timesteps) -> PlanMove:
    """The step with the predictions at the timesteps `before`, remembered."""
    axes, calls = _Axes(), list[PlanCall]()
    (x_t,) = axes.new("x")
    past = [Prediction(at, *axes.new(*_pair([i - len(before)]))) for i, at in enumerate(before)]

    def denoise(x: Tensor, at: Timesteps) -> Prediction:
        calls.append(PlanCall(t=int(at), x=axes.terms(x)))
        x0, eps = axes.new(*_pair([len(calls) - 1]))
        return Prediction(at, x0, eps, axes.coefficient)

    x_s, kept = sampler.step(denoise, x_t, t, s, past, lambda: axes.new("noise")[0])
    x, noise = axes.terms(x_s), None
    if "noise" in axes.names:
        x.pop("noise", None)
        noise = x_s[:, axes.names.index("noise")].tolist()
    return PlanMove(calls=tuple(calls), x=x, noise=noise, x0=axes.terms(kept.x0), eps=axes.terms(kept.eps))


def _pair(numbers: Sequence[int]) -> list[str]:
    """Names of x0 and eps of predictions."""
    return [f"{kind}.{number}" for number in numbers for kind in ("x0", "eps")]


def _level(diffusion: GaussianDiffusion, settings: SamplingSettings, t: Timesteps) -> PlanLevel:
    level, guidance = diffusion.schedule.level(t), settings.guidance
    if settings.guidance_interval is not None:
        first, last = timesteps_of_noise(diffusion.schedule, *settings.guidance_interval)
        guidance = guidance if first <= t <= last else 1.0
    if isinstance(diffusion.parameterization, PredictsCategorical):  # a runner makes x0 of the levels
        assert diffusion.time != "sit", "which settings refuse: levels have no sign to be turned"
        diffusion = replace(diffusion, parameterization=PredictsX0())
    (x_t, answer), seen = torch.eye(2, dtype=torch.float64)[:, None], list[float]()

    def network(x: Tensor, time: Tensor) -> Tensor:
        seen.extend((float(time[0]), float(x[0, 0])))
        return answer

    prediction = diffusion.decode(diffusion.ask(network, x_t, level), x_t, t)
    (time, scale), (x0, eps) = seen, (tuple(each[0].tolist()) for each in (prediction.x0, prediction.eps))
    alpha, sigma = float(level.alpha), float(level.sigma)
    return PlanLevel(t=int(t), alpha=alpha, sigma=sigma, time=time, scale=scale, x0=x0, eps=eps, guidance=guidance)
