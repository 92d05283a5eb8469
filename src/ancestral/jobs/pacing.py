"""What training with a recipe will take on this machine: the time of a few real steps, and an estimate of memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from ancestral.compute import time_on
from ancestral.data.imageset import ImageSet
from ancestral.errors import InputError
from ancestral.machine import cpu_field
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import planned_spec
from ancestral.presets import autoencoder_of
from ancestral.processes import SINGLE_PROCESS
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.training.codec import CodecTask
from ancestral.training.denoiser import Denoising
from ancestral.training.memory import Footprint, footprint
from ancestral.training.step import Trainer
from ancestral.training.task import Task
from ancestral.tuning import tuner
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
    seen, first = planned_spec(config.codec, spec), None
    if seen != spec:
        own = autoencoder_of(config)
        images = tuner.noise(spec, own.training.batch_size)
        autoencoder = CodecTask(own, images, device)
        first = _pace(autoencoder, autoencoder.footprint, images, num_images)
    check_training(config, seen, device)
    pipeline = Pipeline.fresh(config, seen, device)
    found = _pace(Denoising(pipeline), partial(footprint, pipeline), tuner.random_images(pipeline), num_images)
    return replace(found, first=first)


def _pace(task: Task, needs: Callable[[int, int], Footprint], images: ImageSet, num_images: int) -> DevicePace:
    """Of one network and what is trained with it. `needs`: as of `training.memory.fit`."""
    fitting = task.fitted(images, lambda words: None, SINGLE_PROCESS)
    task, training, device = task.with_compute(fitting), task.config.own_training, task.device
    at_once = fitting.micro_batch or training.batch_size
    needed = needs(at_once, training.batch_size)
    peak = sum(needed) if device.type == "cuda" else needed.new + _held_bytes()
    seconds = seconds_per_step(task, images)
    steps = steps_of(training, seconds)
    weights = sum(parameter.numel() for parameter in task.modules[0].network.parameters())
    visits = steps * training.batch_size / max(num_images, 1)
    return DevicePace(seconds, steps, steps * seconds / 60, visits, peak, at_once, weights, str(device))


def seconds_per_step(task: Task, images: ImageSet) -> float:
    """The middle of three steps, or of all in 0.3 s, after one that warms up; none begins after two seconds."""
    found = list[float]()
    try:
        trainer = Trainer(task.with_compute(task.compute.model_copy(update={"compile": "no"})), images)
        trainer.advance()
        while sum(found) < 0.3 or (len(found) < 3 and sum(found) < 2.0):
            begun = time_on(task.device)
            trainer.advance()
            found.append(time_on(task.device) - begun)
    except RuntimeError as fault:  # torch's, for want of memory
        raise InputError(f"this machine cannot: {' '.join(str(fault).split())}") from None
    return median(found)


def steps_of(training: TrainingSettings, seconds: float) -> int:
    """How many steps of that many seconds the budget allows."""
    by_images = training.images and training.images / training.batch_size
    by_time = training.minutes and 60 * training.minutes / seconds
    return max(1, round(min(limit for limit in (training.steps, by_images, by_time) if limit is not None)))


def _held_bytes() -> int:
    """What this process holds: the interpreter, torch and its libraries."""
    held = cpu_field("/proc/self/status", "VmRSS")
    return 0 if held is None else 1024 * int(held.split()[0])
