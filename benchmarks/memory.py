"""The peak memory of training: what a process of its own ever held, interpreter and libraries included."""

from collections.abc import Callable

from benchmarks.child import run_child
from benchmarks.pairs import Case, Cases, Contestant
from benchmarks.peers.diffusers import BEST, SCRIPT
from benchmarks.programs import PROGRAMS
from benchmarks.workloads import WORKLOADS

STEPS = 2


def memory(quick: bool) -> Cases:
    """MiB at the highest point of three training steps."""
    for key, builders in PROGRAMS.items():
        contestants = [Contestant(name, _peak(key, name, quick)) for name in builders]
        goals = {name: 1.0 for name in (SCRIPT.name, BEST.name) if name in builders}
        yield Case(f"peak memory, {WORKLOADS[key](quick).name}", contestants, "MiB", goals)


def _peak(workload: str, program: str, quick: bool) -> Callable[[], float]:
    request = {"workload": workload, "program": program, "quick": quick, "steps": STEPS}
    return lambda: run_child(request)["peak_mib"]
