"""What an operator is, by its name, and what it needs at least: multiply-adds, and bytes read and written.

Needs are counted where torch dispatches, on the shapes that come by: each tensor that an operator takes is read once
and each that it returns is written once; views cost nothing. An operator that is cut out of others needs what it reads
and writes itself, so fusing two of them lowers the need.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.machine import device

VIEWS, REST, OUTSIDE = "views and allocation", "everything else", "Python and dispatch"

KINDS: tuple[tuple[str, str], ...] = (
    (OUTSIDE, r"^autograd::|^torch::autograd|Backward\d+$|^profiler::|^Optimizer\.|^ProfilerStep|^detach$"),
    ("optimiser, clipping, average", r"^aten::_foreach_|^aten::_fused_|vector_norm"),
    ("attention", r"attention"),
    ("convolution, backward", r"conv(olution)?\w*_backward"),
    ("convolution, forward", r"conv(olution|\d)"),
    ("concatenation and resizing", r"cat$|stack|upsample|pad(_nd)?$"),
    ("matrix products", r"mm_?$|linear|matmul"),
    ("normalisation", r"norm(?!al)"),
    ("activation", r"silu|gelu|relu|sigmoid|tanh|softmax"),
    ("random numbers", r"rand|bernoulli|normal_|uniform_|dropout"),
    ("casts and copies", r"copy|clone|contiguous|^aten::to$|fill_|zero_|zeros|ones|full"),
    (VIEWS, r"^aten::(empty\w*|resize\w*|as_strided\w*|view\w*|_unsafe_view|reshape|_reshape_alias|alias|detach\w*|t"
            r"|transpose|permute|expand\w*|slice|select|narrow|split\w*|chunk|unbind\w*|(un)?squeeze|(un)?flatten"
            r"|lift_fresh|resolve_\w+|result_type)_?$"),
    ("additions and multiplications", r"^aten::(add|sub|rsub|mul|div|sum|mean|addcmul|addcdiv|lerp|neg|pow|square"
                                      r"|sqrt|clamp\w*)_?$"),
)  # fmt: skip
"""Kind -> what the names of its operators match, whatever their case; the first that matches. An autograd function has
the name of its class, and `Backward` after it on the way back: one of a new kind is found by adding it here."""
NAMES = (*dict(KINDS), REST)
OVERWRITTEN = re.compile(r"aten::(copy|fill|zero|bernoulli|normal|uniform|random)_$")
"""Operators that write to their first tensor and do not read it."""
GATHERED = re.compile(r"aten::(index|index_select|embedding|gather)$")
"""Operators that read of their first tensor what they return."""


def kind_of(name: str) -> str:
    """The kind of an operator, named as the profiler names it."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), REST)


@cache
def is_composite(name: str) -> bool:
    """Whether the operator of that name is only made of others, each of which is dispatched."""
    space, _, operator = name.partition("::")
    packet = getattr(getattr(torch.ops, space), operator, None) if operator.isidentifier() else None
    return packet is not None and any(_is_composite(getattr(packet, each)) for each in packet.overloads())


def _is_composite(func: Any) -> bool:
    name = func.name()
    if not torch._C._dispatch_has_kernel(name):
        return False  # an overload for TorchScript alone
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(name, "CompositeImplicitAutograd") and not has(name, device().upper())


@dataclass(frozen=True)
class Operation:
    """One operator that was dispatched, and its need."""

    kind: str
    precision: str  # of its first tensor
    multiply_adds: int
    bytes: int


class Needs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A `with` statement that keeps the operations dispatched in it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs `func`; one that is only made of others is taken apart, as it is where gradients are wanted."""
        kwargs = kwargs or {}
        if _is_composite(func):
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        out = func(*args, **kwargs)
        given, returned, kind = _tensors((args, kwargs)), _tensors(out), kind_of(func._schema.name)
        if kind not in (VIEWS, OUTSIDE) and not func.is_view and (given or returned):
            precision = str((given or returned)[0].dtype).removeprefix("torch.")
            size = _bytes(func._schema.name, given, returned or _overwritten(func, args))
            self.operations.append(Operation(kind, precision, _multiply_adds(func, args, kwargs, out), size))
        return out


def _bytes(name: str, given: list[Tensor], written: list[Tensor]) -> int:
    read = given[1:] if OVERWRITTEN.match(name) else given
    if GATHERED.match(name):
        read = [*written, *given[1:]]
    return sum(map(_size, read)) + sum(map(_size, written))


def _overwritten(func: Any, args: tuple[Any, ...]) -> list[Tensor]:
    """The tensors given to an operator that its schema says it writes to."""
    writes = [a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments]
    return _tensors([value for value, written in zip(args, writes, strict=False) if written])


def _size(x: Tensor) -> int:
    """Bytes of a tensor in memory: what is repeated by a stride of 0 is there once."""
    numbers = 1
    for length, stride in zip(x.shape, x.stride(), strict=True):
        numbers *= length if stride or not length else 1
    return numbers * x.element_size()


def _multiply_adds(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    if "attention_for_cpu" in func._schema.name:
        return _of_attention(func._schema.name, *args)
    count: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out)) // 2


def _of_attention(name: str, *args: Any) -> int:
    """Two products forward and four backward, as of the written-out form; those a fused kernel repeats do not count."""
    backward = name.endswith("backward")
    queries, keys, values = args[1:4] if backward else args[:3]
    pairs = queries.shape[:-1].numel() * keys.shape[-2]
    return int((2 if backward else 1) * pairs * (queries.shape[-1] + values.shape[-1]))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def by_kind(operations: list[Operation]) -> Iterator[tuple[str, list[Operation]]]:
    """The operations of each kind that there is, in the order of `NAMES`."""
    for kind in NAMES:
        found = [each for each in operations if each.kind == kind]
        if found:
            yield kind, found
