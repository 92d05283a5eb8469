"""Plans: what a runner of NumPy makes of a sampler's table is what the sampler makes, at every step.

Both call one network, an arbitrary smooth function, and are given the same draws.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import ancestral_lite as lite
from ancestral.condition import Condition
from ancestral.diffusion.process import GaussianDiffusion, NetworkTime
from ancestral.diffusion.variances import beta_tilde, interpolated
from ancestral.editing.inpaint import Rounds, inpaint
from ancestral.oracles import eps_process, normal
from ancestral.pipeline.building import PARAMETERIZATIONS
from ancestral.pipeline.guiding import Networks, guided
from ancestral.sampling.denoiser import Denoiser, NetworkDenoiser, clipped
from ancestral.sampling.loop import Step, sample
from ancestral.sampling.plan import Plan, compile_plan
from ancestral.sampling.samplers import DDIM, Ancestral, Sampler
from ancestral.selftest.checks import Checks
from ancestral.selftest.samplers import FIFTY, KINDS, UNEVEN
from ancestral.settings import SamplingSettings
from ancestral_lite.plans import predicted

CHECKS = Checks()

LABELS = torch.tensor([0, 1, 2, 1])
NONE = 3  # no class, as a plan names it; here it is -1
KEPT = torch.tensor([True, False])
ROUNDS = (None, Rounds(3, jump=2), Rounds(2, jump=9))
TIMES: tuple[NetworkTime, ...] = ("index", "log-snr", "flow", "sit")
GUIDED: dict[str, dict[str, Any]] = {
    "by none": {"guidance": 1.0},
    "to no class": {"guidance": 0.0},
    "away from no class": {"guidance": 3.0},
    "away from class 1": {"guidance": 3.0, "negative": "1"},
    "rescaled": {"guidance": 3.0, "guidance_rescale": 0.6},
    "within an interval": {"guidance": 3.0, "guidance_interval": (0.3, 2.0), "guidance_rescale": 0.6},
    "clipped by a quantile": {"guidance": 3.0, "clip": "dynamic"},
    "not clipped": {"guidance": 3.0, "clip": "none"},
}


def network(outputs: int, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
    """(B, outputs), of x (B, 2)."""
    told = torch.full((len(x),), -1) if labels is None else torch.where(labels == NONE, -1, labels)
    inside = x.repeat(1, outputs // 2) * torch.linspace(1, 2, outputs).double()
    return torch.tanh(inside + 0.2 * told[:, None] - 0.02 * time.double()[:, None])


def by_numpy(outputs: int) -> lite.NetworkCall:
    """The same for a runner."""

    def called(x: lite.Array, time: lite.Array, labels: lite.LabelArray) -> lite.Array:
        told = None if labels is None else torch.from_numpy(labels)
        return network(outputs, torch.from_numpy(x), torch.from_numpy(time), told).numpy()

    return called


def read(diffusion: GaussianDiffusion, sampler: Sampler, settings: SamplingSettings, grid: Tensor) -> lite.PlanTable:
    """The plan as a file holds it."""
    null = NONE if settings.negative is None else int(settings.negative)
    written = compile_plan(diffusion, sampler, grid, settings, 0.9, null).to_json()
    return lite.read_plan(Plan.from_json(written).to_json())


def denoiser(diffusion: GaussianDiffusion, settings: SamplingSettings, outputs: int) -> Denoiser:
    def bind(condition: Condition) -> Denoiser:
        return NetworkDenoiser(diffusion, lambda x, time: network(outputs, x, time, condition.labels))

    negative = Condition(None if settings.negative is None else torch.tensor([int(settings.negative)]))
    networks = Networks(bind, True, negative, diffusion.schedule, None, None)
    return clipped(guided(networks, Condition(LABELS), settings), diffusion.schedule, settings.clip, 0.9)


def apart(
    diffusion: GaussianDiffusion,
    sampler: Sampler,
    settings: SamplingSettings,
    grid: Tensor = UNEVEN,
    rounds: Rounds | None = None,
    outputs: int = 2,
) -> Iterator[Tensor | int]:
    """How far plan and sampler are from each other in x_s and x0 of every step; in rounds, KEPT is inpainted."""
    draws, image, plan = normal(100, 4, 2), normal(4, 2), read(diffusion, sampler, settings, grid)
    one, other = iter(draws), iter(draws.numpy())
    denoise, noise = denoiser(diffusion, settings, outputs), one.__next__
    arguments = plan, by_numpy(outputs), other.__next__
    theirs: Iterator[lite.StepTaken]
    if rounds is None:
        ours: Iterator[Step] = sample(denoise, sampler, noise(), grid, noise)
        theirs = lite.sample(*arguments, LABELS.numpy())
    else:
        ours = inpaint(denoise, sampler, diffusion, image, KEPT, noise(), grid, noise, rounds)
        known = image.numpy(), KEPT.numpy(), LABELS.numpy()
        theirs = lite.inpaint(*arguments, *known, rounds.count, rounds.jump)
    for this, that in itertools.zip_longest(ours, theirs):
        yield from (this.x_s - torch.from_numpy(that.x_s), this.x0 - torch.from_numpy(that.x0), this.s - that.s)
    yield len([*one]) - len([*other])


@CHECKS("{kind}: in a row, and inpainting in rounds", 1e-11, kind=KINDS)
def walked(kind: str, _: torch.device) -> Iterator[Tensor | int]:
    for rounds in ROUNDS:
        yield from apart(eps_process(FIFTY), KINDS[kind](FIFTY), SamplingSettings(), rounds=rounds)


@CHECKS("guided {how}", 1e-11, how=GUIDED)
def by_guidance(how: str, _: torch.device) -> Iterator[Tensor | int]:
    return apart(eps_process(FIFTY), DDIM(FIFTY), SamplingSettings(**{"clip": "static", **GUIDED[how]}))


@CHECKS("a variance that the network says", 1e-11)
def learned(_: torch.device) -> Iterator[Tensor | int]:
    diffusion = eps_process(FIFTY, interpolated)
    return apart(diffusion, Ancestral(diffusion), SamplingSettings(guidance=2.0), outputs=4)


@CHECKS("{prediction}: a call, whatever is told of time", 1e-11, prediction=PARAMETERIZATIONS)
def decoded(prediction: str, _: torch.device) -> Iterator[Tensor]:
    x, settings = normal(4, 2), SamplingSettings(clip="none")
    for time in TIMES[: 3 if prediction == "levels" else 4]:  # settings refuse levels with sit
        diffusion = GaussianDiffusion(FIFTY, PARAMETERIZATIONS[prediction], beta_tilde, time)
        outputs, plan = 2 * diffusion.parameterization.channels, read(diffusion, DDIM(FIFTY), settings, UNEVEN)
        for level in plan["levels"]:
            ours = denoiser(diffusion, settings, outputs)(x, torch.tensor(level["t"]))
            theirs = predicted(plan, level, by_numpy(outputs), x.numpy(), LABELS.numpy())
            for this, that in ((ours.x0, theirs.x0), (ours.eps, theirs.eps)):
                yield (this - torch.from_numpy(that)) / this.abs().max()
