"""The price of what is asked for, said before it is done."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from ancestral.cli.output import say
from ancestral.config import SamplingSettings
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.sampling.loop import Step
from ancestral.tensors import Labels
from ancestral.tuning.price import Price, refusal


def allow(price: Price, meant: bool, device: torch.device, processes: Processes, folder: Path, remedy: str) -> Price:
    """What work takes, as the first process has measured it, together, where it may be done.

    Args:
        meant: whether it may take more than is usual.
        folder: where it writes.
        remedy: what makes it cheaper.

    Raises:
        InputError: it takes more than is usual and is not meant, or does not fit at all.
    """
    price = Price(*json.loads(processes.broadcast(json.dumps(price))))
    refused = processes.broadcast(refusal(price, meant, device, folder, remedy) if processes.is_main else "")
    if refused:
        raise InputError(refused)
    return price


def allow_generating(price: Price, meant: bool, pipeline: Pipeline, folder: Path, remedy: str, what: str) -> Price:
    """The same of a pipeline's work, on its device and by its processes; it is said.

    Args:
        what: the work, in a few words.
    """
    price = allow(price, meant, pipeline.device, pipeline.processes, folder, remedy)
    say(f"{what}: {price.words}")
    return price


def check_asked(pipeline: Pipeline, labels: Labels | None, settings: SamplingSettings) -> None:
    """That the pipeline can generate so, before anything is said of it: what is wrong is one line.

    Raises:
        InputError: labels, guidance or steps that do not fit it.
    """
    pipeline.timesteps(settings)
    pipeline.denoiser(None if labels is None else labels[:1], settings)


def told_after_first(steps: Iterator[Step], price: Price) -> Iterator[Step]:
    """The steps, and their price said when the first is there: by then what was asked wrongly is found, in one line."""
    for number, step in enumerate(steps):
        if number == 0:
            say(price.words)
        yield step
