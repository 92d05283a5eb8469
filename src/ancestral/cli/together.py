"""One command in several processes: each has its device, and the first one speaks for all."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from ancestral.cli.machine import device
from ancestral.cli.output import say
from ancestral.errors import AncestralError, Lost
from ancestral.processes import Processes, init_distributed, ranks_from_env


@contextmanager
def together(device_name: str | None) -> Iterator[tuple[torch.device, Processes]]:
    """This process's device, and what it can do with the others, once all are there.

    Raises:
        InputError: no such device, or a launcher told nonsense.
        Lost: the others did not come.
    """
    here, on = ranks_from_env(), device(device_name)
    if on.type == "cuda" and not here.is_single:
        on = torch.device("cuda", here.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(on)
    with ExitStack() as stack:
        if not here.is_main:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        processes = stack.enter_context(init_distributed(here, on))
        if (
            processes.local_world_size < processes.world_size
            and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        ):
            say("over several machines torchrun restarts reliably only with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")
        try:
            yield on, processes
        except AncestralError as fault:
            fault.rank_local = not isinstance(fault, Lost) and processes.failed_only_here(str(fault))
            raise
