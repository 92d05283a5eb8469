"""A name for weights."""

import hashlib

from torch import nn


def weights_hash(network: nn.Module) -> str:
    """SHA-256 of the names and bytes of all its tensors, 16 hexadecimal digits: says which network made an image."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
