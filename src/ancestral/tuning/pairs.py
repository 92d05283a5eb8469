"""How two ways of doing one thing are compared on a machine that is shared and noisy: in turns, A B, B A, A B, ...

A ratio is that of the two values of one pair, measured one right after the other, so what slows the machine for a
minute slows both. The median of the ratios is reported.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

MARGIN = 1.03
"""How many times as fast another way must be, at the median, to replace the usual one."""
AGREEING = 0.75
"""Share of the pairs in which it must be faster. Two equal ways pass one time in fifty, with fifteen pairs."""
FEWEST_PAIRS, MOST_PAIRS = 3, 15
"""Fewer prove nothing, more are not needed."""

Way = Callable[[], float]
"""Does the work once; the seconds of one image."""


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


def in_turns(ways: Sequence[Way]) -> Iterator[tuple[float, ...]]:
    """Values of all ways, round after round without end; each is called once unseen before, to warm up."""
    for way in ways:
        way()
    for turn in itertools.count():
        values = [0.0] * len(ways)
        for i in range(len(ways)) if turn % 2 == 0 else reversed(range(len(ways))):
            values[i] = ways[i]()
        yield tuple(values)
