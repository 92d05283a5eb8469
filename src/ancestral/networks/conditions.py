"""What is told of an image beside its time: vectors that are added to that of time, and a text."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.condition import UNTOLD, Attributes, Augmentation, Condition, Weights
from ancestral.errors import InputError
from ancestral.networks.layers import Embedding, linear, zeroed
from ancestral.networks.text import GivenStates, PooledText, StatesShape, Text, TextEncoder, TextShape
from ancestral.tensors import Data, Labels


class Told(NamedTuple):
    """What a network may be told of an image."""

    num_classes: int = 0
    null_class: bool = True  # whether the label after those of the classes stands for no class
    num_attributes: int = 0
    text: TextShape | StatesShape | None = None

    def class_embedding(self, width: int) -> nn.Embedding | None:
        """A row for each class, and one for no class; None: there are no classes."""
        return nn.Embedding(self.num_classes + self.null_class, width) if self.num_classes else None

    def attribute_embedding(self, width: int) -> "AttributeEmbedding | None":
        return AttributeEmbedding(self.num_attributes, width) if self.num_attributes else None

    def text_encoder(self) -> TextEncoder | GivenStates | None:
        return self.text.encoder() if self.text else None

    def pooled_text(self, width: int) -> PooledText | None:
        return PooledText(self.text.width, width) if self.text and self.text.pooled else None

    @property
    def text_width(self) -> int:
        """Features of a token of text; 0: there is no text."""
        return self.text.width if self.text else 0

    @property
    def null_row(self) -> int | None:
        """The row of no class; None: there is none."""
        return self.num_classes if self.null_class else None


NOTHING = Told()


class Embedded(NamedTuple):
    """What a network makes of a condition, which serves all calls with it."""

    vectors: tuple[Embedding, ...] = ()  # (B, D), added to that of time one after another
    text: Text | None = None  # None: it reads none

    def added_to(self, time: Embedding) -> Embedding:
        for vector in self.vectors:
            time = time + vector
        return time


class AttributeEmbedding(nn.Module):
    """Two linear layers with SiLU between them. What is not told is 0 beside a flag of 0, which no told number is.

    The last layer starts at 0: a new network says what one without attributes says.
    """

    def __init__(self, num_attributes: int, width: int) -> None:
        super().__init__()
        self.num_attributes = num_attributes
        self.linear_1, self.linear_2 = linear(2 * num_attributes, width), zeroed(linear(width, width))

    def forward(self, attributes: Attributes | None, images: Data) -> Embedding:
        """(B, width), of as many images; None: nothing is told of any."""
        if attributes is None:
            attributes = self.linear_1.weight.new_full((images.shape[0], self.num_attributes), float("nan"))
        known = torch.cat([attributes.nan_to_num(nan=0.0), ~attributes.isnan()], dim=1)
        return self.linear_2(F.silu(self.linear_1(known.to(self.linear_1.weight.dtype))))


class AugmentationEmbedding(nn.Module):
    """A linear layer without bias, so that of 0 it says 0, by weights that start at 0."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, size))

    def forward(self, vectors: Augmentation | None, images: Data) -> Embedding:
        """(B, width), of as many images; None: none was changed."""
        if vectors is None:
            vectors = self.weight.new_zeros(images.shape[0], self.weight.shape[1])
        return F.linear(vectors.nan_to_num(nan=0.0).to(self.weight.dtype), self.weight)


def embedded(
    condition: Condition,
    images: Data,
    null_row: int | None,
    classes: nn.Embedding | None,
    attributes: AttributeEmbedding | None,
    encoder: TextEncoder | GivenStates | None,
    pooled: PooledText | None,
    augmentation: AugmentationEmbedding | None,
) -> Embedded:
    """What a network with these embeddings makes of a condition of so many images. Raises InputError where it is told
    what it does not know, or no class where it knows no null class.
    """
    known = {"labels": classes, "attributes": attributes, "tokens": encoder, "augmentation": augmentation}
    for kind, embedding in known.items():
        if getattr(condition, kind) is not None and embedding is None:
            without = {"labels": "classes", "tokens": "text"}.get(kind, kind)
            raise InputError(f"expected no {kind}, got some; this network was built without {without}")
    vectors, text = [], None
    if classes is not None:
        vectors.append(classes(_rows(condition.labels, null_row, images, classes.weight)))
    if attributes is not None:
        vectors.append(attributes(condition.attributes, images))
    if augmentation is not None:
        vectors.append(augmentation(condition.augmentation, images))
    if encoder is not None:
        text = _mixed(*encoder.read(condition, images), condition.weights)
    if text is not None and pooled is not None:
        vectors.append(pooled(text))
    return Embedded(tuple(vectors), text)


def _rows(labels: Labels | None, null_row: int | None, images: Data, like: Tensor) -> Labels:
    if null_row is not None:
        untold = torch.full((images.shape[0],), UNTOLD, dtype=torch.int64, device=like.device)
        labels = untold if labels is None else labels
        return labels.masked_fill(labels < 0, null_row)
    if labels is None:
        raise InputError("expected a class for every image, got none; this network knows no null class")
    return labels


def _mixed(states: Tensor, seen: Tensor | None, weights: Weights | None) -> Text:
    """Texts of states (B, M, W); of a blend, (B, K, M, W), the mean of those of its texts, by their shares."""
    if weights is None:
        return Text(states, seen)
    if seen is not None:  # what any of those that count shows
        seen = (seen & (weights > 0)[..., None]).any(1)
    return Text((states * weights[..., None, None].to(states.dtype)).sum(1), seen)
