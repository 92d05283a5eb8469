"""What the rest of the package knows of a network: how it is called, and its parts where they count."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.networks.layers import TimeInput
from ancestral.tensors import Data, Images, Labels

ENDS = ("conv_in.", "conv_out.", "time_embedding.", "class_embedding.", "attribute_embedding.")
"""Of a U-Net, what meets pixels, times and conditions."""


class Backbone(nn.Module):
    """A network of this package, as its settings describe it. What it is made of, its own module alone knows."""

    settings: Any  # its own kind of NetworkSettings
    null_class: int | None
    """The label that stands for no class; None: none does."""
    side_multiple: int = 1
    """Pixels that the sides of an image must be multiples of."""
    roll_multiple: int | None = None
    """Pixels by whose multiples an image is rolled and the output with it, where convolutions see around the edges.
    None: the output does not roll."""
    with_deep: Callable[..., Any] | None = None
    """(x, time, deep features of an earlier call or None, condition) -> (output, deep features). None: there are no
    features that change slowly."""

    @abstractmethod
    def forward(self, x: Images, time: TimeInput, condition: Condition = NOTHING_TOLD) -> Float[Tensor, "B out H W"]:
        """The output for images x; `time`, () or (B,), is what the process tells a network of it: an index from 0,
        integer or not. Labels: (B,) in 0..num_classes - 1, or -1 for no class; None: no class for any."""

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
