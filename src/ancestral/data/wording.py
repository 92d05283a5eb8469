"""Captions of scenes, in several wordings, and what a caption says. A size may be left out; nothing else is."""

import re
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from ancestral.data.scenes import COLORS, SHAPES, Scene, Statement, Thing, pick, relation
from ancestral.errors import InputError

SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
RELATION_WORDS = {
    "above": ("above", "over"),
    "below": ("below", "under"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
OPENINGS = ("", "", "a picture of ", "there is ")
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
RELATION_OF = {word: name for name, words in RELATION_WORDS.items() for word in words}

_THING = rf"(?:an? )?(?:({'|'.join(SIZE_OF)}) )?({'|'.join(COLORS)}) ({'|'.join(SHAPES)})"
_RELATION = f"({'|'.join(RELATION_OF)})"
_OPENING = f"(?:{'|'.join(OPENINGS)})"
_CHAIN = re.compile(f"{_OPENING}{_THING}(?: {_RELATION} {_THING}(?:, which is {_RELATION} {_THING})?)?")
_WITH = re.compile(f"{_OPENING}{_THING} with {_THING} {_RELATION} it")


def caption(scene: Scene, random: Random) -> str:
    """What is in the scene, and where one thing is to the next, in one of many wordings."""
    order = [*range(len(scene.things))][:: 1 if random.random() < 0.5 else -1]
    with_articles = random.random() < 0.75
    names = [_name(scene.things[i], with_articles, random) for i in order]
    links = [pick(random, RELATION_WORDS[relation(scene.centres[i], scene.centres[j])]) for i, j in pairwise(order)]
    opening = pick(random, OPENINGS) if with_articles else ""
    if len(names) == 2 and random.random() < 0.25:
        return f"{opening}{names[1]} with {names[0]} {links[0]} it"
    return (
        opening
        + names[0]
        + "".join(
            f"{', which is' if i else ''} {link} {name}"
            for i, (link, name) in enumerate(zip(links, names[1:], strict=True))
        )
    )


def _name(thing: Thing, with_article: bool, random: Random) -> str:
    size = [pick(random, SIZE_WORDS[thing.size])] if random.random() < 0.75 else []
    words = " ".join([*size, thing.color, thing.shape])
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}" if with_article else words


def parse_caption(text: str) -> Statement:
    """What a caption says; an InputError where it is none that `caption` writes."""
    plain = " ".join(text.lower().split()).removesuffix(".")
    if found := _WITH.fullmatch(plain):
        words = found.groups("")
        return Statement((_thing(words[:3]), _thing(words[3:6])), ((1, RELATION_OF[words[6]], 0),))
    if not (found := _CHAIN.fullmatch(plain)):
        raise InputError(f"expected a caption such as 'a small red circle above a blue square', got {text!r}")
    words = found.groups("")
    starts = [start for start in (0, 4, 8) if words[start + 1]]
    links = [(i, RELATION_OF[words[start - 1]], i + 1) for i, start in enumerate(starts[1:])]
    return Statement(tuple(_thing(words[start : start + 3]) for start in starts), tuple(links))


def _thing(words: Sequence[str]) -> Thing:
    size, color, shape = words
    return Thing(color, shape, SIZE_OF[size] if size else "")
