"""The fastest this machine multiplies: the best of a few large matrix products and 3x3 convolutions, per precision.

Shares of the ceiling that the other benchmarks state are of this, the rate that torch reaches on the day, not of a
data sheet. One product counts two operations for each multiply-add.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import device, precisions
from benchmarks.pairs import timed

PRODUCTS = (1024, 2048, 4096)
"""Sides of square matrices; on a GPU four times as long."""
CONVOLUTIONS = ((16, 128, 32), (16, 256, 16), (16, 256, 32), (64, 64, 28), (16, 512, 16))
"""(batch, channels, side), channels-last; on a GPU sixteen times the batch."""
ROUNDS = 5


@dataclass(frozen=True)
class Ceiling:
    """One product at one size: `kind` is matrix, convolution or its gradients."""

    kind: str
    precision: str
    shape: str
    gflops_per_second: float


@cache
def ceilings(quick: bool) -> list[Ceiling]:
    """Every product at every size in every precision the machine has instructions for; measured once in a process."""
    types = [getattr(torch, precision) for precision in precisions()]
    return [_rate(*product) for dtype in types for product in _products(dtype, quick)]


def bfloat16_gain(found: list[Ceiling]) -> float:
    """How many times as fast as in float32 a convolution is in bfloat16, at the best of each; 1 where there is none."""
    rates = best([each for each in found if each.kind == "convolution"])
    return rates.get("bfloat16", rates["float32"]) / rates["float32"]


def best(found: list[Ceiling]) -> dict[str, float]:
    """Precision -> the highest rate, GFLOP/s."""
    return {
        precision: max(c.gflops_per_second for c in found if c.precision == precision)
        for precision in {c.precision for c in found}
    }


Product = tuple[str, torch.dtype, str, int, Callable[[], object]]


def _products(dtype: torch.dtype, quick: bool) -> Iterator[Product]:
    longer, wider = (4, 16) if device() == "cuda" else (1, 1)
    for side in (64,) if quick else PRODUCTS:
        n = side * longer
        a, b = (torch.randn(n, n, dtype=dtype, device=device()) for _ in range(2))
        yield "matrix", dtype, f"{n}x{n} by {n}x{n}", 2 * n**3, partial(torch.matmul, a, b)
    for batch, channels, side in ((2, 16, 8),) if quick else CONVOLUTIONS:
        x = torch.randn(batch * wider, channels, side, side, dtype=dtype, device=device())
        w = torch.randn(channels, channels, 3, 3, dtype=dtype, device=device())
        x, w = (each.to(memory_format=torch.channels_last) for each in (x, w))
        shape = f"{batch * wider}x{channels}x{side}x{side}, 3x3"
        flops = 2 * 9 * channels * x.numel()
        yield "convolution", dtype, shape, flops, partial(F.conv2d, x, w, padding=1)
        yield "its gradients", dtype, shape, 2 * flops, partial(_gradients, torch.randn_like(x), x, w)


def _gradients(upstream: Tensor, x: Tensor, w: Tensor) -> object:
    """Those of x and w, from that of a 3x3 convolution."""
    ones, none = [1, 1], [0, 0]
    return torch.ops.aten.convolution_backward(
        upstream, x, w, None, ones, ones, ones, False, none, 1, [True, True, False]
    )


@torch.inference_mode()
def _rate(kind: str, dtype: torch.dtype, shape: str, flops: int, action: Callable[[], object]) -> Ceiling:
    measure = timed(action, shortest=0.05)
    measure()
    seconds = median(measure() for _ in range(ROUNDS))
    return Ceiling(kind, str(dtype).removeprefix("torch."), shape, flops / seconds / 1e9)
