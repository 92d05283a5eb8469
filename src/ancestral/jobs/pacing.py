"""What training with a recipe will take on this machine: the time of a few real steps, and an estimate of memory."""

import time
from dataclasses import dataclass, replace
from statistics import median

import torch

from ancestral.compute import time_on
from ancestral.errors import InputError
from ancestral.machine import cpu_field
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import planned_spec
from ancestral.presets import autoencoder_of
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.training.codec import CodecTask
from ancestral.training.memory import fit_micro_batch, footprint
from ancestral.training.memory import peak_bytes as new_bytes
from ancestral.training.step import Trainer
from ancestral.tuning import tuner
from ancestral.tuning.choosing import CannotCompute
from ancestral.tuning.price import check_training


@dataclass(frozen=True)
class DevicePace:
    seconds_per_step: float  # of an optimiser step, as busy as the machine is
    steps: int  # that the budget allows
    minutes: float  # that they take
    visits: float  # how often each image is seen
    peak_bytes: int  # of the process, or on a GPU of its tensors; scratch inside an operation is not counted
    at_once: int  # images of a batch that are computed at a time, so that it fits
    weights: int  # numbers that are learnt
    device: str  # where it was measured
    first: "DevicePace | None" = None  # of the autoencoder of latents; None: pixels are diffused

    def within(self, minutes: float, share: float = 0.0) -> "DevicePace":
        """The same by a budget of so many minutes, of which that autoencoder has a share."""
        steps = max(1, round(60 * (1 - share) * minutes / self.seconds_per_step))
        first = self.first and self.first.within(share * minutes)
        visits = self.visits * steps / self.steps
        return replace(self, steps=steps, minutes=(1 - share) * minutes, visits=visits, first=first)


def pace(config: Config, spec: ImageSpec, num_images: int, device: torch.device) -> DevicePace:
    """Measures the recipe `config`, uncompiled, on random images in place of the `num_images` to train on."""
    seen, training = planned_spec(config.codec, spec), config.own_training
    first = _autoencoder_pace(config, spec, num_images, device) if seen != spec else None
    check_training(config, seen, device)
    pipeline = Pipeline.fresh(config, seen, device)
    fitting = fit_micro_batch(pipeline, tuner.random_images(pipeline), lambda words: None)
    pipeline = pipeline.with_compute(fitting)
    at_once, peak = fitting.micro_batch or training.batch_size, peak_bytes(pipeline)
    seconds = seconds_per_step(pipeline)
    steps = steps_of(training, seconds)
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    visits = steps * training.batch_size / max(num_images, 1)
    return DevicePace(seconds, steps, steps * seconds / 60, visits, peak, at_once, weights, str(device), first)


def _autoencoder_pace(config: Config, spec: ImageSpec, num_images: int, device: torch.device) -> DevicePace:
    """Of the run that trains an autoencoder first."""
    own = autoencoder_of(config)
    images = tuner.noise(spec, own.training.batch_size)
    trainer = Trainer(CodecTask(own, images, device), images)
    peak, found = _held_bytes(device) + new_bytes(trainer.advance), list[float]()
    while not found or (len(found) < 3 and sum(found) < 2.0):
        begun = time_on(device)
        trainer.advance()
        found.append(time_on(device) - begun)
    seconds, batch = median(found), own.training.batch_size
    steps = steps_of(own.training, seconds)
    weights = sum(parameter.numel() for parameter in trainer.network.parameters())
    visits = steps * batch / max(num_images, 1)
    return DevicePace(seconds, steps, steps * seconds / 60, visits, peak, batch, weights, str(device))


def seconds_per_step(pipeline: Pipeline) -> float:
    """The middle of up to three measurements, after one that warms up; none begins after two seconds."""
    watch, choices = tuner.Stopwatch(pipeline), pipeline.compute.model_copy(update={"compile": "no"})
    try:
        watch("training", choices)
        begun, found = time.monotonic(), [watch("training", choices)]
        while len(found) < 3 and time.monotonic() - begun < 2.0:
            found.append(watch("training", choices))
    except CannotCompute as fault:
        raise InputError(str(fault)) from None
    return pipeline.config.training.batch_size * median(found)


def steps_of(training: TrainingSettings, seconds: float) -> int:
    """How many steps of that many seconds the budget allows."""
    by_images = training.images and training.images / training.batch_size
    by_time = training.minutes and 60 * training.minutes / seconds
    return max(1, round(min(limit for limit in (training.steps, by_images, by_time) if limit is not None)))


def peak_bytes(pipeline: Pipeline) -> int:
    """What training takes at most: what this process holds already, and what training adds to it."""
    needed = footprint(pipeline, pipeline.compute.micro_batch)
    return sum(needed) if pipeline.device.type == "cuda" else needed.new + _held_bytes(pipeline.device)


def _held_bytes(device: torch.device) -> int:
    """What this process holds: the interpreter, torch and its libraries, or on a GPU the tensors."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    held = cpu_field("/proc/self/status", "VmRSS")
    return 0 if held is None else 1024 * int(held.split()[0])
