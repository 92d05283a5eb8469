"""Files of weights that others published: tensors by name, and nothing that could run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ancestral.errors import InputError


def read_pth(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a .pth file, on the CPU, as they are. `what`: which file that is to be, in words."""
    return _read(path, what, lambda: torch.load(path, map_location="cpu", weights_only=True))


def read_named_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The same, also of a .safetensors file."""
    return _read(path, what, lambda: load_file(path)) if path.suffix == ".safetensors" else read_pth(path, what)


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
