"""The programs that take training steps, by name: what `step` times, `memory` weighs and `child` runs alone."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import flops, ours
from benchmarks.peers import diffusers, teaching
from benchmarks.workloads import Workload, paper, small, teaching_shape


@dataclass(frozen=True)
class Program:
    """A training step ready to be taken, and what one computes."""

    name: str
    step: Callable[[], object]
    flops: int
    precision: str


def ancestral(work: Workload) -> Program:
    """The trainer's own step: batch, noise, forward, backward, clip, Adam, average."""
    pipeline = work.pipeline()
    count = flops.step_flops(pipeline.network, ours.call, (work.batch_size, *work.spec.shape))
    return Program(ours.NAME, ours.trainer(work, pipeline).advance, count, ours.precision(pipeline))


def of_diffusers(work: Workload, manner: diffusers.Manner) -> Program:
    """diffusers' network with the same weights, on a batch in memory."""
    pipeline = work.pipeline()
    network = diffusers.unet(pipeline, manner)
    count = flops.step_flops(network, diffusers.call, (work.batch_size, *work.spec.shape))
    step = diffusers.training_step(network, work.batch().to(pipeline.device), manner)
    return Program(manner.name, step, count, manner.precision(pipeline.device))


def published(work: Workload) -> Program:
    """The teaching network as its script trains it, on a batch in memory."""
    x0 = work.batch().to(work.pipeline().device)
    network = teaching.built(str(x0.device))
    count = flops.step_flops(network, ours.call, (work.batch_size, *work.spec.shape))
    return Program(teaching.NAME, teaching.training_step(network, x0), count, "float32")


PROGRAMS: dict[str, dict[str, Callable[[bool], Program]]] = {
    "paper": {
        ours.NAME: lambda quick: ancestral(paper(quick)),
        diffusers.SCRIPT.name: lambda quick: of_diffusers(paper(quick), diffusers.SCRIPT),
        diffusers.BEST.name: lambda quick: of_diffusers(paper(quick), diffusers.BEST),
    },
    "small": {
        ours.NAME: lambda quick: ancestral(small(quick)),
        diffusers.SCRIPT.name: lambda quick: of_diffusers(small(quick), diffusers.SCRIPT),
        diffusers.BEST.name: lambda quick: of_diffusers(small(quick), diffusers.BEST),
    },
    "teaching": {
        ours.NAME: lambda quick: ancestral(teaching_shape(quick)),
        teaching.NAME: lambda quick: published(teaching_shape(quick)),
    },
}
"""Workload -> program -> what builds it. The first of each workload is ours."""
