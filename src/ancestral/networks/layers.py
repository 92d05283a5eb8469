"""The smallest parts of the networks: weights, normalisation, the embedding of time, changes of resolution.

Layers start as in the DDPM paper's code: uniform weights whose variance is 2 / (fan in + fan out) (Glorot and Bengio
2010), biases 0. Layers that end a residual branch start at 0, so that a new network adds nothing to its input.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.machine import processor
from ancestral.networks import fused
from ancestral.tensors import Images

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
Embedding = Float[Tensor, "B D"]
TimeInput = Real[Tensor, "..."]  # () or (B,): the time a network is told, integer or not
Extent = Any  # int; where a call is traced, a number of the trace
HALF_WAVES = 8  # of a cosine over a side, which say where a pixel is


def initialised(layer: Layer) -> Layer:
    """`layer` with the paper's starting weights."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def zeroed(layer: Layer) -> Layer:
    """`layer` with all weights 0: it ends a residual branch or the network."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def convolution(in_width: int, out_width: int, kernel: Literal[1, 3, 7] = 3) -> nn.Conv2d:
    """A convolution that keeps the resolution."""
    return initialised(nn.Conv2d(in_width, out_width, kernel, padding=kernel // 2))


def linear(in_width: int, out_width: int, bias: bool = True) -> nn.Linear:
    return initialised(Linear(in_width, out_width, bias=bias))


class Linear(nn.Linear):
    """A linear layer that is a 1x1 convolution where that is faster, as it is once there is enough to multiply, in
    float32, on a CPU whose wide vectors torch's library of products (MKL) leaves alone: on AMD's it takes half as long.
    """

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B out"]:
        is_small = x.numel() * self.out_features < 2**24
        traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        if traced or is_small or x.dtype != torch.float32 or not slow_products(x.device.type):
            return super().forward(x)
        return as_convolution(x, self.weight, self.bias)


def slow_products(device: str) -> bool:
    """Whether matrix products in float32 take longer than convolutions there."""
    return device == "cpu" and not torch.is_autocast_enabled("cpu") and _is_wide_amd()


@cache
def _is_wide_amd() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AMD" in processor()


def as_convolution(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, "out D"], bias: Float[Tensor, "out"] | None
) -> Float[Tensor, "*B out"]:
    """The linear layer, on an image of one row."""
    row = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    return F.conv2d(row, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Dropout(nn.Dropout):
    """Dropout whose mask on a CPU is drawn four numbers at a time, from torch's generator as torch's own is.

    A number is dropped where 16 random bits are below p 2^16, rounded to an integer n: with a probability of n / 2^16,
    within 2^-17 of p, and the rest are multiplied by 1 / (1 - n / 2^16), in the type of x.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        noise = torch.empty_like(x, requires_grad=False)
        in_memory = noise.as_strided((x.numel(),), (1,))
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        torch.ge(draws.view(torch.int16)[: x.numel()], dropped - 2**15, out=in_memory)
        return x * noise.mul_(2**16 / (2**16 - dropped))


