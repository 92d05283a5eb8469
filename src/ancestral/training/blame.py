"""What a step that is not finite is to be blamed on: the first layer, and the images."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ancestral.data.loader import Batch
from ancestral.tensors import PerImage

NAMED_IMAGES = 8
"""Of a bad batch, that a message names."""


def first_layer(weights: Mapping[str, nn.Parameter]) -> str:
    """The first weight, in the order of the network, whose gradient is not finite."""
    return next((name for name, weight in weights.items() if not _finite(weight.grad)), "the loss")


def images(batch: Batch, losses: PerImage, names: Sequence[str] | None) -> str:
    """The images of a bad batch whose loss is not finite, or all where each loss is: a few, by index and name."""
    bad = ~losses.isfinite().cpu()
    indices = batch.indices[bad if bool(bad.any()) else slice(None)].tolist()
    told = [f"{index} ({names[index]})" if names else str(index) for index in indices[:NAMED_IMAGES]]
    more = f" and {len(indices) - NAMED_IMAGES} more" if len(indices) > NAMED_IMAGES else ""
    return f"training images {', '.join(told)}{more}"


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(gradient.isfinite().all())
