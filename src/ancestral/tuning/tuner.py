"""The questions that are open for a pipeline on this machine, answered by measuring."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import torch

from ancestral.compute import TORCHS_THREADS, computes_in_bfloat16, defaults, given, threads_are_given
from ancestral.machine import keep_freed_memory, usable_cores
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.tuning.choosing import Budget, Tuning, choose
from ancestral.tuning.live_bytes import peak_bytes
from ancestral.tuning.price import images_that_fit
from ancestral.tuning.questions import Limits, questions
from ancestral.tuning.stopwatch import Stopwatch, generating, replica


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

    Raises:
        InputError: the machine cannot train this network in the usual way.
    """
    keep_freed_memory()
    with as_in_training(pipeline.device):
        start, fixed = defaults(pipeline.device).overlaid(pipeline.config.compute), given(pipeline.config.compute)
        asked = questions(start, pipeline.config, limits_of(pipeline, compiling))
        budget = Budget(60 * minutes, time.monotonic)
        return (yield from choose(start, asked, Stopwatch(pipeline), budget, frozenset(fixed)))


def limits_of(pipeline: Pipeline, compiling: bool) -> Limits:
    """What this machine can do at all."""
    gpu = pipeline.device.type == "cuda"
    return Limits(
        gpu=gpu,
        bfloat16=computes_in_bfloat16(pipeline.device.type),
        cores=usable_cores(),
        threads=None if threads_are_given() else TORCHS_THREADS,
        images=images_that_fit(bytes_of_an_image(pipeline), pipeline.device),
        compiling=compiling or gpu,
    )


def bytes_of_an_image(pipeline: Pipeline) -> int:
    """What generating one more image at once takes."""
    usual = defaults(pipeline.device)
    choices = (usual.model_copy(update={"chunk": count, "compile": "no"}) for count in (1, 2))
    one, two = (peak_bytes(generating(replica(pipeline, each))) for each in choices)
    return two - one


@contextmanager
def as_in_training(device: torch.device) -> Iterator[None]:
    """Torch as the trainer sets it; afterwards its number of threads, random state and the rest as they were."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(threads)
