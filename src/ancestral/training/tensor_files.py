"""Tensors in safetensors files: all of each in one, or some rows of each in as many files as there were processes.

Where each of several processes holds some rows of every tensor, it writes them as `model-00001-of-00002.safetensors`
and so on, and the first one the rest. The rows in the order of the files are the tensor, so that any number of
processes, or one, reads them again, and each of them no more than its own.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.files import write_whole
from ancestral.processes import Processes

Tensors = Mapping[str, Mapping[str, Tensor]]
"""Group -> name -> tensor."""
PIECE = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
"""The name of a file that holds some rows: of which group, and which of how many it is."""
HELD_BY_ROWS = ("model", "ema", "optimizer")
"""Groups whose tensors may be dealt by rows; those without rows, such as counts of steps, are not."""


def write_tensors(building: Path, tensors: Tensors, holders: Processes) -> dict[str, dict[str, Any]]:
    """Writes what this process is to write, and says so as the manifest will."""
    written: dict[str, dict[str, Any]] = {}
    for group, held in tensors.items():
        by_rows = not holders.is_single and group in HELD_BY_ROWS
        mine = {name: tensor for name, tensor in held.items() if holders.is_main or (by_rows and tensor.ndim)}
        if by_rows or holders.is_main:
            piece = f"-{holders.rank + 1:05d}-of-{holders.world_size:05d}" if by_rows else ""
            content = save(apart(mine))
            written |= write_file(building / f"{group}{piece}.safetensors", content)
    return written


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each in memory of its own: one that has two names in a network is written under both."""
    written: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        alone = tensor if place not in taken else tensor.clone()
        written[name] = alone.contiguous()
        taken.add(place)
    return written


def write_file(path: Path, content: bytes) -> dict[str, dict[str, Any]]:
    """Writes a file; its line in the manifest, which tells of what was meant and not of what the disk made of it."""
    write_whole(path, content)
    return {path.name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}}


def grouped(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files of tensors by group, those of one in order."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(paths):
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
        names = dict.fromkeys(name for file in files for name in file.keys())  # noqa: SIM118
        for name in names:
            yield name, _joined([f.get_slice(name) for f in files if name in f.keys()], rows)  # noqa: SIM118


def misfit(found: Iterable[tuple[str, Tensor]], wanted: Mapping[str, Tensor]) -> str | None:
    """How the tensors of a file differ from those of a network or an optimiser in name, shape or type, or what in them
    is no number; None: not at all. Infinity is a number where `wanted` holds one.
    """
    missing = set(wanted)
    for name, tensor in found:
        if name not in wanted:
            return f"it holds {name}, which nothing here is called"
        missing.remove(name)
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            return f"{name} is {_kind(tensor)}, not {_kind(like)}"
        may_be_infinite = not like.is_meta and bool(like.isinf().any())
        if bool(tensor.isnan().any() if may_be_infinite else (~tensor.isfinite()).any()):
            return f"{name} is not finite"
    return f"{min(missing)} is missing" if missing else None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _joined(pieces: list[Any], rows: Callable[[int], slice] | None) -> Tensor:
    if not pieces[0].get_shape():
        return pieces[0][...]
    ends = [*accumulate((piece.get_shape()[0] for piece in pieces), initial=0)]
    wanted = slice(0, ends[-1]) if rows is None else rows(ends[-1])
    parts = []
    for piece, (first, end) in zip(pieces, pairwise(ends), strict=True):
        start, stop = max(wanted.start, first), min(wanted.stop, end)
        parts.append(piece[max(start, first) - first : max(start, stop) - first])
    return parts[0] if len(parts) == 1 else torch.cat(parts)
