"""A training step, a forward pass and a sampling step: of ours and of every peer that has one."""

from benchmarks import flops, ours
from benchmarks.machine import machine
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.peers import diffusers, teaching
from benchmarks.programs import PROGRAMS, Program
from benchmarks.workloads import WORKLOADS, Workload

STEPS = 4
"""Sampling steps that are timed together."""


def training(quick: bool) -> Cases:
    """Seconds of one optimiser step, everything in it."""
    for key, builders in PROGRAMS.items():
        contestants = [_training(build(quick)) for build in builders.values()]
        yield Case(f"training step, {WORKLOADS[key](quick).name}", contestants, goals=_goals(3.0, 1.15, 5.0))


def forward(quick: bool) -> Cases:
    """Seconds of the network alone, on a batch, no gradient."""
    for work in (WORKLOADS[key](quick) for key in PROGRAMS):
        peers = [_published_forward(work)] if "teaching" in work.name else _diffusers_forward(work)
        yield Case(f"forward pass, {work.name}", [_our_forward(work), *peers], goals=_goals(4.0, 1.15, 8.0))


def sampling(quick: bool) -> Cases:
    """Seconds of one step of a chain, network and sampler, by the sampler that both have: DDPM's own."""
    for work in (WORKLOADS[key](quick) for key in ("paper", "small")):
        pipeline, x, steps = work.pipeline(), work.batch(), 2 if quick else STEPS
        settings = pipeline.config.sampling.model_copy(update={"sampler": "ancestral", "steps": 1000, "eta": None})
        mine = ours.sampling_steps(pipeline, work.batch_size, settings, steps)
        network = diffusers.unet(pipeline, diffusers.SCRIPT)
        theirs = diffusers.sampling_steps(network, x.to(pipeline.device), diffusers.SCRIPT, 1000, steps)
        yield Case(
            f"sampling step, {work.name}",
            [
                Contestant(ours.NAME, timed(mine, per=steps)),
                Contestant(diffusers.SCRIPT.name, timed(theirs, per=steps), precision="float32"),
            ],
            goals=_goals(4.0, 1.15, 8.0),
        )


def _goals(script: float, best: float, published: float) -> dict[str, float]:
    """What is aimed at where bfloat16 is the fast path; elsewhere only not to be slower than diffusers."""
    if not machine().bfloat16:
        return {diffusers.SCRIPT.name: 1.0, diffusers.BEST.name: 1.0}
    return {diffusers.SCRIPT.name: script, diffusers.BEST.name: best, teaching.NAME: published}


def _training(program: Program) -> Contestant:
    return Contestant(program.name, timed(program.step), program.flops, program.precision)


def _our_forward(work: Workload) -> Contestant:
    pipeline = work.pipeline()
    count = flops.forward_flops(pipeline.network, ours.call, (work.batch_size, *work.spec.shape))
    action = ours.forward_pass(pipeline, work.batch())
    return Contestant(ours.NAME, timed(action), count, ours.precision(pipeline))


def _diffusers_forward(work: Workload) -> list[Contestant]:
    return [_diffusers_in(work, manner) for manner in diffusers.MANNERS]


def _diffusers_in(work: Workload, manner: diffusers.Manner) -> Contestant:
    pipeline = work.pipeline()
    network = diffusers.unet(pipeline, manner)
    count = flops.forward_flops(network, diffusers.call, (work.batch_size, *work.spec.shape))
    action = diffusers.forward_pass(network, work.batch().to(pipeline.device), manner)
    return Contestant(manner.name, timed(action), count, manner.precision(pipeline.device))


def _published_forward(work: Workload) -> Contestant:
    x = work.batch().to(work.pipeline().device)
    network = teaching.built(str(x.device))
    count = flops.forward_flops(network, ours.call, tuple(x.shape))
    return Contestant(teaching.NAME, timed(teaching.forward_pass(network, x)), count, "float32")
