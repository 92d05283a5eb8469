"""Real processes that compute together: `in_processes` starts them, this file is what each of them runs."""

import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from standing import Forked, Script, server

from ancestral.processes import Processes, init_distributed, ranks_from_env

HERE = Path(__file__).parent
Work = Callable[..., Any]
MOST = 3
"""Processes that stand ready."""


def environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What a launcher tells a process."""
    told = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    root = HERE.parents[1]
    paths = os.pathsep.join(map(str, (root / "src", HERE, HERE.parent, root)))
    alone = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1"}
    return {**os.environ, **alone, **{name: str(value) for name, value in told.items()}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_processes(world: int, work: Work, folder: Path, *words: object) -> list[Forked]:
    """`work(processes, folder, *words)` in each of `world` new processes; words are what JSON can hold."""
    script = Script(Path(__file__), work.__module__, work.__name__, folder, json.dumps(words))
    port = free_port()
    return [Forked(script, Path.cwd(), environment(rank, world, port)) for rank in range(world)]


@lru_cache
def standing() -> ProcessPoolExecutor:
    """Processes that have loaded torch already, for work that leaves a process as it was."""
    return ProcessPoolExecutor(MOST, server())


def in_processes(world: int, work: Work, folder: Path, *words: object, seconds: float = 180) -> list[Any]:
    """What `work(processes, folder, *words)` returned in each of `world` standing processes, within so many seconds. As
    each waits for the others, no two of these are done by one.
    """
    port = free_port()
    asked = (work.__module__, work.__name__, folder, words)
    started = [standing().submit(at_place, environment(rank, world, port), *asked) for rank in range(world)]
    try:
        return [future.result(timeout=seconds) for future in started]
    except BaseException:
        for process in [*standing()._processes.values()]:
            process.kill()
        standing.cache_clear()
        raise


def at_place(told: dict[str, str], module: str, name: str, folder: Path, words: Sequence[Any]) -> Any:
    """The work of one process."""
    torch.set_num_threads(1)
    with patch.dict(os.environ, told), init_distributed(ranks_from_env(), torch.device("cpu")) as processes:
        assert isinstance(processes, Processes)
        return getattr(import_module(module), name)(processes, folder, *words)


if __name__ == "__main__":
    module, name, folder, words = sys.argv[1:]
    print(json.dumps(at_place({}, module, name, Path(folder), json.loads(words))), flush=True)
