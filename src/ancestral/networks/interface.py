"""What the rest of the package knows of a network: how it is called, and its parts where they count."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.networks.conditions import AttributeEmbedding, AugmentationEmbedding, Embedded, Told, embedded
from ancestral.networks.layers import TimeEmbedding, TimeInput
from ancestral.networks.text import GivenStates, PooledText, TextEncoder, text_attentions
from ancestral.tensors import Data, Images, Labels

OF_TRAINING = "augmentation_embedding."
"""What a network has while it is trained, and a saved one has not."""
ENDS = (
    *("conv_in.", "conv_out.", "time_embedding.", "class_embedding.", "attribute_embedding.", "add_embedding."),
    *(OF_TRAINING, "text_encoder.text_model.embeddings."),
)
"""Of a U-Net, what meets pixels, times and conditions."""


class Backbone(nn.Module):
    """A network of this package, as its settings describe it. What it is made of, its own module alone knows."""

    settings: Any  # its own kind of NetworkSettings
    told: Told
    side_multiple: int = 1
    """Pixels that the sides of an image must be multiples of."""
    roll_multiple: int | None = None
    """Pixels by whose multiples an image is rolled and the output with it, where convolutions see around the edges.
    None: the output does not roll."""
    with_deep: Callable[..., Any] | None = None
    """(x, time, deep features of an earlier call or None, condition) -> (output, deep features). None: there are no
    features that change slowly."""

    time_embedding: TimeEmbedding
    class_embedding: nn.Embedding | None
    attribute_embedding: AttributeEmbedding | None
    text_encoder: TextEncoder | GivenStates | None
    add_embedding: PooledText | None
    augmentation_embedding: AugmentationEmbedding | None  # while it is trained on augmented images

    @abstractmethod
    def forward(
        self, x: Images, time: TimeInput, condition: Condition | Embedded = NOTHING_TOLD
    ) -> Float[Tensor, "B out H W"]:
        """The output for images x; `time`, () or (B,), is what the process tells a network of it: an index from 0,
        integer or not. Labels: (B,) in 0..num_classes - 1, or -1 for no class; None: no class for any."""

    def embedded(self, condition: Condition, count: int) -> Embedded:
        """What all calls with a condition of `count` images have in common: `forward` takes it in its place."""
        vectors, text = self.read(condition, torch.empty(count))
        if text is None:
            return Embedded(vectors)
        layers = tuple(each.keys_values(text) for each in text_attentions(self))
        return Embedded(vectors, text._replace(keys_values=layers))

    def read(self, condition: Condition, images: Data) -> Embedded:
        """The same without the keys and values of the layers that attend to text: each computes its own."""
        numbers = (self.told.null_row, self.class_embedding, self.attribute_embedding)
        return embedded(condition, images, *numbers, self.text_encoder, self.add_embedding, self.augmentation_embedding)

    def read_last(self, told: Told, width: int) -> None:
        """Adds what reads attributes and text, after all else, whose weights are drawn as without them. `width`: of the
        embedding of time."""
        self.attribute_embedding = told.attribute_embedding(width)
        self.text_encoder, self.add_embedding = told.text_encoder(), told.pooled_text(width)
        self.augmentation_embedding = None
        for place, attention in enumerate(text_attentions(self)):
            attention.place = place

    def with_augmentation(self, size: int) -> "Backbone":
        """A network of the same modules, not copies, that is also told vectors (B, size) of how images were changed, by
        a new layer. 0: that is not."""
        network, width = copy.copy(self), self.time_embedding.linear_2.out_features
        network._modules = {**self._modules}
        layer = AugmentationEmbedding(size, width).to(self.time_embedding.linear_2.weight.device) if size else None
        network.augmentation_embedding = layer
        return network

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The parts whose weights are gathered together where they are spread over processes."""

    @abstractmethod
    def matrices(self) -> list[str]:
        """Names of the weights between two layers of features, as many inputs as outputs or not: for Muon."""


def argument(network: nn.Module, condition: Condition, num_classes: int, x: Data) -> Condition | Labels | None:
    """What a network is called with beside images x (B, ...) and time: ours with the condition, one of one's own with
    labels (B,) in 0..num_classes, the last for no class; None: with no labels, since it knows no classes."""
    if isinstance(network, Backbone) or not num_classes:
        return condition if isinstance(network, Backbone) else None
    none = torch.full((len(x),), num_classes, device=x.device)
    return none if condition.labels is None else torch.where(condition.labels < 0, none, condition.labels)


def inner_weights(network: nn.Module) -> list[str]:
    """Names of the weights of two dimensions or more, but for those whose names begin as `ENDS` says."""
    return [name for name, weight in network.named_parameters() if weight.ndim > 1 and not name.startswith(ENDS)]
