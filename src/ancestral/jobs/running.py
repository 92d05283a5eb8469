"""What jobs share while they run: where they compute, by how many processes, and whether they may take so much."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ancestral.compute import on_device
from ancestral.errors import AncestralError, InputError, Lost
from ancestral.jobs.events import NoteEvent
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes, init_distributed, ranks_from_env
from ancestral.settings import SamplingSettings
from ancestral.tensors import Labels
from ancestral.tuning.price import Price, refusal


def device_named(name: str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one.

    Raises:
        InputError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a CUDA device, got none on this machine; leave out --device cuda")
    return on_device(name)


@contextmanager
def together(device_name: str | None) -> Iterator[tuple[torch.device, Processes, tuple[NoteEvent, ...]]]:
    """This process's device, what it can do with the others, once all are there, and notes for people.

    Only the main process of a job yields files and a result.

    Raises:
        InputError: no such device, or a launcher told nonsense.
        Lost: the others did not come.
    """
    here, on = ranks_from_env(), device_named(device_name)
    if on.type == "cuda" and not here.is_single:
        on = torch.device("cuda", here.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(on)
    with init_distributed(here, on) as processes:
        try:
            yield on, processes, _notes(processes)
        except AncestralError as fault:
            fault.rank_local = not isinstance(fault, Lost) and processes.failed_only_here(str(fault))
            raise


def _notes(processes: Processes) -> tuple[NoteEvent, ...]:
    one_machine = processes.local_world_size == processes.world_size
    if one_machine or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return ()
    remedy = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    return (NoteEvent(f"over several machines torchrun restarts reliably only with {remedy}"),)


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


def check_asked(pipeline: Pipeline, labels: Labels | None, settings: SamplingSettings) -> None:
    """That the pipeline can generate so, before anything is said of it: what is wrong is one line.

    Raises:
        InputError: labels, guidance or steps that do not fit it.
    """
    pipeline.timesteps(settings)
    pipeline.denoiser(None if labels is None else labels[:1], settings)
