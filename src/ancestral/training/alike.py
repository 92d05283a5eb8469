"""Whether several processes are about to train the same thing.

Each of them was started by a command of its own, and sees a disk of its own. Were one told another learning rate, or
did it see other images, their gradients would be averaged all the same and nothing would look wrong.
"""

import json

from ancestral.errors import InputError
from ancestral.processes import Processes
from ancestral.settings import Config, flat

NAMED = 3
"""Differences that are named of each process."""


def check_alike(processes: Processes, config: Config, images: str, parallel: str) -> None:
    """Compares settings and images with those of the first process, together.

    Args:
        images: the hash of the training images.

    Raises:
        InputError: on every process, with the reasons of all that differ.
    """
    tree = config.model_dump(mode="json", exclude={"compute"})
    mine = {**dict(flat(tree)), "--parallel": parallel, "images of hash": images[:16]}
    first, *others = processes.all_gather(mine)
    faults = [
        f"process {rank} has {name} {json.dumps(other[name])}, not {json.dumps(first[name])}"
        for rank, other in enumerate(others, start=1)
        for name in [name for name in first if other[name] != first[name]][:NAMED]
    ]
    if faults:
        raise InputError(f"expected the same of every process, got {'; '.join(faults)}; give each the same command")
