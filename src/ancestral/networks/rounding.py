"""Weights in fewer bits, for files that travel: in 16, or in 8 times a factor for each output of a layer.

Who reads them computes in float32. Weights of one dimension, which are few, keep their 32 bits. An embedding is a
linear layer of a row of noughts and a one: its outputs are its columns.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.tensors import is_finite

Bits = Literal[32, 16, 8]
FloatBits = Literal[32, 16]
"""Of weights that any reader of safetensors takes as they are."""
Module = TypeVar("Module", bound=nn.Module)


class Stored(NamedTuple):
    """A weight in a file: `numbers` of its shape, float32, float16 or int8, and of these the factors, which broadcast
    over them, float32."""

    numbers: Tensor
    scale: Tensor | None = None

    def read(self) -> Float[Tensor, "..."]:
        """The weight that is computed with."""
        numbers = self.numbers.float()
        return numbers if self.scale is None else numbers * self.scale


def stored(name: str, weight: Tensor, bits: Bits) -> Stored:
    """A weight by the name that its module knows it by. InputError where 16 bits do not reach."""
    if bits == 32 or weight.ndim < 2:
        return Stored(weight.float())
    if bits == 16:
        halves = weight.half()
        if not is_finite(halves):
            most = f"{weight.abs().max():g} in {name}"
            raise InputError(f"expected weights that 16 bits hold, got {most}; take 32 bits")
        return Stored(halves)
    inputs = (0,) if name.endswith("embedding.weight") else (*range(1, weight.ndim),)
    most_of_outputs = weight.float().abs().amax(inputs, keepdim=True)
    scale = (most_of_outputs / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return Stored((weight / scale).round().to(torch.int8), scale)


def in_bits(tensors: Mapping[str, Tensor], bits: FloatBits) -> dict[str, Tensor]:
    """The tensors of a network as a file of so many bits holds them; whole numbers stay. InputError as of `stored`."""
    if bits == 32:
        return {**tensors}
    halves = (
        (name, stored(name, each, bits).numbers if each.is_floating_point() else each) for name, each in tensors.items()
    )
    return dict(halves)


def rounded(module: Module, bits: Bits) -> Module:
    """A copy that computes with the weights that a file of so many bits holds."""
    copy = deepcopy(module)
    with torch.no_grad():
        for name, weight in copy.state_dict().items():
            if weight.is_floating_point():
                weight.copy_(stored(name, weight, bits).read())
    return copy
