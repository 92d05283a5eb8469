"""What is told of an image beside its time, as a vector that is added to that of time."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ancestral.condition import UNTOLD, Attributes, Condition
from ancestral.errors import InputError
from ancestral.networks.layers import Embedding, linear, zeroed
from ancestral.tensors import Labels


class Told(NamedTuple):
    """What a network may be told of an image."""

    num_classes: int = 0
    null_class: bool = True  # whether the label after those of the classes stands for no class
    num_attributes: int = 0

    def class_embedding(self, width: int) -> nn.Embedding | None:
        """A row for each class, and one for no class; None: there are no classes."""
        return nn.Embedding(self.num_classes + self.null_class, width) if self.num_classes else None

    def attribute_embedding(self, width: int) -> "AttributeEmbedding | None":
        return AttributeEmbedding(self.num_attributes, width) if self.num_attributes else None

    @property
    def null_row(self) -> int | None:
        """The row of no class; None: there is none."""
        return self.num_classes if self.null_class else None


NOTHING = Told()


class AttributeEmbedding(nn.Module):
    """Two linear layers with SiLU between them. What is not told is 0 beside a flag of 0, which no told number is.

    The last layer starts at 0: a new network says what one without attributes says.
    """

    def __init__(self, num_attributes: int, width: int) -> None:
        super().__init__()
        self.num_attributes = num_attributes
        self.linear_1, self.linear_2 = linear(2 * num_attributes, width), zeroed(linear(width, width))

    def forward(self, attributes: Attributes | None, like: Embedding) -> Embedding:
        """(B, width), for images whose embedding of time is `like`; None: nothing is told of any."""
        if attributes is None:
            attributes = like.new_full((like.shape[0], self.num_attributes), float("nan"))
        known = torch.cat([attributes.nan_to_num(nan=0.0), ~attributes.isnan()], dim=1)
        return self.linear_2(F.silu(self.linear_1(known.to(self.linear_1.weight.dtype))))


def with_condition(
    time: Embedding,
    condition: Condition,
    classes: nn.Embedding | None,
    null_class: int | None,
    attributes: AttributeEmbedding | None,
) -> Embedding:
    """The embedding of time, and what a network with these embeddings is told beside it.

    `null_class`: the row of `classes` for images of no class; None: there is none, and every image is to have a class.
    """
    if classes is None and condition.labels is not None:
        raise InputError("expected no labels, got some; this network was built without classes")
    if attributes is None and condition.attributes is not None:
        raise InputError("expected no attributes, got some; this network was built without")
    embedding = time
    if classes is not None:
        embedding = embedding + classes(_rows(condition.labels, null_class, time))
    return embedding if attributes is None else embedding + attributes(condition.attributes, time)


def _rows(labels: Labels | None, null_class: int | None, time: Embedding) -> Labels:
    if null_class is not None:
        untold = torch.full(time.shape[:1], UNTOLD, dtype=torch.int64, device=time.device)
        labels = untold if labels is None else labels
        return labels.masked_fill(labels < 0, null_class)
    if labels is None:
        raise InputError("expected a class for every image, got none; this network knows no null class")
    return labels
