"""What a network is told of each image, beside x_t and t: one value from the data set to the network.

Every field marks what is not told in itself (a label or token of -1, an attribute that is not a number), so hiding
needs to know nothing of the network, and all that is known of an image is hidden at once (Ho and Salimans 2022).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from ancestral.tensors import Labels

UNTOLD = -1
"""A label or token that is not told."""

Attributes = Float32[Tensor, "B A"]
Augmentation = Float32[Tensor, "B A"]
Tokens = Int64[Tensor, "B *K L"]
Weights = Float32[Tensor, "B K"]
States = Float32[Tensor, "B *K L W"]


class Condition(NamedTuple):
    """A batch of B: what is told of each image. A field is None where a network is told nothing of the kind."""

    labels: Labels | None = None  # (B,), -1: not told
    attributes: Attributes | None = None  # (B, A), not a number: not told
    tokens: Tokens | None = None  # (B, L), or of blends of K texts (B, K, L); -1: not told
    weights: Weights | None = None  # (B, K), the share of each text in a blend, 1 in all; None: a text each
    states: States | None = None  # of the tokens, by an encoder outside the network; None: none has read them
    augmentation: Augmentation | None = None  # (B, A), how a training image was changed; not a number: not at all

    def null(self) -> "Condition":
        """As many images, of none of which anything is told."""
        hidden = self._each(lambda each: torch.full_like(each, _untold(each)))
        return hidden if self.weights is None else hidden._replace(weights=_first(self.weights))

    def hidden(self, mask: Bool[Tensor, "B"]) -> "Condition":
        """Nothing is told of the images where `mask`."""
        hidden = self._each(lambda each: torch.where(_beside_all(mask, each), _untold(each), each))
        if self.weights is None:
            return hidden
        return hidden._replace(weights=torch.where(mask[:, None], _first(self.weights), self.weights))

    def rows(self, index: slice | Tensor) -> "Condition":
        """Of the images at `index`: a slice, (n,) positions, or (B,) bool."""
        return self._each(lambda each: each[index])

    def repeat(self, count: int) -> "Condition":
        """Of the whole batch, `count` times over: (count B,)."""
        return self._each(lambda each: each.repeat(count, *[1] * (each.ndim - 1)))

    def beside(self, other: "Condition") -> "Condition":
        """Of both batches, one after the other. Both are told things of the same kinds."""
        both = self._alike(other), other._alike(self)
        kinds, others = ([each is None for each in condition] for condition in both)
        assert kinds == others, "conditions of the same kinds"
        return Condition(*(None if a is None or b is None else torch.cat([a, b]) for a, b in zip(*both, strict=True)))

    def overlaid(self, row: "Condition") -> "Condition":
        """Of the same images, all of them told what `row`, of one image, tells; of other kinds as here."""
        pairs = [*zip(self._alike(row), row._alike(self), strict=True)]
        assert not any(here is None and over is not None for here, over in pairs), "a kind that the images have"
        return Condition(*(here if here is None or over is None else over.expand_as(here) for here, over in pairs))

    def to(self, device: torch.device | str) -> "Condition":
        """The same on another device."""
        return self._each(lambda each: each.to(device))

    def blend(self, count: int) -> "Condition":
        """The same as a blend of so many texts, as many as there are or more: those that are added count nothing."""
        assert self.states is None, "texts that are yet to be read"
        tokens, weights = self.tokens, self.weights
        if tokens is None or (weights is not None and weights.shape[1] == count):
            return self
        if weights is None:
            tokens, weights = tokens[:, None], torch.ones(len(tokens), 1, device=tokens.device)
        more = count - weights.shape[1]
        added = tokens.new_full((len(tokens), more, tokens.shape[-1]), UNTOLD)
        return self._replace(tokens=torch.cat([tokens, added], 1), weights=F.pad(weights, (0, more)))

    def _alike(self, other: "Condition") -> "Condition":
        """The same as a blend of as many texts as `other`, where either is one."""
        counts = [each.weights.shape[1] for each in (self, other) if each.weights is not None]
        return self.blend(max(counts)) if counts else self

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(*(None if each is None else change(each) for each in self))


NOTHING_TOLD = Condition()


def _untold(like: Tensor) -> int | float:
    return float("nan") if like.is_floating_point() else UNTOLD


def _first(weights: Weights) -> Weights:
    """Those of a blend that is all its first text: where nothing is told, to the bit the empty text."""
    first = torch.zeros_like(weights)
    first[:, 0] = 1
    return first


def _beside_all(mask: Tensor, each: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (each.ndim - 1))
