"""What a network is told of each image, beside x_t and t: one value from the data set to the network.

Every field marks what is not told in itself (a label or token of -1, an attribute that is not a number), so hiding
needs to know nothing of the network, and all that is known of an image is hidden at once (Ho and Salimans 2022).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from ancestral.tensors import Labels

UNTOLD = -1
"""A label or token that is not told."""

Attributes = Float32[Tensor, "B A"]
Tokens = Int64[Tensor, "B L"]


class Condition(NamedTuple):
    """A batch of B: what is told of each image. A field is None where a network is told nothing of the kind."""

    labels: Labels | None = None  # (B,), -1: not told
    attributes: Attributes | None = None  # (B, A), not a number: not told
    tokens: Tokens | None = None  # (B, L), -1: not told

    def null(self) -> "Condition":
        """As many images, of none of which anything is told."""
        return Condition(*(None if each is None else torch.full_like(each, _untold(each)) for each in self))

    def hidden(self, mask: Bool[Tensor, "B"]) -> "Condition":
        """Nothing is told of the images where `mask`."""
        return self._each(lambda each: each.masked_fill(mask.reshape(-1, *[1] * (each.ndim - 1)), _untold(each)))

    def rows(self, index: slice | Tensor) -> "Condition":
        """Of the images at `index`: a slice, (n,) positions, or (B,) bool."""
        return self._each(lambda each: each[index])

    def repeat(self, count: int) -> "Condition":
        """Of the whole batch, `count` times over: (count B,)."""
        return self._each(lambda each: each.repeat(count, *[1] * (each.ndim - 1)))

    def beside(self, other: "Condition") -> "Condition":
        """Of both batches, one after the other. Both are told things of the same kinds."""
        kinds, others = ([each is None for each in condition] for condition in (self, other))
        assert kinds == others, "conditions of the same kinds"
        return Condition(
            *(None if a is None or b is None else torch.cat([a, b]) for a, b in zip(self, other, strict=True))
        )

    def overlaid(self, row: "Condition") -> "Condition":
        """Of the same images, all of them told what `row`, of one image, tells; of other kinds as here."""
        pairs = [*zip(self, row, strict=True)]
        assert not any(here is None and over is not None for here, over in pairs), "a kind that the images have"
        return Condition(*(here if here is None or over is None else over.expand_as(here) for here, over in pairs))

    def to(self, device: torch.device | str) -> "Condition":
        """The same on another device."""
        return self._each(lambda each: each.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(*(None if each is None else change(each) for each in self))


NOTHING_TOLD = Condition()


def _untold(like: Tensor) -> int | float:
    return float("nan") if like.is_floating_point() else UNTOLD
