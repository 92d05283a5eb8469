"""The weights of a network: a name for them, whether they are numbers, and how they lie in a safetensors file.

Of a network of one's own, any module of (image, time, label), a folder holds the tensors and a note of its class. The
note is text for people. It is never imported, so that a folder cannot run code; who loads it brings the module.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ancestral.condition import NOTHING_TOLD
from ancestral.errors import InputError
from ancestral.files import open_regular, read_json, write_whole
from ancestral.networks.interface import argument
from ancestral.networks.rounding import FloatBits, in_bits
from ancestral.tensors import is_finite

N = TypeVar("N", bound=nn.Module)
NOTE, WEIGHTS = "network.json", "network.safetensors"


def channels_last(network: N) -> N:
    """The network, the numbers of its kernels in the order in memory that is fastest."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it


def weights_hash(network: nn.Module) -> str:
    """The hash of all its tensors: says which network made an image."""
    return tensors_hash(network.state_dict())


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and bytes, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None: there is none."""
    return next((name for name, tensor in tensors.items() if not is_finite(tensor)), None)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Writes a network's tensors as a safetensors file; one that has two names is written under both. `about`: the
    file's metadata; None: that of torch."""
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_whole(path, save(apart, metadata=about or {"format": "pt"}))


def check_answer(
    network: nn.Module, shape: tuple[int, int, int], out_channels: int, num_classes: int, device: torch.device
) -> None:
    """That the network answers two images, their times and labels with two images of `out_channels`."""
    x, time = torch.zeros(2, *shape, device=device), torch.zeros(2, device=device)
    labels = argument(network, NOTHING_TOLD, num_classes, x)
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(x, time, labels)
    except Exception as fault:
        said = (str(fault).strip().splitlines() or [""])[0]
        raise InputError(
            f"expected a network that is called with (x, time, labels), got {_class_name(network)}, which stops at "
            f"{tuple(x.shape)}: {type(fault).__name__}: {said}"
        ) from fault
    finally:
        network.train(training)
    wanted = (2, out_channels, *shape[1:])
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if got != wanted:
        raise InputError(f"expected {_class_name(network)} to answer {wanted} to {tuple(x.shape)}, got {got}")


def write_own(folder: Path, network: nn.Module, bits: FloatBits = 32) -> None:
    """Writes the tensors of a network of one's own, parameters and buffers, and the note."""
    write_tensors(folder / WEIGHTS, in_bits(network.state_dict(), bits))
    write_whole(folder / NOTE, json.dumps({"class": _class_name(network)}) + "\n")


def fill_own(folder: Path, network: nn.Module | None) -> nn.Module:
    """The network of one's own, with the tensors in a folder; None is refused with the name of the class it needs."""
    if network is None:
        name = str(read_json(folder / NOTE).get("class", "one's own"))
        raise InputError(
            f"expected the network of {folder}, a {name}, of which a folder holds the weights alone; "
            f"give it: Pipeline.load(folder, network={name.rpartition('.')[2]}(...))"
        )
    path, own = folder / WEIGHTS, network.state_dict()
    open_regular(path).close()
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as fault:
        raise InputError(f"expected {path} to be a whole safetensors file, got: {fault}; copy it again") from None
    for name in sorted(own.keys() ^ stored.keys()):
        where = "the file" if name in stored else f"the {_class_name(network)} given"
        raise InputError(
            f"expected {path} to hold the tensors of {_class_name(network)}, but {name} is in {where} alone"
        )
    for name, tensor in own.items():
        found = stored[name]
        if tensor.shape != found.shape or tensor.is_floating_point() != found.is_floating_point():
            wanted, got = (f"{tuple(each.shape)} {str(each.dtype).removeprefix('torch.')}" for each in (tensor, found))
            raise InputError(f"expected {name} in {path} to be {wanted}, as the network given has it, got {got}")
        if found.is_floating_point() and not is_finite(found):
            raise InputError(f"expected {name} in {path} to be finite numbers, got some that are not; copy it again")
    network.load_state_dict(stored)
    return network


def _class_name(network: nn.Module) -> str:
    return f"{type(network).__module__}.{type(network).__qualname__}"
