"""A program in a process of its own, for what belongs to a process: its environment, its allocator, its peak memory.

`python -m benchmarks.child '{"workload": "paper", "program": "ancestral", "quick": true, "steps": 3}'` takes one step
to warm up and `steps` more, and prints {"seconds": median of a step, "peak_mib": ...} as the last line.
With "recipe" instead of "program" it takes the steps of that `recipe.Recipe`. Ancestral's own steps keep freed memory,
as its trainer does, unless "gives_back" is true; peers are left as they are.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from ancestral.machine import keep_freed_memory
from benchmarks.pairs import timed

ROOT = Path(__file__).parents[1]


def run_child(
    request: Mapping[str, Any], environment: Mapping[str, str] | None = None, limit_seconds: float | None = None
) -> dict[str, float]:
    """What a child process measured.

    Raises:
        subprocess.TimeoutExpired: it took longer than `limit_seconds`.
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", json.dumps(request)],
        cwd=ROOT, env={**os.environ, **(environment or {})}, timeout=limit_seconds, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def peak_mib() -> float:
    """The most memory this process ever held, in MiB: of the GPU where there is one, else resident.

    `getrusage` would do but for one thing: a child's begins at what its parent held.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(request: Mapping[str, Any]) -> dict[str, float]:
    """Takes the steps that are asked for in this process."""
    from benchmarks import ours
    from benchmarks.programs import PROGRAMS
    from benchmarks.recipe import Recipe, recipe_step
    from benchmarks.workloads import WORKLOADS

    quick, workload = request["quick"], request["workload"]
    if request.get("program", ours.NAME) == ours.NAME and not request.get("gives_back"):
        keep_freed_memory()
    if "recipe" in request:
        step: Callable[[], object] = recipe_step(WORKLOADS[workload](quick), Recipe(**request["recipe"]))
    else:
        step = PROGRAMS[workload][request["program"]](quick).step
    step()
    take = timed(step)
    return {"seconds": median(take() for _ in range(request["steps"])), "peak_mib": peak_mib()}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
