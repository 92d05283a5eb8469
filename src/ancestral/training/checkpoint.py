"""Checkpoints that are whole or absent.

A checkpoint is a folder `step-00001000` of safetensors files, `state.json`, and `manifest.json`, which holds the size
and sha256 of each of them and is written last. Everything is written and flushed under a temporary name; one rename
makes it exist. At no instant is there less than one valid checkpoint once the first exists: older ones are pruned
after the rename. A damaged one is renamed aside, said, and the one before it is used. Where the disk has too little
space nothing is begun, and what a failed or killed save left behind is removed by it or by the next.

Where each of several processes holds some rows of every tensor, it writes them as `model-00001-of-00002.safetensors`
and so on, and the first one the rest. The rows in the order of the files are the tensor, so that any number of
processes, or one, reads them again, and each of them no more than its own.

A checkpoint is judged by the files that its manifest lists, to the byte, and nothing else is read of it: what a file
manager, a network disk or a user has put beside them is no damage.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate, chain, pairwise
from pathlib import Path
from stat import S_ISREG
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.errors import CannotWrite, InputError
from ancestral.files import flush, put_in_place, read_json, write_whole
from ancestral.networks.interface import OF_TRAINING
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.training.power_average import PROFILES

WHOLE, BY_ROWS = 1, 2
"""Formats: every tensor in one file; or its rows in as many as there were processes. Newer ones are refused."""
MARGIN = 2**20  # bytes that must be free beside those of the tensors: headers, counters, manifest, lines of the logs
Tensors = Mapping[str, Mapping[str, Tensor]]  # group -> name -> tensor
PIECE = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
"""The name of a file that holds some rows: of which group, and which of how many it is."""
HELD_BY_ROWS = ("model", "ema", "optimizer", *PROFILES)
"""Groups of which each process holds rows; tensors without rows, such as counts of steps, are held by the main one."""


def save_checkpoint(
    root: Path,
    step: int,
    tensors: Tensors,
    state: Mapping[str, Any],
    keep: int,
    spared: Callable[[int], bool] = lambda step: False,
    holders: Processes = SINGLE_PROCESS,
) -> Path:
    """Writes `root`/step-<step>, then removes all but the newest `keep`.

    Args:
        spared: whether the checkpoint of a step is never removed, however old it is.
        holders: the processes that each hold some rows of the tensors; all of them call this together, and see one
            disk. All raise CannotWrite where one cannot write.
    """
    folder, building = root / f"step-{step:08d}", root / f".building-{step:08d}"
    held = sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
    needed = MARGIN + sum(holders.all_gather(held))

    def begin() -> str:
        root.mkdir(exist_ok=True)
        for left_behind in root.glob(".building-*"):
            shutil.rmtree(left_behind)
        check_room(root, f"the checkpoint {folder}", needed)
        building.mkdir()
        return ""

    def finish() -> str:
        files = {name: about for each in said for name, about in json.loads(each).items()}
        files |= _write(building / "state.json", json.dumps(state).encode())
        number = WHOLE if holders.is_single else BY_ROWS
        write_whole(building / "manifest.json", json.dumps({"format": number, "files": files}))
        put_in_place(building, folder)
        flush(root)
        for old in complete_checkpoints(root)[:-keep]:
            if not spared(_step(old)):
                shutil.rmtree(old)
        return ""

    try:
        _each(holders, folder, begin if holders.is_main else str)
        said = _each(holders, folder, lambda: json.dumps(_write_tensors(building, tensors, holders)))
        _each(holders, folder, finish if holders.is_main else str)
    except CannotWrite:
        if holders.is_main:
            shutil.rmtree(building, ignore_errors=True)
        raise
    return folder


def check_room(root: Path, what: str, needed: int) -> None:
    """Raises CannotWrite where the disk of `root` has fewer bytes."""
    if (free := shutil.disk_usage(root).free) < needed:
        raise CannotWrite(
            f"cannot write {what}: it needs {needed:,} bytes and {free:,} are free; earlier checkpoints are untouched: "
            "free space and give the same command again"
        )


def complete_checkpoints(root: Path) -> list[Path]:
    """Those under `root` that were written to their end, damaged since or not, oldest first."""
    return sorted((path for path in root.glob("step-*") if path.name[5:].isdecimal() and path.is_dir()), key=_step)


def newest_checkpoint(
    root: Path,
    say: Callable[[str], None],
    up_to: int | None = None,
    content_fault: Callable[[Path], str | None] = lambda folder: None,
) -> Path | None:
    """The newest valid checkpoint under `root`, or None where none was ever written. InputError where every one is
    damaged. Damaged ones are renamed to damaged-<name> and said.

    Args:
        up_to: the step of the newest one to be considered; None: all are.
        content_fault: what is wrong with the content of one whose files are those of its manifest, or None.
    """
    folders = [folder for folder in complete_checkpoints(root) if up_to is None or _step(folder) <= up_to]
    for folder in reversed(folders):
        fault = _fault(folder) or content_fault(folder)
        if fault is None:
            return folder
        say(f"checkpoint {folder.name} is damaged ({fault}): set aside, using the one before it")
        aside = folder.with_name(f"damaged-{folder.name}")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        except OSError as problem:
            raise CannotWrite(f"cannot rename the damaged checkpoint {folder}: {problem.strerror}") from None
    if folders or any(root.glob("damaged-*")):
        raise InputError(f"every checkpoint in {root} is damaged; train into another folder to start afresh")
    return None


def discard_after(root: Path, step: int) -> None:
    """Removes the checkpoints under `root` that are newer than `step`."""
    try:
        for folder in complete_checkpoints(root):
            if _step(folder) > step:
                shutil.rmtree(folder)
    except OSError as fault:
        raise CannotWrite(f"cannot remove {folder}: {fault.strerror}") from None


def load_checkpoint(
    folder: Path, rows: Callable[[int], slice] | None = None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors by group and name, state) of a checkpoint that `newest_checkpoint` has found valid; `rows` of weights,
    averages and moments as for `tensors_in`."""
    groups = tensor_files(folder).items()
    tensors = {name: dict(tensors_in(paths, rows if name in HELD_BY_ROWS else None)) for name, paths in groups}
    return tensors, read_json(folder / "state.json")


