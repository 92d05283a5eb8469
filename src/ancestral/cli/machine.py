"""The device that was asked for."""

import torch

from ancestral.errors import InputError


def device(name: str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one.

    Raises:
        InputError: CUDA was asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("expected a CUDA device, got none on this machine; leave out --device cuda")
    return torch.device(name or ("cuda" if there else "cpu"))
