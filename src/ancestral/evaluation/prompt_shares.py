"""Shares of what prompts ask for that images hold, with intervals by prompt.

The facts of one prompt hold or fail together, and so do images of one prompt: counted one by one, 500 prompts of seven
facts would seem to be 3,500 trials. So an interval is a bootstrap that draws prompts with replacement, each with all
that is its (Efron 1979), and takes the middle 95 % of the shares. Equal texts are one prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from ancestral.data.scenes import Statement
from ancestral.data.wording import parse_caption
from ancestral.evaluation.scene_facts import facts, is_swapped
from ancestral.evaluation.scene_reader import read_scene
from ancestral.rng import mix
from ancestral.settings import Settings
from ancestral.tensors import Pixels

RESAMPLED = 1000  # times
TAIL = 2.5  # % of the shares that lie beyond either end of an interval

Counts = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By name, of each image: how many of what is asked for hold, of how many, (N,) each."""


class Share(Settings):
    """A share and the ends of its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def shares_of(counts: Counts, prompts: Sequence[str], seed: int) -> tuple[Share, ...]:
    """What `counts` of the images of these prompts come to; a name of which nothing is asked has no share."""
    known, which = np.unique(np.array(prompts, object), return_inverse=True)
    random = np.random.default_rng(mix(seed, "bootstrap", len(known)))
    drawn = random.multinomial(len(known), np.full(len(known), 1 / len(known)), RESAMPLED)
    return tuple(_shares(counts, which, drawn))


def _shares(counts: Counts, which: np.ndarray, drawn: np.ndarray) -> Iterator[Share]:
    """`which` prompt an image is of, (N,); how often each is drawn, (R, P)."""
    for name, each in counts.items():
        held, asked = (np.bincount(which, numbers, drawn.shape[1]) for numbers in each)
        if asked.sum():
            some = drawn @ asked
            low, high = np.percentile((drawn @ held)[some > 0] / some[some > 0], (TAIL, 100 - TAIL))
            yield Share(name=name, value=held.sum() / asked.sum(), low=low, high=high)


def counts_of(asked: Sequence[str], images: Pixels) -> Counts:
    """Of each image: its facts, "all" and by kind; whether they hold as a "whole"; and whether colours and shapes are
    the right ones but "swapped", where a prompt can be misread so.

    Args:
        images: (N, 3, S, S), in the order of the prompts.
    """
    names = ("all", "whole", "count", "color", "shape", "size", "relation", "swapped")
    held, stated = ({name: np.zeros(len(asked)) for name in names} for _ in range(2))
    for i, (text, image) in enumerate(zip(asked, images.permute(0, 2, 3, 1).numpy(), strict=True)):
        says, seen = parse_caption(text), read_scene(image)
        some = facts(says, seen)
        answers = [(fact.kind, fact.holds) for fact in some] + [("all", fact.holds) for fact in some]
        answers += [("whole", all(fact.holds for fact in some))]
        answers += [("swapped", is_swapped(says, seen))] * can_be_swapped(says)
        for name, holds in answers:
            held[name][i] += holds
            stated[name][i] += 1
    return {name: (held[name], stated[name]) for name in names}


def can_be_swapped(says: Statement) -> bool:
    """Whether other things have the same colours and the same shapes: two differ in both."""
    return any(a.color != b.color and a.shape != b.shape for a, b in combinations(says.things, 2))
