"""What training with a recipe will take on this machine: the time of a few real steps, and an estimate of memory."""

import time
from dataclasses import dataclass
from statistics import median

import torch

from ancestral.errors import InputError
from ancestral.machine import cpu_field
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.training.memory import fit_micro_batch, footprint
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


def pace(config: Config, spec: ImageSpec, num_images: int, device: torch.device) -> DevicePace:
    """Measures the recipe `config`, uncompiled, on random images in place of the `num_images` to train on."""
    check_training(config, spec, device)
    pipeline, training = Pipeline.fresh(config, spec, device), config.own_training
    fitting = fit_micro_batch(pipeline, tuner.random_images(pipeline), lambda words: None)
    pipeline = pipeline.with_compute(fitting)
    at_once, peak = fitting.micro_batch or training.batch_size, peak_bytes(pipeline)
    seconds = seconds_per_step(pipeline)
    steps = steps_of(training, seconds)
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    visits = steps * training.batch_size / max(num_images, 1)
    return DevicePace(seconds, steps, steps * seconds / 60, visits, peak, at_once, weights, str(device))


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
    if pipeline.device.type == "cuda":
        return sum(needed)
    held = cpu_field("/proc/self/status", "VmRSS")  # the interpreter, torch and its libraries
    return needed.new + (0 if held is None else 1024 * int(held.split()[0]))
