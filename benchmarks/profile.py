"""Where the time of a step goes, by kind of operation, beside what its multiply-adds and its bytes need at least.

Steps are taken in turns, one as it is and one under torch's profiler, whose cost is thereby seen. An operator's time is
all that its kernel takes, copies within it included, but one that is only made of others is taken apart; what no
operator accounts for is Python, dispatch and autograd. The need of
a kind is the sum over its operations of the larger of two: multiply-adds by the best rate of their precision, and bytes
by the best rate at a working set of their size (a roofline, Williams et al. 2009).
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from ancestral.settings import Config
from benchmarks import ours
from benchmarks.bandwidth import Bandwidth, rate_at
from benchmarks.machine import device, precisions
from benchmarks.operations import NAMES, OUTSIDE, Needs, Operation, by_kind, is_composite, kind_of
from benchmarks.pairs import Spread, spread, timed
from benchmarks.workloads import WORKLOADS, Workload

KEYS = ("small", "paper", "transformer")
STEPS: dict[str, Callable[[Workload], Callable[[], object]]] = {
    "training step": lambda work: ours.trainer(work, work.pipeline()).advance,
    "sampling step": lambda work: ours.endless_sampling_steps(work.pipeline(), work.batch_size).__next__,
}
WARM_UP = 2
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes two lines for every step


@dataclass(frozen=True)
class Share:
    """A kind of operation in one step: what it took, and what it needs at least."""

    kind: str
    seconds: float
    operations: int
    multiply_adds: int
    bytes: int
    for_multiply_adds: float  # seconds, at the best rate
    for_bytes: float  # seconds, at the best rate
    least: float  # seconds: the larger of both for each operation, summed


@dataclass(frozen=True)
class Profile:
    """A step. `seconds` are of steps as they are, `profiled` of steps under the profiler, which the shares sum to."""

    workload: str
    step: str
    precision: str
    images: int
    seconds: Spread
    profiled: Spread
    of_ceiling: float  # multiply-adds by `seconds`, in the best rate of the precision
    shares: list[Share]

    @property
    def least(self) -> float:
        """Seconds that all operations need at least."""
        return sum(each.least for each in self.shares)

    @property
    def name(self) -> str:
        return f"{self.step}, {self.workload}, batch {self.images}, {self.precision}"


def profiles(
    quick: bool, rounds: int, ceiling: Mapping[str, float], streams: Sequence[Bandwidth], said: Callable[[str], object]
) -> list[Profile]:
    """Every step of every workload in every precision that the machine has; `said` is told of each as it begins.

    Args:
        ceiling: precision -> GFLOP/s, as `ceiling.best` gives it.
    """
    found = []
    for key in KEYS:
        for step in STEPS:
            for precision in precisions():
                work = in_precision(WORKLOADS[key](quick), precision)
                said(f"{step}, {work.name}, {precision}")
                found.append(profiled(work, step, rounds, ceiling, streams))
    return found


def in_precision(work: Workload, precision: str) -> Workload:
    """`work` computing its products in `precision`."""
    tree = work.config.model_dump()
    tree["compute"] |= {"precision": precision}
    return replace(work, config=Config.model_validate(tree))


def profiled(
    work: Workload, step: str, rounds: int, ceiling: Mapping[str, float], streams: Sequence[Bandwidth]
) -> Profile:
    """One step of `STEPS`, by the medians of `rounds` pairs of steps."""
    take = STEPS[step](work)
    for _ in range(WARM_UP):
        take()
    with Needs() as needs:
        take()
    times_by_kind(take)  # the profiler's own first time
    pairs = [(timed(take)(), times_by_kind(take)) for _ in range(rounds)]
    alone, seen = (list(each) for each in zip(*pairs, strict=True))
    return _profile(work, step, needs.operations, alone, seen, ceiling, streams)


def times_by_kind(take: Callable[[], object]) -> dict[str, float]:
    """Seconds of each kind in a step under the profiler; those of no operator are `OUTSIDE`. They sum to the step's."""
    on_gpu = device() == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with torch.profiler.profile(activities=activities) as profiler:
        seconds = timed(take)()
    found: dict[str, float] = defaultdict(float)
    for event in (each for each in profiler.events() if each.device_type == torch._C._autograd.DeviceType.CPU):
        found[_kind(event)] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
    found[OUTSIDE] = seconds - sum(time for kind, time in found.items() if kind != OUTSIDE)
    return dict(found)


def _kind(event: Any) -> str:
    """That of the outermost operator that is not made of others and that it is part of; else its own."""
    operators = [each for each in _with_callers(event) if "::" in each.name and kind_of(each.name) != OUTSIDE]
    whole = [each for each in operators if not is_composite(each.name)]
    return OUTSIDE if event.is_user_annotation else kind_of((whole[-1] if whole else event).name)


def _with_callers(event: Any) -> Iterator[Any]:
    """From within outwards."""
    while event is not None:
        yield event
        event = event.cpu_parent


def _profile(
    work: Workload,
    step: str,
    operations: list[Operation],
    alone: list[float],
    seen: list[dict[str, float]],
    ceiling: Mapping[str, float],
    streams: Sequence[Bandwidth],
) -> Profile:
    precision = work.config.compute.precision
    times = {kind: median(each.get(kind, 0.0) for each in seen) for kind in NAMES}
    needed = dict(by_kind(operations))
    shares = [
        _share(kind, times[kind], needed.get(kind, []), ceiling, streams)
        for kind in NAMES
        if times[kind] or kind in needed
    ]
    seconds, flops = spread(alone), 2 * sum(each.multiply_adds for each in operations)
    return Profile(
        work.name, step, precision, work.batch_size, seconds, spread([sum(each.values()) for each in seen]),
        flops / seconds.median / 1e9 / ceiling[precision], sorted(shares, key=lambda each: -each.seconds),
    )  # fmt: skip


def _share(
    kind: str, seconds: float, operations: list[Operation], ceiling: Mapping[str, float], streams: Sequence[Bandwidth]
) -> Share:
    slowest = min(ceiling.values())
    products = [2 * each.multiply_adds / ceiling.get(each.precision, slowest) / 1e9 for each in operations]
    moves = [each.bytes / rate_at(streams, each.bytes) / 1e9 for each in operations]
    return Share(
        kind, seconds, len(operations), sum(each.multiply_adds for each in operations),
        sum(each.bytes for each in operations), sum(products), sum(moves), sum(map(max, products, moves)),
    )  # fmt: skip