def tensor_files(folder: Path) -> dict[str, list[Path]]:
    """The files of tensors that the manifest lists, by group, those of one in order."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder / name for name in _manifest(folder)[1] if name.endswith(".safetensors")):
        piece = PIECE.fullmatch(path.stem)
        groups.setdefault(piece[1] if piece else path.stem, []).append(path)
    return groups


def tensors_in(paths: Sequence[Path], rows: Callable[[int], slice] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors that are in files by rows, or in one, one after the other.

    Args:
        rows: which of so many rows are wanted; None: all. No others are read.
    """
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, "pt")) for path in paths]
        holding: dict[str, list[Any]] = {}
        for file in files:
            for name in file.keys():  # noqa: SIM118
                holding.setdefault(name, []).append(file)
        for name, those in holding.items():
            yield name, _joined([file.get_slice(name) for file in those], rows)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint, whole or damaged."""
    return any(next(folder.glob(name), None) for name in ("manifest.json", "state.json", "ema*.safetensors"))


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint. Raises InputError where it is damaged, or of a newer version."""
    return weights_of(folder, ("ema",))["ema"]


def weights_of(folder: Path, groups: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The same by group, as a saved network has them; a group that is not there is empty."""
    fault = _fault(folder)
    if fault is not None:
        raise InputError(f"the checkpoint {folder} is damaged ({fault}); name another one")
    files = tensor_files(folder)
    held = {group: tensors_in(files.get(group, [])) for group in groups}
    weights = {
        group: {name: each for name, each in tensors if not name.startswith(OF_TRAINING)}
        for group, tensors in held.items()
    }
    every = (weight for group in weights.values() for weight in group.values())
    if not all(weight.dtype == torch.float32 and bool(weight.isfinite().all()) for weight in every):
        raise InputError(f"the checkpoint {folder} is damaged (averages that are no numbers); name another one")
    return weights


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each in memory of its own: one that has two names in a network is written under both."""
    written: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        written[name] = (tensor if place not in taken else tensor.clone()).contiguous()
        taken.add(place)
    return written


def _write_tensors(building: Path, tensors: Tensors, holders: Processes) -> dict[str, dict[str, Any]]:
    """Writes what this process is to write; its lines of the manifest."""
    written: dict[str, dict[str, Any]] = {}
    for group, held in tensors.items():
        by_rows = not holders.is_single and group in HELD_BY_ROWS
        own = {name: tensor for name, tensor in held.items() if holders.is_main or (by_rows and tensor.ndim)}
        if by_rows or holders.is_main:
            piece = f"-{holders.rank + 1:05d}-of-{holders.world_size:05d}" if by_rows else ""
            written |= _write(building / f"{group}{piece}.safetensors", save(apart(own)))
    return written


def _write(path: Path, content: bytes) -> dict[str, dict[str, Any]]:
    """Writes a file; its line in the manifest, which tells of what was meant and not of what the disk made of it."""
    write_whole(path, content)
    return {path.name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}}


