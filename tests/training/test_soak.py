"""Two hundred kills at random moments of saving, and never a checkpoint lost or half; and a long run that grows by
nothing."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ranks import in_processes
from runs import fresh, tiny

from ancestral.processes import Processes
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

KILLS = 200


@pytest.mark.slow
def test_two_hundred_kills_while_saving_lose_nothing_that_was_saved(tmp_path: Path) -> None:
    script = Path(__file__).with_name("saving.py")
    command = [sys.executable, str(script), "random", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == KILLS and all(kill["killed"] for kill in kills)
    assert all(kill["whole"] and not kill["said"] for kill in kills)
    assert all(kill["step"] >= kill["finished"] for kill in kills), "a save that had returned was lost"
    print(f"{len(kills)} kills while saving, the newest valid checkpoint then of step {kills[-1]['step']}: none lost")
    steps = [kill["step"] for kill in kills]
    assert steps == sorted(steps) and steps[-1] > 0
    left_behind = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left_behind) <= 1, "each save removes what a killed one left"


STEPS, FROM, EVERY = 2000, 400, 100
"""Of a run whose memory is watched; what is built up at first is over by `FROM`."""
SLACK = 6 * 2**20
"""Bytes by which a process may grow from there on: a float kept for each image of 16,000 would be a hundredth of it, a
tensor of the smallest kept for each step six times it."""


def watched(processes: Processes, folder: Path, parallel: str) -> list[tuple[int, int]]:
    """(resident bytes, open descriptors) of a process that trains, every so-many steps."""
    often = {
        "log_every_steps": 50,
        "validate_every_steps": 100,
        "sample_every_steps": 200,
        "checkpoint_every_steps": 50,
    }
    pipeline, parts = fresh(tiny({"training": {"steps": STEPS, **often}}))
    seen = []
    steps = train(pipeline, parts, RunFolder(folder), lambda text: None, processes=processes, parallel=parallel)  # type: ignore[arg-type]
    for progress in steps:
        if progress.step % EVERY == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len([*Path("/proc/self/fd").iterdir()])))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("world", "parallel"), [(1, "ddp"), (2, "ddp"), (2, "fsdp")])
def test_memory_and_descriptors_are_flat_over_two_thousand_steps(tmp_path: Path, world: int, parallel: str) -> None:
    """With everything that happens between steps: held-out losses, grids, checkpoints, pruning."""
    for seen in in_processes(world, watched, tmp_path, parallel, seconds=1800):
        late = seen[FROM // EVERY - 1 :]
        half = len(late) // 2
        first, second = (max(size for size, _ in part) for part in (late[:half], late[half:]))
        assert second - first < SLACK, [size >> 20 for size, _ in seen]
        print(
            f"{world} by {parallel}: at most {first / 2**20:.1f} MiB in steps {FROM} to {FROM + EVERY * half}, "
            f"{second / 2**20:.1f} MiB after; {late[0][1]} descriptors throughout"
        )
        assert len({descriptors for _, descriptors in late}) == 1, [descriptors for _, descriptors in seen]