class GroupNorm(nn.GroupNorm):
    """Group normalisation that returns the type it is given (Wu and He 2018), with what stands around it.

    Where the kernel of `fused` does not apply, groups of fewer than 16 channels are normalised in float32: a CPU takes
    three times as long in bfloat16.
    """

    def forward(
        self,
        x: Float[Tensor, "B C *HW"],
        added: Float[Tensor, "B C"] | None = None,
        modulation: tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]] | None = None,
        activates: bool = False,
    ) -> Float[Tensor, "B C *HW"]:
        """norm(x + added) (1 + scale) + shift, `modulation` being scale and shift; through SiLU if it `activates`."""
        if fused.applies_to(x):
            return fused.group_norm(x, self.num_groups, self.eps, *self._affine(modulation), added, activates)
        h = self._normed(x if added is None else x + added[:, :, None, None])
        if modulation is not None:
            scale, shift = (each[:, :, None, None] for each in modulation)
            h = h * (1 + scale) + shift
        return F.silu(h) if activates else h

    def _affine(self, modulation: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Gain and offset of each channel, (C,), or under a modulation (B, C)."""
        if modulation is None:
            return self.weight, self.bias
        scale, shift = (each.float() for each in modulation)
        return self.weight * (1 + scale), self.bias * (1 + scale) + shift

    def _normed(self, x: Float[Tensor, "B C *HW"]) -> Float[Tensor, "B C *HW"]:
        if not (x.dtype.itemsize == 2 and self.num_channels < 16 * self.num_groups):
            return super().forward(x).to(x.dtype)
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


def sinusoids(
    time: Float[Tensor, "B"], width: int, order: Literal["sin-cos", "cos-sin"], frequency_shift: Literal[0, 1]
) -> Embedding:
    """Sines and cosines of t w_i, w_i = 10000^(-i / (width / 2 - shift)) (Vaswani et al. 2017, section 3.5).

    Computed in float32 whatever surrounds it: bfloat16 has eight bits and takes t = 998 for 1000.
    """
    angles = time.float()[:, None] * frequencies(width, frequency_shift, time.device)
    halves = (angles.sin(), angles.cos())
    return torch.cat(halves if order == "sin-cos" else halves[::-1], dim=1)


def frequencies(width: int, shift: Literal[0, 1], device: torch.device) -> Float[Tensor, "half"]:
    """w_i of `sinusoids`, float32."""
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    return torch.exp(-math.log(10000) * index / max(half - shift, 1))


def placed(pixels: Float[Tensor, "B L D"], x: Images) -> Float[Tensor, "B L D"]:
    """The features of the pixels of `x`, row after row, with the place of each in the whole image added: `HALF_WAVES`
    across and as many down, in turn until all D features have one. They are of mean 0 and as large as each other."""
    (rows, columns), width = sides(x), int(pixels.shape[2]) // 2
    across, down = half_waves(columns, width, x.device), half_waves(rows, width, x.device)
    there = torch.cat([across.expand(rows, -1, -1), down[:, None].expand(-1, columns, -1)], dim=2)
    return pixels + there.flatten(0, 1).to(pixels.dtype)


def half_waves(count: Extent, width: int, device: torch.device) -> Float[Tensor, "L W"]:
    """cos(k pi u) at the middles u of so many parts of 0 to 1, k from 1 to `HALF_WAVES` and again from 1."""
    middles = (torch.arange(count, device=device) + 0.5) / count
    return (math.pi * middles[:, None] * (torch.arange(width, device=device) % HALF_WAVES + 1)).cos()


def sides(x: Images) -> tuple[Extent, Extent]:
    """Height and width: plain numbers, but where a call is traced, so that the trace holds for others."""
    height, width = x.shape[2:]
    traced = torch._C._get_tracing_state() is not None
    return (height, width) if traced else (int(height), int(width))


class TimeEmbedding(nn.Module):
    """Two linear layers with SiLU between them, or another activation, on the sinusoids of time."""

    def __init__(self, in_width: int, out_width: int, activation: Callable[[Tensor], Tensor] = F.silu) -> None:
        super().__init__()
        self.activation = activation
        self.linear_1 = linear(in_width, out_width)
        self.linear_2 = linear(out_width, out_width)

    def forward(self, waves: Embedding) -> Float[Tensor, "B out"]:
        return self.linear_2(self.activation(self.linear_1(waves.to(self.linear_1.weight.dtype))))


class Downsample(nn.Module):
    """Halves the resolution by a 3x3 convolution of stride 2.

    `even` pads every side by one and rounds an odd size up; `right-bottom` pads two and rounds it down, but not to 0.
    """

    def __init__(self, width: int, padding: Literal["even", "right-bottom"]) -> None:
        super().__init__()
        self.pads_evenly = padding == "even"
        self.conv = initialised(nn.Conv2d(width, width, 3, stride=2, padding=int(self.pads_evenly)))

    def forward(self, x: Images) -> Float[Tensor, "B C h w"]:
        if not self.pads_evenly:
            height, width = x.shape[-2:]
            x = F.pad(x, (0, max(1, 3 - width), 0, max(1, 3 - height)))
        return self.conv(x)


def enlarged(x: Float[Tensor, "B C h w"], like: Float[Tensor, "B skip H W"] | None = None) -> Float[Tensor, "B C H W"]:
    """The nearest pixels, repeated to the resolution of `like`; None: to twice that of `x`."""
    size = [2 * side for side in x.shape[-2:]] if like is None else like.shape[-2:]
    return F.interpolate(x, size=size, mode="nearest")


def halved(x: Images) -> Float[Tensor, "B C h w"]:
    """Means of two by two pixels, at an odd edge of those that are there."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


class Upsample(nn.Module):
    """Repeats the nearest pixel up to a given size, or twice, then convolves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = convolution(width, width)

    def forward(self, x: Float[Tensor, "B C h w"], like: Float[Tensor, "B skip H W"] | None = None) -> Images:
        """`x` at the resolution of `like`, the skip it is about to meet. None: at twice its own."""
        return self.conv(enlarged(x, like))
