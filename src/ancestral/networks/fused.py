"""Group normalisation, a scale and a shift, and SiLU by the C of `fused.c`, in one pass over memory each way.

It is for images on a CPU in float32 or bfloat16, channels last, on a machine with a C compiler. It is no operation of
torch: whatever looks into a network (compiling, exporting, tracing, torch.func, forward-mode derivatives) sees torch's
own instead, and so does the derivative of a derivative.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import Tensor, channels_last
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils import _python_dispatch

from ancestral.native import library
from ancestral.tensors import Images

PerChannel = Float[Tensor, "*B C"]  # (C,) of all images, or (B, C)
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
_SHARED_ARGUMENTS: list[Any] = [_POINTER, _INT, *[_SIZE] * 4, ctypes.c_float, *[_INT] * 3, *[_POINTER] * 6]


class _Kernel(NamedTuple):
    library: ctypes.CDLL
    team: int  # the address of OpenMP's `GOMP_parallel`


class _Norm(NamedTuple):
    groups: int
    eps: float
    activates: bool


def applies_to(x: Tensor) -> bool:
    """Whether `group_norm` computes this: what it is for, and nobody looks on."""
    return (
        not torch.compiler.is_compiling()
        and not _is_looked_into()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.ndim == 4
        and x.numel() > 0
        and x.is_contiguous(memory_format=channels_last)
        and _kernel() is not None
    )


def prepare() -> None:
    """Compiles the kernel, where this machine has not done so yet: a first call would take seconds more."""
    _kernel()


def _is_looked_into() -> bool:
    """Whether operations are traced, transformed or differentiated forward as they run."""
    return (
        torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or _python_dispatch.is_in_torch_dispatch_mode()
        or forward_ad._current_level >= 0
    )


def group_norm(
    x: Images,
    groups: int,
    eps: float,
    gain: PerChannel,
    offset: PerChannel,
    added: Float[Tensor, "B C"] | None = None,
    activates: bool = False,
) -> Float[Tensor, "B C H W"]:
    """gain (x + added, normalised by groups) + offset, through SiLU if it `activates`; of the type of x.

    Sums are float64 of float32, in an order that depends on the shape of an image alone: neither the number of threads
    nor the rest of the batch changes a bit.
    """
    norm = _Norm(groups, eps, activates)
    numbers = [None if each is None else each.float().contiguous() for each in (gain, offset, added)]
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (x, *numbers)):
        return _GroupNorm.apply(x, *numbers, norm)  # type: ignore[no-untyped-call]
    return _forward(x, numbers, norm)[0]


class _GroupNorm(torch.autograd.Function):
    """Keeps x and two numbers for each of its groups."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, offset: Tensor, added: Tensor | None, norm: _Norm) -> Tensor:
        y, moments = _forward(x, (gain, offset, added), norm)
        ctx.save_for_backward(x, gain, offset, added, moments)
        ctx.norm = norm
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, offset, added, moments = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is to be differentiated itself
            inputs = [each for each in (x, gain, offset, added) if each is not None and each.requires_grad]
            found = iter(torch.autograd.grad(_formula(x, gain, offset, added, ctx.norm), inputs, dy, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:4]), None
        return *_backward(dy, x, (gain, offset, added), ctx.norm, moments), None


def _formula(x: Tensor, gain: Tensor, offset: Tensor, added: Tensor | None, norm: _Norm) -> Tensor:
    """What `fused.c` computes, in torch's operations."""
    h = x.float() if added is None else x.float() + added[:, :, None, None]
    h = F.group_norm(h, norm.groups, eps=norm.eps) * gain[..., None, None] + offset[..., None, None]
    return (F.silu(h) if norm.activates else h).to(x.dtype)


def _forward(x: Tensor, numbers: Sequence[Tensor | None], norm: _Norm) -> tuple[Tensor, Float32[Tensor, "2 B groups"]]:
    y, moments = torch.empty_like(x), torch.empty(2, len(x), norm.groups, dtype=torch.float32)
    _run("forward", x, numbers, norm, moments, y)
    return y, moments


def _backward(
    dy: Tensor, x: Tensor, numbers: Sequence[Tensor | None], norm: _Norm, moments: Tensor
) -> tuple[Tensor | None, ...]:
    dx, found = torch.empty_like(x), torch.empty(3, *x.shape[:2], dtype=torch.float32)
    dgain, doffset, dadded = found
    dy = dy.contiguous(memory_format=channels_last)
    _run("backward", x, numbers, norm, moments, dx, dy, dgain, doffset, None if numbers[2] is None else dadded)
    if numbers[0] is not None and numbers[0].ndim == 1:
        dgain, doffset = dgain.sum(0), doffset.sum(0)
    return dx, dgain, doffset, None if numbers[2] is None else dadded


def _run(
    name: str, x: Tensor, numbers: Sequence[Tensor | None], norm: _Norm, moments: Tensor, *results: Tensor | None
) -> None:
    kernel, (batch, channels, height, width) = _kernel(), x.shape
    assert kernel is not None and numbers[0] is not None
    sizes = (batch, height * width, channels, norm.groups, norm.eps)
    how = (x.dtype == torch.bfloat16, norm.activates, numbers[0].ndim == 2)
    pointers = [None if each is None else each.data_ptr() for each in (x, *numbers, *moments, *results)]
    if getattr(kernel.library, name)(kernel.team, torch.get_num_threads(), *sizes, *how, *pointers):
        raise MemoryError


@cache
def _kernel() -> _Kernel | None:
    """The compiled C, and the OpenMP that torch's own operations use; None where one is missing."""
    found = library(Path(__file__).with_suffix(".c"))
    try:
        torchs = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        team = ctypes.cast(torchs.GOMP_parallel, _POINTER).value
    except (OSError, AttributeError):
        return None
    if found is None or team is None:
        return None
    found.forward.argtypes, found.backward.argtypes = (
        [*_SHARED_ARGUMENTS, _POINTER],
        [*_SHARED_ARGUMENTS, *[_POINTER] * 5],
    )
    return _Kernel(found, team)
