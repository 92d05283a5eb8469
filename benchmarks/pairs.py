"""How two programs are compared on a machine that is shared and noisy: in alternation, within one run.

Contestants take turns, A B C A B C, in reversed order every other round. A ratio is that of the two values of one
round, measured seconds apart, so what slows the machine for a minute slows both; the median of the rounds' ratios is
reported between the smallest and the largest.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from ancestral.compute import on_device, time_on
from ancestral.tuning.choosing import in_turns


@dataclass(frozen=True)
class Contestant:
    """Something that is measured.

    Args:
        measure: does the work once and returns what it cost, in the case's unit.
        flops: floating-point operations of the work, two for each multiply-add; None where not counted.
        precision: what its products are computed in.
        note: what the reader of the number must know.
    """

    name: str
    measure: Callable[[], float]
    flops: int | None = None
    precision: str = ""
    note: str = ""


@dataclass(frozen=True)
class Case:
    """Contestants that do the same work; the first is the one the others are divided by.

    Args:
        unit: s or MiB, of every value; lower is better.
        goals: contestant -> the ratio to the first that is aimed at.
        at_most: the value aimed at for the first.
    """

    name: str
    contestants: list[Contestant]
    unit: str = "s"
    goals: Mapping[str, float] = field(default_factory=dict)
    at_most: float | None = None


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, between the extremes."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One contestant after all rounds. `ratio` is None for the first; `multiply_adds` are half the operations."""

    name: str
    value: Spread
    ratio: Spread | None
    goal: float | None
    multiply_adds: int | None
    precision: str
    note: str


@dataclass(frozen=True)
class Result:
    """A case after all rounds."""

    name: str
    unit: str
    rounds: int
    at_most: float | None
    measured: list[Measured]


Cases = Iterator[Case]
"""What a benchmark yields, one case after another, so that only one case's networks are in memory."""


def spread(values: list[float]) -> Spread:
    """Median, least and greatest of `values`."""
    return Spread(median(values), min(values), max(values))


def timed(action: Callable[[], object], shortest: float = 0.0, per: int = 1) -> Callable[[], float]:
    """A measure: seconds of one `action`, repeated until `shortest` seconds have passed, divided by `per`."""
    where = on_device(None)

    def measure() -> float:
        start, calls = time_on(where), 0
        while calls == 0 or time_on(where) - start < shortest:
            action()
            calls += 1
        return (time_on(where) - start) / calls / per

    return measure


def compare(case: Case, rounds: int) -> Result:
    """Measures all contestants of `case` once unseen, to warm up, then `rounds` times in alternation."""
    turns = in_turns([contestant.measure for contestant in case.contestants])
    values = [list(each) for each in zip(*islice(turns, rounds), strict=True)]
    summaries = [_summary(case, i, values) for i in range(len(values))]
    return Result(case.name, case.unit, rounds, case.at_most, summaries)


def _summary(case: Case, i: int, values: list[list[float]]) -> Measured:
    who = case.contestants[i]
    ratio = spread([theirs / ours for ours, theirs in zip(values[0], values[i], strict=True)]) if i else None
    multiply_adds = None if who.flops is None else who.flops // 2
    return Measured(
        who.name, spread(values[i]), ratio, case.goals.get(who.name), multiply_adds, who.precision, who.note
    )
