"""The search: one choice after another from the best so far, changed only where that is faster beyond doubt.

It knows nothing of networks. `measure` does some work under some choices and returns what an image of it took; the
clock says only how much of the budget is left.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import get_args

from ancestral.compute import Choices
from ancestral.errors import InputError
from ancestral.tuning.pairs import FEWEST_PAIRS, MOST_PAIRS, PairedTimes, in_turns
from ancestral.tuning.questions import Question, Value, Work

TOGETHER = "together"
"""Stands for a choice where all of them are compared."""


class CannotCompute(InputError):
    """This machine cannot do some work under these choices; the message says why."""

    def __init__(self, choices: Choices, why: str) -> None:
        super().__init__(why)
        self.choices = choices


MeasuredTime = Callable[[Work, Choices], float]
"""Does some work once under some choices: seconds per image. Raises CannotCompute."""


@dataclass(frozen=True)
class Trial:
    """One value of a choice against the best so far.

    Args:
        work: what was timed.
        choice: the field of `Choices`, or `TOGETHER`.
        best: the value so far.
        candidate: the value tried.
        outcome: the pairs; None where there are none, and `note` says why.
        taken: whether the candidate is the best from here on.
        note: what else there is to say.
    """

    work: Work
    choice: str
    best: Value
    candidate: Value
    outcome: PairedTimes | None
    taken: bool
    note: str = ""


@dataclass(frozen=True)
class Speed:
    """Images per second under the usual choices and under those made."""

    before: float
    after: float


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Args:
        usual: the choices without it, under the user's settings.
        choices: the choices made.
        comparisons: in the order in which they were made.
        speeds: by work; what there was no time for is missing.
    """

    usual: Choices
    choices: Choices
    comparisons: tuple[Trial, ...]
    speeds: dict[Work, Speed]


class Budget:
    """A time that runs from now on, divided among the comparisons to come."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.clock, self.end = clock, clock() + seconds
        self.ahead = 1

    @property
    def left(self) -> float:
        """Seconds; less than 0 where it was overrun."""
        return self.end - self.clock()

    @property
    def share(self) -> float:
        """Seconds for the next comparison."""
        return max(0.0, self.left) / max(1, self.ahead)


def choose(
    usual: Choices,
    questions: Sequence[Question],
    measure: MeasuredTime,
    budget: Budget,
    fixed: frozenset[str] = frozenset(),
) -> Generator[str, None, Tuning]:
    """Answers the questions of each work in turn, then compares the answers together with the usual choices; yields a
    line about each comparison before it begins.

    A comparison that is begun makes at least one pair; none is begun after the end of the budget.

    Args:
        fixed: choices that the user has made.
    """
    search = _Search(usual, usual, measure, budget, fixed)
    budget.ahead = len(get_args(Work)) + sum(_likely(way) for question in questions for way in question.ways)
    for work in get_args(Work):
        mine = [question for question in questions if question.work == work]
        for question in mine:
            yield from search.answer(question)
        yield from search.check(work, mine)
    return Tuning(usual, search.best, tuple(search.comparisons), search.speeds)


@dataclass
class _Search:
    """`best` so far, and how it came about."""

    usual: Choices
    best: Choices
    measure: MeasuredTime
    budget: Budget
    fixed: frozenset[str]
    comparisons: list[Trial] = field(default_factory=list)
    speeds: dict[Work, Speed] = field(default_factory=dict)

    def answer(self, question: Question) -> Iterator[str]:
        """Follows each row of values for as long as they get faster."""
        for way in question.ways:
            for value in way:
                comparison = yield from self._compared(question, value)
                self.comparisons.append(comparison)
                if not comparison.taken:
                    break
                self.best = self._changed(question, value)
            self.budget.ahead -= _likely(way)

    def check(self, work: Work, questions: Sequence[Question]) -> Iterator[str]:
        """What the choices come to together; those made for this work are taken back where that is less than usual."""
        if self.budget.left <= 0:
            return
        yield self._line(work, "everything chosen against the usual")
        outcome = self._pairs(work, [*dict.fromkeys((self.usual, self.best))])
        self.budget.ahead -= 1
        kept = outcome.ratio >= 1
        if self.best != self.usual:
            self.comparisons.append(Trial(work, TOGETHER, "usual", "chosen", outcome, kept))
        if not kept:
            back = {question.choice: getattr(self.usual, question.choice) for question in questions}
            self.best = self.best.model_copy(update=back)
        self.speeds[work] = Speed(1 / median(outcome.usual), 1 / median(outcome.other if kept else outcome.usual))

    def _compared(self, question: Question, value: Value) -> Generator[str, None, Trial]:
        """`value` against the best so far."""
        work, choice, best = question.work, question.choice, getattr(self.best, question.choice)
        if self.budget.left <= 0:
            return Trial(work, choice, best, value, None, False, "no time left")
        yield self._line(work, f"{choice} {shown(value)} against {shown(best)}")
        ways = [self._plain(question, way) for way in (self.best, self._changed(question, value))]
        try:
            outcome = self._pairs(work, ways)
        except CannotCompute as fault:
            if fault.choices != ways[1]:
                raise
            return Trial(work, choice, best, value, None, False, str(fault))
        note = "too few pairs to tell" if outcome.promising and len(outcome.ratios) < FEWEST_PAIRS else ""
        return Trial(work, choice, best, value, outcome, outcome.faster, note)

    def _pairs(self, work: Work, ways: Sequence[Choices]) -> PairedTimes:
        """The first way and the last in turns: one pair, and more while they fit into the share of this comparison.

        What seems faster may take of the others' time until there are enough pairs to tell.
        """
        begun, share = self.budget.clock(), self.budget.share
        seen: list[tuple[float, ...]] = []
        for values in in_turns([partial(self.measure, work, way) for way in ways]):
            seen.append(values)
            outcome = PairedTimes(tuple(each[0] for each in seen), tuple(each[-1] for each in seen))
            undecided = outcome.promising and len(seen) < FEWEST_PAIRS
            now = self.budget.clock()
            another = (now - begun) / (len(seen) + 1)
            if len(seen) == MOST_PAIRS or now + another > (self.budget.end if undecided else begun + share):
                break
        return outcome

    def _changed(self, question: Question, value: Value) -> Choices:
        return self.best.model_copy(update={question.choice: value})

    def _plain(self, question: Question, choices: Choices) -> Choices:
        """Compiling takes minutes, so it is tried when it is asked for, and where the user has set it."""
        if question.choice == "compile" or "compile" in self.fixed:
            return choices
        return choices.model_copy(update={"compile": "no"})

    def _line(self, work: Work, what: str) -> str:
        minutes, seconds = divmod(round(self.budget.left), 60)
        return f"{work}: {what}, {minutes}:{seconds:02} left"


def _likely(way: tuple[Value, ...]) -> int:
    """Comparisons that following a row of values will take, most often."""
    return min(len(way), 2)


def shown(value: Value) -> str:
    """A value of a choice in words."""
    return "as usual" if value is None else str(value)
