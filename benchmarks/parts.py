"""The parts of a network that have more than one form, alone, forward and backward, at the shapes where they are used.

Group normalisation with the SiLU that follows it, in both precisions: what the network does, which is our kernel where
channels are last and a compiler is at hand; torch's own; torch's in float32 between two casts. Attention: torch's fused
kernel and the written-out form, in both precisions, with and without the way back.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.networks.attention import written_out
from ancestral.networks.layers import GroupNorm
from benchmarks.machine import device
from benchmarks.pairs import Case, Cases, Contestant, timed

NORMS = (
    (64, 32, 28, 4), (64, 64, 14, 4), (64, 128, 7, 4), (64, 48, 8, 8),
    (16, 128, 32, 32), (16, 256, 16, 32), (16, 256, 8, 32), (16, 256, 4, 32),
)  # fmt: skip
"""(batch, channels, side, groups): the recipes' levels, then the paper's network."""
ATTENTIONS = (
    (64, 4, 16, 16), (64, 1, 49, 96), (64, 4, 49, 32), (64, 1, 64, 64), (64, 1, 196, 64), (64, 4, 196, 16),
    (16, 1, 256, 256), (16, 4, 256, 64), (16, 4, 784, 16), (16, 1, 784, 256), (8, 4, 1024, 32), (8, 1, 1024, 256),
)  # fmt: skip
"""(batch, heads, tokens, width of a head): the recipes' and the paper's networks, and up to 32x32 pixels."""

Run = Callable[[Callable[[Tensor], Tensor], Tensor], Callable[[], None]]
"""What to time of a form and its input."""


def parts(quick: bool) -> Cases:
    """Seconds, forward and backward."""
    shortest = 0.0 if quick else 0.1
    for batch, channels, side, groups in ((2, 8, 4, 2),) if quick else NORMS:
        for dtype in (torch.float32, torch.bfloat16):
            yield _norm_case(batch, channels, side, groups, dtype, shortest)
    for shape in ((2, 2, 16, 8),) if quick else ATTENTIONS:
        for dtype in (torch.float32, torch.bfloat16):
            for run in (_both_ways, _forward):
                yield _attention_case(shape, dtype, run, shortest)


def _norm_case(batch: int, channels: int, side: int, groups: int, dtype: torch.dtype, shortest: float) -> Case:
    x = torch.randn(batch, channels, side, side, device=device(), dtype=dtype).contiguous(
        memory_format=torch.channels_last
    )
    norm = GroupNorm(groups, channels).to(device())
    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "as the network does": lambda x: norm(x, activates=True),
        "torch's own": lambda x: F.silu(_torchs(x, norm)),
        "float32 between casts": lambda x: F.silu(_in_float32(x, norm)),
    }
    contestants = [
        Contestant(name, timed(_both_ways(form, x), shortest), precision=_name(x)) for name, form in forms.items()
    ]
    return Case(f"group norm and SiLU, {batch}x{channels}x{side}x{side}, {groups} groups", contestants)


def _torchs(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    return F.group_norm(x, norm.num_groups, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def _in_float32(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    return F.group_norm(x.float(), norm.num_groups, norm.weight, norm.bias, norm.eps).to(x.dtype)


def _attention_case(shape: tuple[int, int, int, int], dtype: torch.dtype, run: Run, shortest: float) -> Case:
    batch, heads, tokens, width = shape
    x = torch.randn(batch, tokens, heads * width, device=device(), dtype=dtype)
    forms: dict[str, Callable[..., Tensor]] = {"fused": F.scaled_dot_product_attention, "written out": written_out}
    contestants = [
        Contestant(name, timed(run(partial(_of_heads, form, heads), x), shortest), precision=_name(x))
        for name, form in forms.items()
    ]
    way = "forward" if run is _forward else "both ways"
    return Case(f"attention, {'x'.join(map(str, shape))}, {_name(x)}, {way}", contestants)


def _of_heads(form: Callable[..., Tensor], heads: int, x: Tensor) -> Tensor:
    each = x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
    return form(each, each, each).transpose(1, 2).flatten(2)


def _forward(form: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    @torch.inference_mode()
    def run() -> None:
        form(x)

    return run


def _both_ways(form: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    leaf = x.detach().requires_grad_(True)
    upstream = torch.randn_like(leaf)

    def run() -> None:
        torch.autograd.backward(form(leaf), upstream)
        leaf.grad = None

    return run


def _name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
