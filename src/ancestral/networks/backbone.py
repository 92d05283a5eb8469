"""The networks that there are, by the names of their settings. A name stands in one table, here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ancestral.networks.conditions import NOTHING, Told
from ancestral.networks.dit import DiT
from ancestral.networks.interface import Backbone as Backbone
from ancestral.networks.linear_attention import LinearAttentionUNet
from ancestral.networks.unet import UNet
from ancestral.settings import NetworkSettings

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "unet": UNet,
    "dit": DiT,
    "linear-attention": LinearAttentionUNet,
}


def build(
    settings: NetworkSettings,
    in_channels: int,
    out_channels: int,
    told: Told = NOTHING,
) -> Backbone:
    """The network that the settings describe, with random weights."""
    return BACKBONES[settings.name](settings, in_channels, out_channels, told)


@contextmanager
def weightless() -> Iterator[None]:
    """A `with` statement in which networks are built on the device `meta`: shapes, without memory for weights."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves out normal weights, of which there are none on `meta`: to draw them there loads torch's compiler, which
    takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        return named["tensor"] if func is nn.init.normal_ else func(*args, **named)
