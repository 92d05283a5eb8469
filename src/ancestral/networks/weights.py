"""Weights as a whole: a name for them, and whether they are numbers."""

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from ancestral.tensors import is_finite


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
