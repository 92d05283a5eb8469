"""What jobs share while they run: where they compute, by how many processes, and whether they may take so much."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ancestral.compute import on_device
from ancestral.condition import Condition
from ancestral.errors import AncestralError, InputError, Lost
from ancestral.jobs.events import NoteEvent
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes, init_distributed, ranks_from_env
from ancestral.settings import SamplingSettings
from ancestral.tuning.price import Price, refusal

Load = Callable[..., Pipeline]
"""Called as `Pipeline.load` is: by whoever keeps pipelines that are loaded, in its place."""


def device_named(name: str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a CUDA device, got none on this machine; leave out --device cuda")
    return on_device(name)


@contextmanager
def together(device_name: str | None) -> Iterator[tuple[torch.device, Processes, tuple[NoteEvent, ...]]]:
    """This process's device, what it can do with the others, once all are there (else Lost), and notes for people."""
    here, on = ranks_from_env(), device_named(device_name)
    if on.type == "cuda" and not here.is_single:
        on = torch.device("cuda", here.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(on)
    with init_distributed(here, on) as processes:
        notes: tuple[NoteEvent, ...] = ()
        one_machine = processes.local_world_size == processes.world_size
        if not one_machine and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            remedy = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
            notes = (NoteEvent(f"over several machines torchrun restarts reliably only with {remedy}"),)
        try:
            yield on, processes, notes
        except AncestralError as fault:
            fault.rank_local = not isinstance(fault, Lost) and processes.failed_only_here(str(fault))
            raise


def allow(price: Price, meant: bool, device: torch.device, processes: Processes, folder: Path, remedy: str) -> Price:
    """What work that writes to `folder` takes, as the first process has measured it; an InputError in all processes
    where that does not fit, or is more than is usual and not `meant`. `remedy` says what makes it cheaper.
    """
    price = Price(*json.loads(processes.broadcast(json.dumps(price))))
    refused = processes.broadcast(refusal(price, meant, device, folder, remedy) if processes.is_main else "")
    if refused:
        raise InputError(refused)
    return price


def check_asked(pipeline: Pipeline, condition: Condition, settings: SamplingSettings) -> None:
    """That condition, guidance and steps fit the pipeline, before anything is said of it."""
    pipeline.timesteps(settings)
    pipeline.denoiser(condition.rows(slice(0, 1)), settings)
