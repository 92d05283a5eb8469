"""Networks of one's own at rest: any module of (image, time, label), as its tensors and a note of its class.

The note is text for people. It is never imported, so that a folder cannot run code; who loads it brings the module.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.files import open_regular, read_json, write_whole

NOTE, WEIGHTS = "network.json", "network.safetensors"


def class_name(network: nn.Module) -> str:
    """Module and name of its class."""
    return f"{type(network).__module__}.{type(network).__qualname__}"


def check_answer(
    network: nn.Module, shape: tuple[int, int, int], out_channels: int, num_classes: int, device: torch.device
) -> None:
    """That the network answers two images, their times and labels with two images of `out_channels`.

    Raises:
        InputError: it does not.
    """
    x, time = torch.zeros(2, *shape, device=device), torch.zeros(2, device=device)
    labels = torch.zeros(2, dtype=torch.int64, device=device) + num_classes if num_classes else None
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(x, time, labels)
    except Exception as fault:
        said = (str(fault).strip().splitlines() or [""])[0]
        raise InputError(
            f"expected a network that is called with (x, time, labels), got {class_name(network)}, which stops at "
            f"{tuple(x.shape)}: {type(fault).__name__}: {said}"
        ) from fault
    finally:
        network.train(training)
    wanted = (2, out_channels, *shape[1:])
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if got != wanted:
        raise InputError(f"expected {class_name(network)} to answer {wanted} to {tuple(x.shape)}, got {got}")


def is_own(folder: Path) -> bool:
    """Whether a pipeline folder holds a network of one's own."""
    return (folder / NOTE).is_file()


def write_own(folder: Path, network: nn.Module) -> None:
    """Writes its tensors, parameters and buffers, and the note.

    Raises:
        CannotWrite: the disk is full, or the folder is gone or read-only.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    write_whole(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / NOTE, json.dumps({"class": class_name(network)}) + "\n")


def missing_own(folder: Path) -> InputError:
    """The error that says which module such a folder needs."""
    name = str(read_json(folder / NOTE).get("class", "one's own"))
    return InputError(
        f"expected the network of {folder}, a {name}, of which a folder holds the weights alone; "
        f"give it: Pipeline.load(folder, network={name.rpartition('.')[2]}(...))"
    )


def fill_own(folder: Path, network: nn.Module) -> None:
    """Gives the network the tensors in a folder.

    Raises:
        InputError: a damaged file, or tensors of other names, shapes or types than the network's.
    """
    path, own = folder / WEIGHTS, network.state_dict()
    open_regular(path).close()
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as fault:
        raise InputError(f"expected {path} to be a whole safetensors file, got: {fault}; copy it again") from None
    for name in sorted(own.keys() ^ stored.keys()):
        where = "the file" if name in stored else f"the {class_name(network)} given"
        raise InputError(
            f"expected {path} to hold the tensors of {class_name(network)}, but {name} is in {where} alone"
        )
    for name, tensor in own.items():
        _check(path, name, tensor, stored[name])
    network.load_state_dict(stored)


def _check(path: Path, name: str, own: Tensor, stored: Tensor) -> None:
    if own.shape != stored.shape or own.is_floating_point() != stored.is_floating_point():
        wanted, got = (f"{tuple(each.shape)} {str(each.dtype).removeprefix('torch.')}" for each in (own, stored))
        raise InputError(f"expected {name} in {path} to be {wanted}, as the network given has it, got {got}")
    if stored.is_floating_point() and not bool(stored.isfinite().all()):
        raise InputError(f"expected {name} in {path} to be finite numbers, got some that are not; copy it again")
