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

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ancestral.errors import CannotWrite, InputError
from ancestral.files import flush, write_whole
from ancestral.processes import ALONE, Processes
from ancestral.training.tensor_files import Tensors, read_groups, read_tensors, write_file, write_tensors

WHOLE, BY_ROWS = 1, 2
"""Formats: every tensor in one file; or its rows in as many as there were processes. Newer ones are refused."""
MARGIN = 2**20
"""Bytes that must be free beside those of the tensors: headers, counters, manifest, and the lines of the logs."""


def save_checkpoint(
    root: Path,
    step: int,
    tensors: Tensors,
    state: Mapping[str, Any],
    keep: int,
    spared: Callable[[int], bool] = lambda step: False,
    holders: Processes = ALONE,
) -> Path:
    """Writes `root`/step-<step>, then removes all but the newest `keep`.

    Args:
        spared: whether the checkpoint of a step is never removed, however old it is.
        holders: the processes that each hold some rows of the tensors; all of them call this together, and see one
            disk.

    Raises:
        CannotWrite: not enough space, disk full, folder gone or read-only; earlier checkpoints are untouched. Of
            several processes all raise it where one cannot write.
    """
    folder, building = root / f"step-{step:08d}", root / f".building-{step:08d}"
    needed = MARGIN + sum(int(count) for count in holders.gathered(str(_bytes(tensors))))

    def begin() -> str:
        root.mkdir(exist_ok=True)
        for left_behind in root.glob(".building-*"):
            shutil.rmtree(left_behind)
        _check_space(folder, needed)
        building.mkdir()
        return ""

    def finish() -> str:
        files = {name: about for each in said for name, about in json.loads(each).items()}
        files |= write_file(building / "state.json", json.dumps(state).encode())
        number = WHOLE if holders.alone else BY_ROWS
        write_whole(building / "manifest.json", json.dumps({"format": number, "files": files}))
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        flush(root)
        for old in _complete(root)[:-keep]:
            if not spared(_step(old)):
                shutil.rmtree(old)
        return ""

    try:
        _each(holders, folder, begin if holders.lead else str)
        said = _each(holders, folder, lambda: json.dumps(write_tensors(building, tensors, holders)))
        _each(holders, folder, finish if holders.lead else str)
    except CannotWrite:
        if holders.lead:
            shutil.rmtree(building, ignore_errors=True)
        raise
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


def load_checkpoint(
    folder: Path, rows: Callable[[int], slice] | None = None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by group and name, state) of a checkpoint that `newest_checkpoint` has found valid.

    Args:
        rows: which of so many rows are wanted, of weights, averages and moments; None: all. No others are read.
    """
    return read_groups(folder, rows), json.loads((folder / "state.json").read_text())


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint, whole or damaged."""
    return any(next(folder.glob(name), None) for name in ("manifest.json", "state.json", "ema*.safetensors"))


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint that its manifest has been compared with.

    Raises:
        InputError: a damaged one, or one of a newer version.
    """
    fault = _fault(folder)
    if fault is not None:
        raise InputError(f"the checkpoint {folder} is damaged ({fault}); name another one")
    return read_tensors(sorted(folder.glob("ema*.safetensors")))


def _complete(root: Path) -> list[Path]:
    return sorted((path for path in root.glob("step-*") if path.name[5:].isdecimal()), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for group in tensors.values() for tensor in group.values())


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise CannotWrite(
            f"cannot write the checkpoint {folder}: it needs {needed:,} bytes and {free:,} are free; earlier "
            "checkpoints are untouched: free space and give the same command again"
        )


def _each(holders: Processes, folder: Path, work: Callable[[], str]) -> list[str]:
    """What `work` gave on each process, together.

    Raises:
        CannotWrite: on all, where one could not.
    """
    try:
        said = {"done": work()}
    except CannotWrite as fault:
        said = {"fault": str(fault)}
    except OSError as fault:
        text = f"cannot write the checkpoint {folder}: {fault.strerror}; earlier checkpoints are untouched"
        said = {"fault": text}
    results = [json.loads(each) for each in holders.gathered(json.dumps(said))]
    if faults := [each["fault"] for each in results if "fault" in each]:
        raise CannotWrite(faults[0])
    return [each["done"] for each in results]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprints(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] > BY_ROWS:
            raise InputError(f"{folder} was written by a newer version of ancestral; upgrade to resume from it")
        if manifest["files"] != _fingerprints(folder):
            return "its files are not those its manifest lists"
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt"):
                pass
        json.loads((folder / "state.json").read_text())
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
