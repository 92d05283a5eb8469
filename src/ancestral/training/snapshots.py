"""Snapshots of the two averages that any other is rebuilt of: a file a step in RUN/averages, evenly over the run.

After step n there is one of each multiple of s up to n, s the smallest power of two that leaves no more than are
wanted; when s has doubled, every second one goes. So which there are is a function of steps alone: a run that was
killed writes them again, with the same bytes. They are float32, as a short average has shares of tens.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import half_of, json_object, open_regular, write_whole, writing
from ancestral.networks.weights import tensors_hash
from ancestral.processes import Processes
from ancestral.text import size_in_words
from ancestral.training.checkpoint import MARGIN, apart, check_room
from ancestral.training.power_average import PROFILES
from ancestral.training.step import Trainer

REMEDY = "earlier checkpoints are untouched: give the same command again"


class Snapshots:
    """Those of a trainer's first network, if its settings want any, which the main process writes."""

    def __init__(self, trainer: Trainer, folder: Path, check: Callable[[], None]) -> None:
        self.trainer, self.folder, self.check = trainer, folder, check
        self.most = trainer.modules[0].settings.ema_snapshots or 0
        self.is_main = trainer.engine.processes.is_main

    def after_step(self) -> None:
        """Takes one where it is due and finite."""
        trainer, held = self.trainer, self.trainer.modules[0].powers.means
        if not self.most or not is_due(trainer.step, self.most):
            return
        if not all_finite([each for means in held.values() for each in means.values()], trainer.engine.processes):
            return
        averages = {
            group: {name: each.cpu() for name, each in trainer.engine.whole([*means.values()]) if self.is_main}
            for group, means in held.items()
        }
        if self.is_main:
            self.check()
            save_snapshot(self.folder, trainer.step, int(trainer.ema.updates), averages, self.most)

    def cut(self) -> None:
        """Removes those of steps that are yet to come."""
        if self.most and self.is_main:
            self.check()
            discard_snapshots_after(self.folder, self.trainer.step)

    def in_words(self) -> str | None:
        """What they take of the disk."""
        of_each = [each.nbytes for group in PROFILES for each in self.trainer.expected(0).get(group, {}).values()]
        room = size_in_words(self.most * sum(of_each))
        return (
            f"snapshots of two averages take up to {room} in {self.folder}, for `ancestral ema`" if self.most else None
        )


class Snapshot(NamedTuple):
    """An open file: `updates` are those that its averages end at."""

    updates: int
    file: Any

    def tensor(self, group: str, name: str) -> Tensor:
        """A weight in one of the two averages."""
        found: Tensor = self.file.get_tensor(f"{group}.{name}")
        return found


def all_finite(tensors: Sequence[Tensor], processes: Processes) -> bool:
    """Whether all that all processes hold is finite, together."""
    sound = all(bool(tensor.isfinite().all()) for tensor in tensors)
    return float(processes.sum(torch.tensor(float(not sound), device=processes.device))) == 0


def spacing(step: int, most: int) -> int:
    """s of the header."""
    s = 1
    while step // s > most:
        s *= 2
    return s


def is_due(step: int, most: int) -> bool:
    """Whether there is one of this step."""
    return step % spacing(step, most) == 0


def save_snapshot(
    folder: Path, step: int, updates: int, averages: Mapping[str, Mapping[str, Tensor]], most: int
) -> None:
    """Writes that of a step. `averages`: by name of the average and of the weight."""
    tensors = apart({f"{group}.{name}": each for group, means in averages.items() for name, each in means.items()})
    s = spacing(step, most)
    with writing(folder, REMEDY):
        folder.mkdir(exist_ok=True)
        _remove(folder, lambda before: before % s != 0)
        check_room(folder, f"a snapshot in {folder}", MARGIN + sum(each.nbytes for each in tensors.values()))
    about = json.dumps({"updates": updates, "digest": tensors_hash(tensors)})  # one text: several come in any order
    write_whole(folder / f"step-{step:08d}.safetensors", save(tensors, metadata={"snapshot": about}))


def discard_snapshots_after(folder: Path, step: int) -> None:
    """Removes those of later steps, and what a kill has left of one."""
    with writing(folder, REMEDY):
        _remove(folder, lambda other: other > step)
        for file in folder.glob(".step-*"):
            if half_of(file.name):
                file.unlink()


def open_snapshot(file: Path) -> Snapshot:
    """Raises InputError where it is damaged."""
    try:
        open_regular(file).close()
        opened: Any = safe_open(file, "pt")  # of whose methods it says no types
        about = json_object((opened.metadata() or {})["snapshot"], str(file))
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        updates, digest = int(about["updates"]), about["digest"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, InputError) as fault:
        raise InputError(f"the snapshot {file} is damaged ({fault})") from None
    if digest != tensors_hash(tensors):
        raise InputError(f"the snapshot {file} is damaged (its tensors are not those that were written)")
    return Snapshot(updates, opened)


def snapshot_files(folder: Path) -> dict[int, Path]:
    """Those in a folder, by step, oldest first."""
    files = {path.stem.removeprefix("step-"): path for path in folder.glob("step-*.safetensors")}
    return dict(sorted((int(name), path) for name, path in files.items() if name.isdecimal()))


def _remove(folder: Path, which: Callable[[int], bool]) -> None:
    for step, file in snapshot_files(folder).items():
        if which(step):
            file.unlink()
