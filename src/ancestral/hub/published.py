"""Files of weights that others published: tensors by name, and nothing that could run."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ancestral.errors import InputError


def read_pth(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .pth file, on the CPU, as they are. `what`: which file that is to be, in words."""
    return _read(path, what, lambda: _content(path))


def read_named_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The same, also of a .safetensors file."""
    return _read(path, what, lambda: load_file(path)) if path.suffix == ".safetensors" else read_pth(path, what)


def read_checkpoint(path: Path, what: str) -> dict[str, Tensor]:
    """The same of tensors in dictionaries in one another, named "outer.inner"; what else is there is left out."""
    if path.suffix == ".safetensors":
        return read_named_tensors(path, what)
    return _read(path, what, lambda: dict(_flat(_content(path))))


def _content(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")


def _read(path: Path, what: str, read: Callable[[], Any]) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"expected a file, {what}, got {path}; check the path")
    try:
        content = read()
        named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    except Exception:  # readers of a damaged file raise whatever they stumble on
        named = False
    if not named:
        raise InputError(f"expected {path} to hold named tensors only, got something else; use {what}")
    return dict(content)