def _joined(pieces: list[Any], rows: Callable[[int], slice] | None) -> Tensor:
    """The wanted rows of a tensor that lies in pieces."""
    if not pieces[0].get_shape():
        return pieces[0][...]
    ends = [*accumulate((piece.get_shape()[0] for piece in pieces), initial=0)]
    wanted = slice(0, ends[-1]) if rows is None else rows(ends[-1])
    parts = []
    for piece, (first, end) in zip(pieces, pairwise(ends), strict=True):
        start, stop = max(wanted.start, first), min(wanted.stop, end)
        parts.append(piece[max(start, first) - first : max(start, stop) - first])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _each(holders: Processes, folder: Path, work: Callable[[], str]) -> list[str]:
    """What `work` gave on each process, together. Raises CannotWrite on all, where one could not."""
    try:
        said = {"done": work()}
    except CannotWrite as fault:
        said = {"fault": str(fault)}
    except OSError as fault:
        said = {"fault": f"cannot write the checkpoint {folder}: {fault.strerror}; earlier checkpoints are untouched"}
    results = holders.all_gather(said)
    if faults := [each["fault"] for each in results if "fault" in each]:
        raise CannotWrite(faults[0])
    return [each["done"] for each in results]


def _manifest(folder: Path) -> tuple[int, dict[str, Any]]:
    """The format, and what is said of each file. Raises ValueError or OSError where it is none of this folder."""
    manifest = read_json(folder / "manifest.json")
    number, files = manifest.get("format"), manifest.get("files")
    if type(number) is not int or number < WHOLE or not isinstance(files, dict) or "state.json" not in files:
        raise ValueError("its manifest is malformed")
    for name in files:
        if Path(name).name != name or not S_ISREG((folder / name).lstat().st_mode):
            raise ValueError(f"its manifest lists {name!r}, which is no file of it")
    return number, files


def _fault(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint, or None. Raises InputError for one of a newer version."""
    try:
        number, files = _manifest(folder)
        if number <= BY_ROWS:
            for path, said in ((folder / name, said) for name, said in files.items()):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if {"size": path.stat().st_size, "sha256": digest} != said:
                    return "its files are not those its manifest lists"
            for path in chain.from_iterable(tensor_files(folder).values()):
                with safe_open(path, "pt"):
                    pass
            read_json(folder / "state.json")
            return None
    except (OSError, ValueError, SafetensorError) as problem:
        return str(problem) or type(problem).__name__
    raise InputError(f"{folder} was written by a newer version of ancestral; upgrade to resume from it")
