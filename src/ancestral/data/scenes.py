"""What the data set `shapes` shows and says: things of a colour, a shape and a size, and where each is to another.

Of the 32 pairs of a colour and a shape one in eight is held out: shape number s never comes in colour number 2 s + 1 in
what is trained on, so every shape keeps 7 of its 8 colours, and every colour at least 3 of its 4 shapes.

Lengths are in parts of the side of the image, which is square; y points down. Things keep apart by `GAP`, 2 of 32
pixels. Where one is to another is by the larger of the two distances between their centroids, and of a scene that is
drawn the smaller is at most `MOST_ASIDE` of it: no corner case is ever asked for.
"""

from collections.abc import Sequence
from itertools import product
from random import Random
from typing import NamedTuple, TypeVar

from ancestral.rng import mix
from ancestral.settings.data import NUM_THINGS

T = TypeVar("T")
Centre = tuple[float, float]  # x, y
Pair = tuple[str, str]  # colour, shape

COLORS = {
    "red": (220, 30, 40),
    "orange": (255, 140, 20),
    "yellow": (255, 220, 40),
    "green": (40, 160, 70),
    "blue": (40, 90, 220),
    "purple": (140, 50, 190),
    "pink": (255, 140, 190),
    "black": (25, 25, 25),
}
REACH = {
    "circle": (1.0, 1.0, 1.0, 1.0),
    "square": (0.9, 0.9, 0.9, 0.9),
    "triangle": (1.155, 1.155, 1.334, 0.667),
    "star": (1.189, 1.189, 1.25, 1.012),
}
"""How far a shape reaches from its centroid to the left, right, top and bottom, in radii."""
RADII = {"small": 3.6 / 32, "large": 6 / 32}
SHAPES, SIZES = tuple(REACH), tuple(RADII)
GAP = 2 / 32
MARGIN = 0.5 / 32
MOST_ASIDE = 0.6

PAIRS = tuple(product(COLORS, SHAPES))
HELD_OUT = tuple((tuple(COLORS)[2 * s + 1], shape) for s, shape in enumerate(SHAPES))
SEEN = tuple(pair for pair in PAIRS if pair not in HELD_OUT)


class Thing(NamedTuple):
    color: str
    shape: str  # "" of one that is none of the shapes
    size: str  # "" where a caption does not say

    @property
    def pair(self) -> Pair:
        return self.color, self.shape


class Scene(NamedTuple):
    """Things in an image, and where their centroids are; each has a relation to the one before it."""

    things: tuple[Thing, ...]
    centres: tuple[Centre, ...]


class Statement(NamedTuple):
    """What a caption says of an image: nothing is there but these things, and thing a is in a relation to thing b."""

    things: tuple[Thing, ...]
    relations: tuple[tuple[int, str, int], ...]


def relation(a: Centre, b: Centre) -> str:
    """Where `a` is to `b`."""
    across, down = a[0] - b[0], a[1] - b[1]
    if abs(down) > abs(across):
        return "above" if down < 0 else "below"
    return "left of" if across < 0 else "right of"


def pick(random: Random, some: Sequence[T]) -> T:
    """One of them. Of `Random` only `random()` is promised to stay the same from one Python to the next."""
    return some[int(random.random() * len(some))]


def between(random: Random, low: float, high: float) -> float:
    return low + random.random() * (high - low)


def randomness(kind: str, *place: int | str) -> Random:
    """The draws of one scene, by the name of its data set and its place."""
    return Random(mix(0, "scene", kind, *place))


def new_scene(kind: str, random: Random, pairs: Sequence[Pair] = SEEN, held_out: bool = False) -> Scene:
    """A scene of the data set `kind`, of different `pairs`; `held_out`: of all pairs, and at least one held out."""
    count = pick(random, NUM_THINGS[kind])
    left, chosen = list(PAIRS if held_out else pairs), list[Pair]()
    for _ in range(count):
        chosen.append(pick(random, left))
        left.remove(chosen[-1])
    if held_out and not {*chosen} & {*HELD_OUT}:
        chosen[int(random.random() * count)] = pick(random, HELD_OUT)
    things = tuple(Thing(*pair, pick(random, SIZES)) for pair in chosen)
    return Scene(things, _placed(things, random))


def _placed(things: tuple[Thing, ...], random: Random) -> tuple[Centre, ...]:
    """Centroids: the second is apart from the first along one axis, and the third from the second along the other."""
    reach = [[RADII[thing.size] * side for side in REACH[thing.shape]] for thing in things]
    ranges = [
        [(MARGIN + low, 1 - MARGIN - high) for low, high in ((left, right), (up, down))]
        for left, right, up, down in reach
    ]
    while True:
        at = [[between(random, *along) for along in each] for each in ranges]
        axis = int(random.random() * 2)
        for i in range(len(things) - 1):
            along = axis if i == 0 else 1 - axis
            first, second = (i, i + 1) if random.random() < 0.5 else (i + 1, i)
            touching = reach[first][2 * along + 1] + GAP + reach[second][2 * along]
            slack = ranges[second][along][1] - ranges[first][along][0] - touching
            ends = sorted((random.random() * slack, random.random() * slack))
            at[first][along] = ranges[first][along][0] + ends[0]
            at[second][along] = ranges[first][along][0] + touching + ends[1]
        for i in range(len(things) - 1):
            along, moved = (axis, 0) if i == 0 else (1 - axis, 2)
            aside, most = 1 - along, MOST_ASIDE * abs(at[i][along] - at[i + 1][along])
            low, high = ranges[moved][aside]
            at[moved][aside] = between(random, max(low, at[1][aside] - most), min(high, at[1][aside] + most))
        if len(things) < 3 or _apart(at[0], reach[0], at[2], reach[2]):
            return tuple((x, y) for x, y in at)


def _apart(a: Sequence[float], reach_a: Sequence[float], b: Sequence[float], reach_b: Sequence[float]) -> bool:
    """Whether two boxes keep the gap along one axis at least."""
    return any(
        a[axis] + reach_a[2 * axis + 1] + GAP <= b[axis] - reach_b[2 * axis]
        or b[axis] + reach_b[2 * axis + 1] + GAP <= a[axis] - reach_a[2 * axis]
        for axis in (0, 1)
    )
