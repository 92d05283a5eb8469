"""Ancestral as it comes: the trainer's own step, the pipeline's own steps, in the precision its settings choose."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import Step
from ancestral.settings import SamplingSettings
from ancestral.training.denoiser import Denoising
from ancestral.training.step import Trainer
from benchmarks.workloads import Workload

NAME = "ancestral"


def call(network: nn.Module, x: Tensor, time: Tensor) -> Tensor:
    """The network's output, (B, C, H, W)."""
    return network(x, time)


def precision(pipeline: Pipeline) -> str:
    """What training computes its products in."""
    return pipeline.compute.precision


def trainer(work: Workload, pipeline: Pipeline) -> Trainer:
    """A trainer of `pipeline` on random images."""
    return Trainer(Denoising(pipeline), work.images())


def forward_pass(pipeline: Pipeline, x: Tensor) -> Callable[[], Tensor]:
    """A call of the network on `x` (B, C, H, W) at t = 500, in training's precision."""
    network = pipeline.network.eval()
    x = x.to(pipeline.device).contiguous(memory_format=torch.channels_last)
    level = pipeline.diffusion.schedule.level(torch.full((len(x),), 501))
    time = pipeline.diffusion.network_time(level, x)

    @torch.inference_mode()
    def forward() -> Tensor:
        with pipeline.compute.autocast(pipeline.device):
            return call(network, x, time).float()

    return forward


def sampling_steps(pipeline: Pipeline, images: int, settings: SamplingSettings, steps: int) -> Callable[[], Tensor]:
    """The first `steps` that draw `images` in one batch, as `Pipeline.steps` takes them."""

    def run() -> Tensor:
        *_, last = islice(pipeline.steps(range(images), None, settings), steps)
        return last.x_s

    return run


def endless_sampling_steps(pipeline: Pipeline, images: int) -> Iterator[Step]:
    """The steps that generate `images` in one batch as the recipe says, chain after chain."""
    while True:
        yield from pipeline.steps(range(images), None, pipeline.config.sampling)
