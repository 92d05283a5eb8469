"""A training step, a forward pass and a sampling step: of ours and of every peer that has one."""

from benchmarks import flops, ours
from benchmarks.ceiling import bfloat16_gain, ceilings
from benchmarks.machine import products
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.peers import diffusers, teaching
from benchmarks.programs import PROGRAMS, Program
from benchmarks.workloads import WORKLOADS, Workload

STEPS = 4
"""Sampling steps that are timed together."""
TRAINING = {"paper": (3.0, 1.2), "small": (2.0, 1.3), "teaching": (5.0,)}
FORWARD = {"paper": (5.0, 1.3), "small": (2.0, 1.3), "teaching": (8.0,)}
"""Workload -> what is aimed at where the machine has matrix units: against diffusers as its script runs and at its
best, and against the teaching script."""
OF_THE_GAIN = 0.75
"""Of what bfloat16 gains a convolution, the part that is aimed at where it has instructions but no matrix units."""


def training(quick: bool) -> Cases:
    """Seconds of one optimiser step, everything in it."""
    for key, builders in PROGRAMS.items():
        contestants = [_training(build(quick)) for build in builders.values()]
        goals = goals_of(TRAINING[key], contestants[0].precision, quick)
        yield Case(f"training step, {WORKLOADS[key](quick).name}", contestants, goals=goals)


def forward(quick: bool) -> Cases:
    """Seconds of the network alone, on a batch, no gradient."""
    for key in PROGRAMS:
        work = WORKLOADS[key](quick)
        peers = [_published_forward(work)] if key == "teaching" else _diffusers_forward(work)
        mine = _our_forward(work)
        goals = goals_of(FORWARD[key], mine.precision, quick)
        yield Case(f"forward pass, {work.name}", [mine, *peers], goals=goals)


def sampling(quick: bool) -> Cases:
    """Seconds of one step of a chain, network and sampler, by the sampler that both have: DDPM's own."""
    for key in ("paper", "small"):
        work = WORKLOADS[key](quick)
        pipeline, x, steps = work.pipeline(), work.batch(), 2 if quick else STEPS
        settings = pipeline.config.sampling.model_copy(update={"sampler": "ancestral", "steps": 1000, "eta": None})
        mine = ours.sampling_steps(pipeline, work.batch_size, settings, steps)
        network = diffusers.unet(pipeline, diffusers.SCRIPT)
        theirs = diffusers.sampling_steps(network, x.to(pipeline.device), diffusers.SCRIPT, 1000, steps)
        yield Case(
            f"sampling step, {work.name}",
            [
                Contestant(ours.NAME, timed(mine, per=steps), precision=ours.precision(pipeline)),
                Contestant(diffusers.SCRIPT.name, timed(theirs, per=steps), precision="float32"),
            ],
            goals=goals_of(FORWARD[key], ours.precision(pipeline), quick),
        )


def goals_of(aims: tuple[float, ...], precision: str, quick: bool) -> dict[str, float]:
    """Peer -> its goal, where ours computes in `precision`.

    With matrix units those of `TRAINING` or `FORWARD`, with instructions alone a part of what a product gains, and in
    float32 never to be slower than diffusers.
    """
    peers = (diffusers.SCRIPT.name, diffusers.BEST.name) if len(aims) == 2 else (teaching.NAME,)
    if precision == "bfloat16" and products() in ("amx", "bf16"):
        return dict(zip(peers, aims, strict=True))
    if teaching.NAME in peers:
        return {}
    gained = OF_THE_GAIN * bfloat16_gain(ceilings(quick)) if precision == "bfloat16" else 1.0
    return {diffusers.SCRIPT.name: max(1.0, round(gained, 2)), diffusers.BEST.name: 1.0}


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
