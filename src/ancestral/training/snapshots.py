"""Snapshots of the two averages that any other is rebuilt of: a file a step in RUN/averages, evenly over the run.

After step n there is one of each multiple of s up to n, where s is the smallest power of two that leaves at most as
many as are wanted. When s has doubled, every second one goes with the next that comes. So which there are is a function
of steps alone, and a run that goes on after a kill writes those after its checkpoint again, with the same bytes. They
are float32, since a short average is a difference of others, whose shares reach tens: half precision would be seen.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import half_of, json_object, open_regular, write_whole, writing
from ancestral.networks.weights import tensors_hash
from ancestral.training.checkpoint import MARGIN, apart, check_room

REMEDY = "earlier checkpoints are untouched: give the same command again"


class Snapshot(NamedTuple):
    """An open file: `updates` are those that its averages end at."""

    updates: int
    file: Any

    def tensor(self, group: str, name: str) -> Tensor:
        """A weight in one of the two averages."""
        found: Tensor = self.file.get_tensor(f"{group}.{name}")
        return found


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
    """Writes that of a step, and removes those that are none any more. `averages`: by name of the average and of the
    weight."""
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
        opened = safe_open(file, "pt")
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
