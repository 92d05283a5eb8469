"""What generates fastest: torch, ONNX Runtime and OpenVINO calling one network, in each precision they have.

One call at several numbers of images, then whole draws, from noise to pixels. All on as many threads; weights are
random and the same. What an engine needs before its first call is no part of it: compiling, or reading what is kept.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from ancestral.compute import Choices, EngineName, is_installed
from ancestral.condition import NOTHING_TOLD
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.workloads import WORKLOADS

BATCHES = {"small": (1, 4, 16, 64), "smallest": (1, 4, 16, 64), "paper": (1, 4, 16)}
DRAWS = {"one image": 1, "16 images": 16, "100 images": 100}
GOALS = {"one image": 3.0, "16 images": 1.5}  # times as long by torch in float32


class Manner(NamedTuple):
    engine: EngineName
    precision: str

    @property
    def name(self) -> str:
        return f"{self.engine}, {self.precision}"


MANNERS = [
    Manner(engine, precision)
    for engine in ("openvino", "onnxruntime", "torch")
    for precision in ("bfloat16", "float32")
    if (engine, precision) != ("onnxruntime", "bfloat16") and (engine == "torch" or is_installed(engine))
]
"""Others are compared with the first. The last is how all was generated before there were engines."""


def drawing(quick: bool) -> Cases:
    """Seconds of a call of a network, then of whole draws by the mnist recipe."""
    for key, batches in BATCHES.items():
        work = WORKLOADS[key](quick)
        pipeline = work.pipeline()
        for batch in batches[:2] if quick else batches:
            cost = {manner: timed(_call(_as(pipeline, manner), batch), shortest=0.05) for manner in MANNERS}
            yield Case(f"a call of {batch}, {work.name}", _contestants(cost))
    work = WORKLOADS["small"](quick)
    pipeline, settings = work.pipeline(), work.config.sampling
    for name, images in DRAWS.items():
        count = min(images, 4) if quick else images
        cost = {manner: timed(partial(_as(pipeline, manner).generate, range(count))) for manner in MANNERS}
        goals = {MANNERS[-1].name: GOALS[name]} if name in GOALS else {}
        yield Case(f"{name} by {settings.steps} calls, {work.name}", _contestants(cost), goals=goals)


def _contestants(cost: dict[Manner, Callable[[], float]]) -> list[Contestant]:
    return [Contestant(manner.name, measure, None, manner.precision) for manner, measure in cost.items()]


def _as(pipeline: Pipeline, manner: Manner) -> Pipeline:
    return replace(pipeline, compute=Choices(engine=manner.engine, precision=manner.precision))


def _call(pipeline: Pipeline, batch: int) -> Callable[[], object]:
    denoise = pipeline.denoiser(NOTHING_TOLD, SamplingSettings(clip="none"))
    x = torch.randn(batch, *pipeline.latent_shape, generator=torch.Generator().manual_seed(0))
    x, t = x.contiguous(memory_format=torch.channels_last), torch.tensor(pipeline.diffusion.num_timesteps // 2)

    @torch.inference_mode()
    def call() -> object:
        return denoise(x, t)

    return call
