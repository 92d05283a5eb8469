"""The search for the fastest choices: one after another from the best so far, changed only where that is faster beyond
doubt.

Two ways of doing one thing take turns, A B, B A, A B, ...: a ratio is that of two values measured one right after the
other, so what slows a shared machine for a minute slows both. The median of the ratios counts.

Nothing here knows of networks: `measure` does some work under some choices and returns the seconds an image of it took.
"""

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal, NamedTuple, get_args

from ancestral.compute import Choices, given
from ancestral.errors import InputError
from ancestral.settings import Config

Work = Literal["training", "one image", "generating"]
"""What is timed: optimiser steps, or steps of a chain as the settings have it, of one image or of a chunk of them."""
Value = str | int | None

TOGETHER = "together"  # stands for a choice where all of them are compared
MARGIN = 1.03  # how many times as fast another way must be, at the median, to replace the usual one
AGREEING = 0.75
"""Share of the pairs in which it must be faster. Two equal ways pass one time in fifty, with fifteen pairs."""
FEWEST_PAIRS, MOST_PAIRS = 3, 15  # fewer prove nothing, more are not needed
SMALLEST_CHUNK, LARGEST_CHUNK = 8, 256  # images generated at once on a CPU; on a GPU eight times as many


class Question(NamedTuple):
    """A choice, a field of `Choices`, that is left open: each value is tried if the one before it was faster."""

    work: Work
    choice: str
    values: tuple[Value, ...]


