"""Checkpoints that are whole or absent.

A checkpoint is a folder `step-00001000` of safetensors files, `state.json`, and `manifest.json`, which holds the size
and sha256 of each of them and is written last. Everything is written and flushed under a temporary name; one rename
makes it exist. At no instant is there less than one valid checkpoint once the first exists: older ones are pruned
after the rename. A damaged one is renamed aside, said, and the one before it is used. Where the disk has too little
space nothing is begun, and what a failed or killed save left behind is removed by it or by the next.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ancestral.errors import CannotWrite, InputError
from ancestral.files import flush, write_whole

Tensors = Mapping[str, Mapping[str, Tensor]]
"""File name without ending -> name -> tensor."""
FORMAT = 1
"""Of what is written. Older formats are read, newer ones refused."""
MARGIN = 2**20
"""Bytes that must be free beside those of the tensors: headers, counters, manifest, and the lines of the logs."""


def save_checkpoint(
    root: Path,
    step: int,
    tensors: Tensors,
    state: Mapping[str, Any],
    keep: int,
    spared: Callable[[int], bool] = lambda step: False,
) -> Path:
    """Writes `root`/step-<step>, then removes all but the newest `keep`.

    Args:
        spared: whether the checkpoint of a step is never removed, however old it is.

    Raises:
        CannotWrite: not enough space, disk full, folder gone or read-only; earlier checkpoints are untouched.
    """
    folder, building = root / f"step-{step:08d}", root / f".building-{step:08d}"
    try:
        root.mkdir(exist_ok=True)
        for left_behind in root.glob(".building-*"):
            shutil.rmtree(left_behind)
        _check_space(folder, tensors)
        _build(building, tensors, state)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        flush(root)
        for old in _complete(root)[:-keep]:
            if not spared(_step(old)):
                shutil.rmtree(old)
    except OSError as fault:
        raise CannotWrite(
            f"cannot write the checkpoint {folder}: {fault.strerror}; earlier checkpoints are untouched"
        ) from None
    return folder


def newest_checkpoint(root: Path, say: Callable[[str], None], up_to: int | None = None) -> Path | None:
    """The newest valid checkpoint under `root`, or None where none was ever written.

    Damaged ones are renamed to damaged-<name> and said.

    Args:
        up_to: the step of the newest one to be considered; None: all are.

    Raises:
        InputError: there are checkpoints and every one is damaged, or one was written by a newer version.
        CannotWrite: a damaged one cannot be renamed.
    """
    folders = [folder for folder in _complete(root) if up_to is None or _step(folder) <= up_to]
    for folder in reversed(folders):
        fault = _fault(folder)
        if fault is None:
            return folder
        say(f"checkpoint {folder.name} is damaged ({fault}): set aside, using the one before it")
        _set_aside(folder)
    if folders or any(root.glob("damaged-*")):
        raise InputError(f"every checkpoint in {root} is damaged; train into another folder to start afresh")
    return None


def discard_after(root: Path, step: int) -> None:
    """Removes the checkpoints under `root` that are newer than `step`.

    Raises:
        CannotWrite: the folder is gone or read-only.
    """
    try:
        for folder in _complete(root):
            if _step(folder) > step:
                shutil.rmtree(folder)
    except OSError as fault:
        raise CannotWrite(f"cannot remove {folder}: {fault.strerror}") from None


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by file and name, state) of a checkpoint that `newest_checkpoint` has found valid."""
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return tensors, json.loads((folder / "state.json").read_text())


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint, whole or damaged."""
    return any((folder / name).is_file() for name in ("manifest.json", "state.json", "ema.safetensors"))


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint that its manifest has been compared with.

    Raises:
        InputError: a damaged one, or one of a newer version.
    """
    fault = _fault(folder)
    if fault is not None:
        raise InputError(f"the checkpoint {folder} is damaged ({fault}); name another one")
    return load_file(folder / "ema.safetensors")


def _complete(root: Path) -> list[Path]:
    return sorted((path for path in root.glob("step-*") if path.name[5:].isdecimal()), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _check_space(folder: Path, tensors: Tensors) -> None:
    needed = MARGIN + sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise CannotWrite(
            f"cannot write the checkpoint {folder}: it needs {needed:,} bytes and {free:,} are free; earlier "
            "checkpoints are untouched: free space and give the same command again"
        )


def _build(building: Path, tensors: Tensors, state: Mapping[str, Any]) -> None:
    """Writes all of a checkpoint, the manifest last; leaves nothing where that cannot be done."""
    try:
        building.mkdir()
        for name, group in tensors.items():
            write_whole(building / f"{name}.safetensors", save({k: v.contiguous() for k, v in group.items()}))
        write_whole(building / "state.json", json.dumps(state))
        write_whole(building / "manifest.json", json.dumps({"format": FORMAT, "files": _fingerprints(building)}))
    except (OSError, CannotWrite):
        shutil.rmtree(building, ignore_errors=True)
        raise


def _fingerprints(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] > FORMAT:
            raise InputError(f"{folder} was written by a newer version of ancestral; upgrade to resume from it")
        if manifest["files"] != _fingerprints(folder):
            return "its files are not those its manifest lists"
        load_checkpoint(folder)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as fault:
        return str(fault) or type(fault).__name__
    return None


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"damaged-{folder.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    except OSError as fault:
        raise CannotWrite(f"cannot rename the damaged checkpoint {folder}: {fault.strerror}") from None
