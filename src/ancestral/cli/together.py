"""One command in several processes: each has its device, and the first one speaks for all."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ancestral.cli.output import say
from ancestral.cli.view import main_process_speaks
from ancestral.jobs import running
from ancestral.processes import Processes


@contextmanager
def together(device_name: str | None) -> Iterator[tuple[torch.device, Processes]]:
    """This process's device, and what it can do with the others, once all are there.

    Raises:
        InputError: no such device, or a launcher told nonsense.
        Lost: the others did not come.
    """
    with main_process_speaks(), running.together(device_name) as (device, processes, notes):
        for note in notes:
            say(note.text)
        yield device, processes
