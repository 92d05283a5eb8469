"""Which facts of a prompt of the data set `shapes` hold in an image, the prompts, and what facts hold by themselves.

A prompt states how many things there are; of each its colour, its shape and, where it says one, its size; and where one
is to another. The things of an image are taken for those of the prompt in the way in which most of these facts hold.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from ancestral.data.drawing import draw
from ancestral.data.scenes import PAIRS, Scene, Statement, Thing, new_scene, randomness, relation
from ancestral.data.wording import caption, parse_caption
from ancestral.evaluation.scene_reader import read_scene
from ancestral.rng import mix

MOST_THINGS = 6  # of an image, that are compared with those of a prompt
TOGETHER = 100  # scenes drawn and read at a time
LISTS = ("choosing", "figures")
"""The prompts that guidance is chosen by, and those that are reported: no prompt is in both."""


class Fact(NamedTuple):
    kind: str  # count, color, shape, size or relation
    holds: bool


class ScenePrompt(NamedTuple):
    text: str
    says: Statement


def facts(says: Statement, seen: Scene) -> tuple[Fact, ...]:
    """Every fact that is stated, and whether it holds in what is seen."""
    count = Fact("count", len(seen.things) == len(says.things))
    there = [*range(len(seen.things))][:MOST_THINGS] + [None] * len(says.things)
    ways = {*permutations(there, len(says.things))}
    best = max((tuple(_facts_of(says, seen, way)) for way in sorted(ways, key=str)), key=_num_holding)
    return count, *best


def _num_holding(some: Sequence[Fact]) -> int:
    return sum(fact.holds for fact in some)


def _facts_of(says: Statement, seen: Scene, way: Sequence[int | None]) -> Iterator[Fact]:
    """`way`: the thing of the image that stands for each thing of the prompt, or None."""
    for thing, at in zip(says.things, way, strict=True):
        found = Thing("", "", "") if at is None else seen.things[at]
        yield Fact("color", found.color == thing.color)
        yield Fact("shape", found.shape == thing.shape)
        if thing.size:
            yield Fact("size", found.size == thing.size)
    for a, name, b in says.relations:
        at, other = way[a], way[b]
        holds = at is not None and other is not None and relation(seen.centres[at], seen.centres[other]) == name
        yield Fact("relation", holds)


def is_swapped(says: Statement, seen: Scene) -> bool:
    """Whether the colours and the shapes are the right ones, but on one another's things."""
    asked, found = [thing.pair for thing in says.things], [thing.pair for thing in seen.things]
    alike = all(sorted(pair[i] for pair in asked) == sorted(pair[i] for pair in found) for i in (0, 1))
    return alike and sorted(asked) != sorted(found)


def shares(of_prompts: Iterable[Sequence[Fact]]) -> dict[str, float]:
    """The share of the facts of each kind that hold, of "all" facts, and of "whole" prompts of which all do."""
    every = list(of_prompts)
    kinds: dict[str, list[bool]] = {"all": [], "whole": []}
    for some in every:
        kinds["whole"].append(all(fact.holds for fact in some))
        for fact in some:
            kinds["all"].append(fact.holds)
            kinds.setdefault(fact.kind, []).append(fact.holds)
    return {kind: float(np.mean(held)) for kind, held in kinds.items()}


def prompts(kind: str, use: str, held_out: bool = False, count: int = 500) -> list[ScenePrompt]:
    """A fixed list of prompts for the data set `kind`, of the pairs trained on; `held_out`: each with one held out.

    A prompt comes twice in a list only where there are few: those that name one thing.

    Args:
        use: one of `LISTS`.
    """
    assert use in LISTS
    found, place, known = list[ScenePrompt](), 0, set[str]()
    while len(found) < count:
        random = randomness(kind, "prompts", int(held_out), place)
        text = caption(new_scene(kind, random, held_out=held_out), random)
        place += 1
        if LISTS[mix(0, text) % 4 > 0] == use and (text not in known or place > 50 * count):
            known.add(text)
            found.append(scene_prompt(text))
    return found


def scene_prompt(text: str) -> ScenePrompt:
    return ScenePrompt(text, parse_caption(text))


def chance(kind: str, asked: Sequence[ScenePrompt], draws: int = 20) -> dict[str, float]:
    """The shares that hold where images are made without looking at the prompts: `draws` scenes for each prompt, as the
    data set has them."""
    return shares(
        facts(prompt.says, new_scene(kind, randomness(kind, "chance", i, j)))
        for i, prompt in enumerate(asked)
        for j in range(draws)
    )


def reader_errors(
    kind: str, count: int = 2000, blur: float = 0.0, noise: float = 0.0, side: int = 32, seed: int = 0
) -> dict[str, float]:
    """The shares of facts that the reader gets wrong, of scenes that are known, of all pairs, with all they show told.

    Args:
        blur: deviation in pixels of a Gaussian that the images are blurred by.
        noise: deviation, in levels of 255, of noise that is added.
    """
    return {name: 1 - share for name, share in shares(_read_again(kind, count, blur, noise, side, seed)).items()}


def _read_again(kind: str, count: int, blur: float, noise: float, side: int, seed: int) -> Iterator[tuple[Fact, ...]]:
    from scipy import ndimage

    for start in range(0, count, TOGETHER):
        some = range(start, min(start + TOGETHER, count))
        scenes = [new_scene(kind, randomness(kind, "reader", seed, i), PAIRS) for i in some]
        pixels = ndimage.gaussian_filter(draw(scenes, side).astype(np.float32), (0, blur, blur, 0), mode="nearest")
        random = np.random.default_rng(mix(seed, "reader", kind, start))
        pixels += noise * random.standard_normal(pixels.shape, np.float32)
        for scene, image in zip(scenes, pixels.round().clip(0, 255).astype(np.uint8), strict=True):
            yield facts(stated(scene), read_scene(image))


def stated(scene: Scene) -> Statement:
    """All that a caption could say of a scene."""
    at = scene.centres
    return Statement(scene.things, tuple((i, relation(at[i], at[i + 1]), i + 1) for i in range(len(at) - 1)))
