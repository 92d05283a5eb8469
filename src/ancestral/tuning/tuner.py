"""The questions that are open for a pipeline on this machine, answered by timing real work: optimiser steps of the
trainer on random images, and a few network calls that generate.
"""

import copy
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from ancestral.compute import (
    ENGINES,
    TORCHS_THREADS,
    Choices,
    EngineName,
    computes_in_bfloat16,
    defaults,
    given,
    is_installed,
    threads_are_given,
    time_on,
)
from ancestral.data.imageset import ImageSet
from ancestral.errors import InputError
from ancestral.machine import keep_freed_memory, usable_cores
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.settings import ImageSpec
from ancestral.training.denoiser import Denoising
from ancestral.training.memory import peak_bytes
from ancestral.training.step import Trainer
from ancestral.tuning.choosing import CannotCompute, Tuning, Work, choose, questions
from ancestral.tuning.price import images_that_fit

SHORTEST = 0.1  # seconds that a measurement takes at least, by repetition
KEPT = 2  # networks at work: the two that are compared
CALLS = 2  # steps of a chain that are taken for all of them: others cost the same, or repeat a round of cached ones

Action = Callable[[], float]
"""Does some work; how many images it comes to."""


def tune(
    pipeline: Pipeline, minutes: float = 1.0, say: Callable[[str], None] = print, compiling: bool = False
) -> Tuning:
    """The same as `tuning`, once it is done; `say` is called with each of its lines."""
    return finish(tuning(pipeline, minutes, compiling), say)


def tuning(pipeline: Pipeline, minutes: float = 1.0, compiling: bool = False) -> Generator[str, None, Tuning]:
    """The fastest way found of training and generating with this network on its device; a line before each comparison.

    Works on copies: the pipeline, the number of threads and torch's random state stay as they are. Nothing is stored;
    `ancestral.compute.save_tuned` does that.

    Args:
        minutes: for all measurements; what is being measured when they are over is finished.
        compiling: try compiled networks on a CPU too, which takes minutes. On a GPU they are always tried.
    """
    keep_freed_memory()
    device, fixed = pipeline.device, given(pipeline.config.compute)
    gpu, start = device.type == "cuda", defaults(device, pipeline.latent_spec).overlaid(pipeline.config.compute)
    with as_in_training(device):
        asked = questions(
            start,
            pipeline.config,
            gpu=gpu,
            bfloat16=computes_in_bfloat16(device.type),
            cores=usable_cores(),
            threads=None if threads_are_given() else TORCHS_THREADS,
            images=images_that_fit(bytes_of_an_image(pipeline), device),
            compiling=compiling or gpu,
            engines=engines_for(pipeline),
        )
        return (yield from choose(start, asked, Stopwatch(pipeline), 60 * minutes, compile_all="compile" in fixed))


def engines_for(pipeline: Pipeline) -> list[EngineName]:
    """Those that can call the network in the precision that is set, where one is."""
    if pipeline.device.type != "cpu" or pipeline.network_settings is None or pipeline.config.sampling.cache > 1:
        return []
    in_bfloat16 = pipeline.config.compute.precision == "bfloat16"
    return [name for name in ENGINES if is_installed(name) and not (in_bfloat16 and name == "onnxruntime")]


def bytes_of_an_image(pipeline: Pipeline) -> int:
    """What generating one more image at once takes."""
    usual = defaults(pipeline.device, pipeline.latent_spec)
    choices = (usual.model_copy(update={"chunk": count, "compile": "no"}) for count in (1, 2))
    one, two = (peak_bytes(generating(replica(pipeline, each))) for each in choices)
    return two - one


@contextmanager
def as_in_training(device: torch.device) -> Iterator[None]:
    """Torch as the trainer sets it; afterwards its number of threads, random state and the rest as they were."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(threads)


class Stopwatch:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.actions: dict[tuple[Work, Choices], Action] = {}

    def __call__(self, work: Work, choices: Choices) -> float:
        """Seconds per image: its part of an optimiser step, or its whole chain. CannotCompute: out of memory, or no
        compiler."""
        try:
            action = self._action(work, choices)
            torch.set_num_threads(choices.threads or TORCHS_THREADS)
            begun, images = time_on(self.pipeline.device), 0.0
            while not images or time_on(self.pipeline.device) - begun < SHORTEST:
                images += action()
            return (time_on(self.pipeline.device) - begun) / images
        except (RuntimeError, InputError) as fault:  # torch's for want of memory or of a kernel; ours for no compiler
            raise CannotCompute(choices, f"this machine cannot: {' '.join(str(fault).split())}") from fault

    def _action(self, work: Work, choices: Choices) -> Action:
        """Made when first asked for, and kept while it is one of those in use."""
        key = work, choices
        known = self.actions.pop(key, None)
        while known is None and len(self.actions) >= KEPT:
            self.actions.pop(next(iter(self.actions)))
        if work == "one image":
            choices = choices.model_copy(update={"chunk": 1})
        make = training if work == "training" else generating
        self.actions[key] = action = known or make(replica(self.pipeline, choices))
        return action


def replica(pipeline: Pipeline, choices: Choices) -> Pipeline:
    """A copy with weights of its own, that computes as `choices` say. Its budget is not used up."""
    training = pipeline.config.training.model_copy(update={"steps": 2**40, "images": None, "minutes": None})
    config = pipeline.config.model_copy(update={"training": training})
    return replace(pipeline.with_network(copy.deepcopy(pipeline.network)), config=config).with_compute(choices)


def training(pipeline: Pipeline) -> Action:
    """An optimiser step, as the trainer takes it."""
    trainer = Trainer(Denoising(pipeline), random_images(pipeline))

    def step() -> float:
        trainer.advance()
        return float(trainer.settings.batch_size)

    return step


def generating(pipeline: Pipeline) -> Action:
    """The first steps of the chain that generates a chunk of images of every class: that part of the images."""
    settings, count = pipeline.config.sampling, pipeline.compute.chunk
    condition = pipeline.in_turn(count)
    calls = min(CALLS * settings.cache, settings.steps)

    def call() -> float:
        for _ in islice(pipeline.steps(range(count), condition, settings), calls):
            pass
        return count * calls / settings.steps

    return call


def random_images(pipeline: Pipeline) -> ImageSet:
    """A batch of noise of the pipeline's shape, in all its classes."""
    return noise(pipeline.spec, pipeline.config.training.batch_size)


def noise(spec: ImageSpec, count: int) -> ImageSet:
    """So many images of noise, in all classes."""
    (channels, height, width), names = spec.shape, spec.class_names
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    labels = draws.integers(0, len(names), count) if names else None
    attributes = np.zeros((count, len(spec.attributes)), np.float32) if spec.attributes else None
    return ImageSet(pixels, labels, names, None, None, "noise", attributes, spec.attribute_names)
