"""Saves checkpoints to be killed in the middle of it; a process of its own, which forks a child for every kill.

    saving.py points FOLDER       one kill before every operation on files that a save makes
    saving.py random FOLDER N     N kills at random moments of saving without end

It prints a JSON object for each kill: what the child had finished, and what is found afterwards.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.listdir", "os.scandir")
"""Of Python's audit events: each is raised before the operation is done."""


def save_next(folder: Path, numbers: int) -> int:
    """The checkpoint after the newest; its tensors say which it is."""
    newest = newest_checkpoint(folder, print)
    step = 1 if newest is None else 1 + int(newest.name.removeprefix("step-"))
    tensors = {name: {"w": torch.full((numbers,), float(step))} for name in ("model", "ema", "optimizer")}
    save_checkpoint(folder, step, tensors, {"step": step}, keep=2)
    return step


def found(folder: Path) -> dict[str, object]:
    """What the next start would find, with every number compared."""
    said: list[str] = []
    newest = newest_checkpoint(folder, said.append)
    if newest is None:
        return {"step": 0, "whole": True, "said": said}
    tensors, state = load_checkpoint(newest)
    whole = len(tensors) == 3 and all(bool((group["w"] == state["step"]).all()) for group in tensors.values())
    return {"step": state["step"], "whole": whole, "said": said}


def forked(work: Callable[[], object]) -> int:
    """The process number of a child that does `work` and leaves."""
    if child := os.fork():
        return child
    try:
        work()
    finally:
        os._exit(0)


def operations_before_kill(number: int) -> None:
    """Kills this process before the operation of that number, from 0."""
    count = -1

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event in OPERATIONS:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_at_every_point(folder: Path) -> None:
    """Saves thrice, then again and again, killed one operation later each time, until one save is not."""
    for _ in range(3):
        save_next(folder, 64)
    killed, number = True, 0
    while killed:
        before = found(folder)["step"]

        def work(number: int = number) -> None:
            operations_before_kill(number)
            save_next(folder, 64)

        killed = os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == -signal.SIGKILL
        print(json.dumps({"killed": killed, "finished": before, **found(folder)}), flush=True)
        number += 1


def kill_at_random(folder: Path, times: int) -> None:
    """Large enough tensors that writing them takes a while."""
    random.seed(0)
    for _ in range(times):
        reader, writer = os.pipe()

        def work(writer: int = writer) -> None:
            while True:
                os.write(writer, b"%d\n" % save_next(folder, 100_000))

        child = forked(work)
        os.close(writer)
        time.sleep(random.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reader) as lines:
            finished = [int(line) for line in lines]
        print(json.dumps({"killed": code == -signal.SIGKILL, "finished": max(finished, default=0), **found(folder)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "points":
        kill_at_every_point(Path(sys.argv[2]))
    else:
        kill_at_random(Path(sys.argv[2]), int(sys.argv[3]))
