"""Checkpoints that are whole or absent.

A checkpoint is a folder `step-00001000` of safetensors files, `state.json`, and `manifest.json`, which holds the size
and sha256 of each of them and is written last. Everything is written and flushed under a temporary name; one rename
makes it exist. At no instant is there less than one valid checkpoint once the first exists: older ones are pruned
after the rename. A damaged one is renamed aside, said, and the one before it is used.
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


def save_checkpoint(root: Path, step: int, tensors: Tensors, state: Mapping[str, Any], keep: int) -> Path:
    """Writes `root`/step-<step>, then removes all but the newest `keep`.

    Raises:
        CannotWrite: disk full, folder gone or read-only; earlier checkpoints are untouched.
    """
    folder, building = root / f"step-{step:08d}", root / f".building-{step:08d}"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        for name, group in tensors.items():
            write_whole(building / f"{name}.safetensors", save({k: v.contiguous() for k, v in group.items()}))
        write_whole(building / "state.json", json.dumps(state))
        write_whole(building / "manifest.json", json.dumps({"format": FORMAT, "files": _fingerprints(building)}))
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        flush(root)
        for old in _complete(root)[:-keep]:
            shutil.rmtree(old)
    except OSError as fault:
        raise CannotWrite(
            f"cannot write the checkpoint {folder}: {fault.strerror}; the one before it is whole"
        ) from None
    return folder


def newest_checkpoint(root: Path, say: Callable[[str], None]) -> Path | None:
    """The newest valid checkpoint under `root`, or None where none was ever written.

    Damaged ones are renamed to damaged-<name> and said.

    Raises:
        InputError: there are checkpoints and every one is damaged, or one was written by a newer version.
    """
    folders = _complete(root)
    for folder in reversed(folders):
        fault = _fault(folder)
        if fault is None:
            return folder
        say(f"checkpoint {folder.name} is damaged ({fault}): set aside, using the one before it")
        _set_aside(folder)
    if folders or any(root.glob("damaged-*")):
        raise InputError(f"every checkpoint in {root} is damaged; train into another folder to start afresh")
    return None


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by file and name, state) of a checkpoint that `newest_checkpoint` has found valid."""
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return tensors, json.loads((folder / "state.json").read_text())


def _complete(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"))


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
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
        if isinstance(fault, InputError):
            raise
        return str(fault) or type(fault).__name__
    return None


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
