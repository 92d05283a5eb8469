"""A whole sampling run: 100 images of MNIST's shape, from noise to pixels.

Ours draws with the recipe's own settings, the whole run timed. A peer whose chain has 1000 steps is timed over a few
and multiplied, which its note says: every step of a chain costs the same. `--full` runs every chain to its end.
The weights are untrained, which changes no time.
"""

from collections.abc import Callable

from torch import Tensor

from benchmarks import ours
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.peers import diffusers, teaching
from benchmarks.workloads import Workload, small

IMAGES = 100
CHAIN = 1000
"""Steps of the teaching script, and of diffusers' DDPMPipeline."""
TIMED_STEPS = 2


def sampling_run(quick: bool, full: bool = False) -> Cases:
    """Seconds for 100 images."""
    work, images, timed_steps = small(quick), 4 if quick else IMAGES, CHAIN if full else TIMED_STEPS
    pipeline, settings = work.pipeline(), work.config.sampling
    x = work.batch()[:1].expand(images, -1, -1, -1).to(pipeline.device)
    peers = [_diffusers(work, x, manner, timed_steps, settings.steps) for manner in diffusers.MANNERS]
    published = teaching.sampling_step(teaching.built(str(x.device)), x.contiguous())

    def draw() -> Tensor:
        return pipeline.generate(range(images))

    yield Case(
        f"{images} images, {work.name}",
        [
            Contestant(ours.NAME, timed(draw), note=f"{settings.sampler}, {settings.steps} steps"),
            *peers,
            Contestant(teaching.NAME, _chain(published, timed_steps), None, "float32", _note(timed_steps, CHAIN)),
        ],
        goals={teaching.NAME: 800.0},
    )


def _diffusers(work: Workload, x: Tensor, manner: diffusers.Manner, timed_steps: int, our_steps: int) -> Contestant:
    pipeline = work.pipeline()
    chain = our_steps if manner.at_its_best else CHAIN
    steps = min(timed_steps, chain)
    run = diffusers.sampling_steps(diffusers.unet(pipeline, manner), x, manner, chain, steps)
    sampler = "ddim" if manner.at_its_best else "ddpm"
    measure = timed(run, per=steps)
    note = f"{sampler}, {_note(steps, chain)}"
    return Contestant(manner.name, lambda: chain * measure(), None, manner.precision(pipeline.device), note)


def _chain(step: Callable[[], object], steps: int) -> Callable[[], float]:
    """Seconds of the whole chain out of `steps` of it."""

    def several() -> None:
        for _ in range(steps):
            step()

    measure = timed(several, per=steps)
    return lambda: CHAIN * measure()


def _note(timed_steps: int, chain: int) -> str:
    return f"{chain} steps" if timed_steps == chain else f"{chain} steps, extrapolated from {timed_steps}"