def questions(
    usual: Choices,
    config: Config,
    *,
    gpu: bool,
    bfloat16: bool,
    cores: int,
    threads: int | None,
    images: int,
    compiling: bool,
    engines: Sequence[str] = (),
) -> list[Question]:
    """What is open on a machine, the choices that matter most first; whatever the settings fix is not.

    Args:
        bfloat16: whether the machine computes in it.
        cores: that this process may use.
        threads: that torch uses by itself; None where their number is not to be asked for.
        images: generated at once without passing half of the free memory.
        compiling: whether compiling is to be tried.
        engines: that can call the network beside torch. They differ most for one image, which is quickly measured;
            torch has to be faster for a chunk to be taken back.
    """
    batch, chunk, powers = config.training.batch_size, usual.chunk, range(1, 12)
    precisions = ("float32", "bfloat16") if bfloat16 else ()
    numbers_of_threads = () if gpu or threads is None else sorted({1, cores // 2, cores} - {0, threads}, reverse=True)
    fewest, most = (8 * SMALLEST_CHUNK, 8 * LARGEST_CHUNK) if gpu else (SMALLEST_CHUNK, LARGEST_CHUNK)
    found = [
        *(Question("training", "precision", (name,)) for name in precisions if name != usual.precision),
        *(Question("training", "threads", (number,)) for number in numbers_of_threads),
        Question("training", "micro_batch", tuple(batch >> k for k in range(1, batch.bit_length()))),
        Question("training", "compile", ("no" if usual.compile == "whole" else "whole",) if compiling else ()),
        *(Question("one image", "engine", (name,)) for name in engines if name != usual.engine),
        Question("generating", "engine", ("torch",) if engines else ()),
        Question("generating", "chunk", tuple(chunk << k for k in powers if chunk << k <= min(most, images))),
        Question("generating", "chunk", tuple(chunk >> k for k in powers if chunk >> k >= fewest)),
    ]
    return [question for question in found if question.values and question.choice not in given(config.compute)]


@dataclass(frozen=True)
class PairedTimes:
    """Seconds per image of two ways, pair by pair."""

    usual: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast the other way was, in each pair."""
        return [usual / other for usual, other in zip(self.usual, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """Their median."""
        return median(self.ratios)

    @property
    def promising(self) -> bool:
        """Whether the other way seems faster, by more than the margin."""
        return self.ratio > MARGIN

    @property
    def faster(self) -> bool:
        """Whether it is so beyond doubt: in most of several pairs."""
        wins, pairs = sum(ratio > 1 for ratio in self.ratios), len(self.ratios)
        return self.promising and pairs >= FEWEST_PAIRS and wins >= AGREEING * pairs


def in_turns(ways: Sequence[Callable[[], float]]) -> Iterator[tuple[float, ...]]:
    """Values of all ways, round after round without end; each is called once unseen before, to warm up."""
    for way in ways:
        way()
    for turn in itertools.count():
        values = [0.0] * len(ways)
        for i in range(len(ways)) if turn % 2 == 0 else reversed(range(len(ways))):
            values[i] = ways[i]()
        yield tuple(values)


class CannotCompute(InputError):
    """This machine cannot do some work under these choices."""

    def __init__(self, choices: Choices, why: str) -> None:
        super().__init__(why)
        self.choices = choices


@dataclass(frozen=True)
class Trial:
    """One value of a choice, or of `TOGETHER`, against the best so far."""

    work: Work
    choice: str
    best: Value
    candidate: Value
    outcome: PairedTimes | None  # None where nothing was measured, and `note` says why
    taken: bool  # the candidate is the best from here on
    note: str = ""


@dataclass(frozen=True)
class Speed:
    """Images per second under the usual choices and under those made."""

    before: float
    after: float


@dataclass(frozen=True)
class Tuning:
    """What was found: the choices without it, those made, all comparisons in order, and speeds where time was left."""

    usual: Choices
    choices: Choices
    comparisons: tuple[Trial, ...]
    speeds: dict[Work, Speed]


class Comparer:
    """Compares ways of doing some work, for a time that runs from now on and is divided among what is `ahead`.
    `measure` does some work once under some choices: seconds per image. It raises CannotCompute."""

    def __init__(
        self, measure: Callable[[Work, Choices], float], seconds: float, clock: Callable[[], float], ahead: int
    ) -> None:
        self.measure, self.clock, self.end, self.ahead = measure, clock, clock() + seconds, ahead

    @property
    def left(self) -> float:
        """Seconds, less than 0 where the time was overrun."""
        return self.end - self.clock()

    def pairs(self, work: Work, ways: Sequence[Choices]) -> PairedTimes:
        """The first way and the last in turns: one pair, and more while they fit into the share of this comparison.
        What seems faster may take of the others' time until there are enough pairs to tell."""
        begun, share = self.clock(), max(0.0, self.left) / max(1, self.ahead)
        seen: list[tuple[float, ...]] = []
        for values in in_turns([partial(self.measure, work, way) for way in ways]):
            seen.append(values)
            outcome = PairedTimes(tuple(each[0] for each in seen), tuple(each[-1] for each in seen))
            undecided = outcome.promising and len(seen) < FEWEST_PAIRS
            now = self.clock()
            another = (now - begun) / (len(seen) + 1)
            if len(seen) == MOST_PAIRS or now + another > (self.end if undecided else begun + share):
                break
        return outcome

    def line(self, work: Work, what: str) -> str:
        """What is compared now, and how much time is left."""
        minutes, seconds = divmod(round(self.left), 60)
        return f"{work}: {what}, {minutes}:{seconds:02} left"


def choose(
    usual: Choices,
    asked: Sequence[Question],
    measure: Callable[[Work, Choices], float],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    compile_all: bool = False,
) -> Generator[str, None, Tuning]:
    """Answers the questions of each work in turn, then compares the answers together with the usual choices, and takes
    them back where they come to nothing; yields a line about each comparison before it begins. None is begun after
    `seconds`. `compile_all`: compile wherever the choices do, though it takes minutes, and not only to compare that.
    """
    best, trials, speeds = usual, list[Trial](), dict[Work, Speed]()
    works = [work for work in get_args(Work) if work != "one image" or any(each.work == work for each in asked)]
    comparer = Comparer(measure, seconds, clock, ahead=len(asked) + len(works))
    for work in works:
        of_work = [question for question in asked if question.work == work]
        for question in of_work:
            for value in question.values:
                if value == getattr(best, question.choice):
                    break
                trial = yield from _trial(comparer, question, value, best, compile_all)
                trials.append(trial)
                if not trial.taken:
                    break
                best = best.model_copy(update={question.choice: value})
            comparer.ahead -= 1
        if comparer.left <= 0:
            continue
        yield comparer.line(work, "everything chosen against the usual")
        outcome = comparer.pairs(work, [*dict.fromkeys((usual, best))])
        comparer.ahead -= 1
        kept = outcome.ratio >= 1
        if best != usual:
            trials.append(Trial(work, TOGETHER, "usual", "chosen", outcome, kept))
        if not kept:
            best = best.model_copy(update={each.choice: getattr(usual, each.choice) for each in of_work})
        speeds[work] = Speed(1 / median(outcome.usual), 1 / median(outcome.other if kept else outcome.usual))
    return Tuning(usual, best, tuple(trials), speeds)


def _trial(
    comparer: Comparer, question: Question, value: Value, best: Choices, compile_all: bool
) -> Generator[str, None, Trial]:
    """`value` against the best so far."""
    work, choice, before = question.work, question.choice, getattr(best, question.choice)
    if comparer.left <= 0:
        return Trial(work, choice, before, value, None, False, "no time left")
    yield comparer.line(work, f"{choice} {shown(value)} against {shown(before)}")
    ways = [best, best.model_copy(update={choice: value})]
    if choice != "compile" and not compile_all:
        ways = [way.model_copy(update={"compile": "no"}) for way in ways]
    try:
        outcome = comparer.pairs(work, ways)
    except CannotCompute as fault:
        if fault.choices != ways[1]:
            raise
        return Trial(work, choice, before, value, None, False, str(fault))
    note = "too few pairs to tell" if outcome.promising and len(outcome.ratios) < FEWEST_PAIRS else ""
    return Trial(work, choice, before, value, outcome, outcome.faster, note)


def shown(value: Value) -> str:
    return "as usual" if value is None else str(value)
