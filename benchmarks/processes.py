"""What it costs that several processes train one network: the same steps by one process on all cores, and by two.

Whole runs of the command, as a user gives it: `ancestral train` on all cores against `torchrun --nproc-per-node 2` on
one core each, at the same global batch. A run's own log says how long its steps took; the first ones, in which
caches fill, are left out, and so is what is no training. Two are to keep nine tenths of one's rate, so
that a step may take 1.11 times as long. Not said here: what a network between machines adds.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.pairs import Case, Cases, Contestant

STEPS, QUICK = {"digits": 120, "photos": 40}, 8
EVERY = 4
"""Steps to a line of the log."""


def processes(quick: bool) -> Cases:
    """Seconds of a step."""
    for preset, steps in STEPS.items():
        contestants = [
            Contestant(name, _seconds(preset, QUICK if quick else steps, launcher, words))
            for name, (launcher, words) in ways().items()
        ]
        yield Case(f"a step of {preset}", contestants)


def ways() -> dict[str, tuple[list[str], list[str]]]:
    """Launcher, and words of the command."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return {
        "one process": ([], []),
        "two processes": (torchrun, []),
        "two processes, fully sharded": (torchrun, ["--parallel", "fsdp"]),
    }


def _seconds(preset: str, steps: int, launcher: Sequence[str], words: Sequence[str]) -> Callable[[], float]:
    def measure() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, *launcher, "-m", "ancestral", "train", preset, "--out", f"{folder}/run", *words]
            never = ("sample", "validate", "checkpoint")
            command += ["--training.steps", str(steps), "--training.log_every_steps", str(EVERY)]
            command += [word for name in never for word in (f"--training.{name}_every_steps", str(10**6))]
            subprocess.run(command, check=True, capture_output=True, text=True)
            return seconds_of_a_step(Path(folder) / "run" / "timing.jsonl")

    return measure


def seconds_of_a_step(log: Path) -> float:
    """Between the first line of a run's log and the last, less what is no training."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first, *rest = lines
    spent = 60 * (rest[-1]["minutes"] - first["minutes"])
    return (spent - sum(line["watching_seconds"] for line in rest)) / (rest[-1]["step"] - first["step"])
