"""Generators of scenes of two things that need no training: what they draw of prompts, as pixels."""

from collections.abc import Callable, Sequence

import torch

from ancestral.data.drawing import draw
from ancestral.data.scenes import Scene, Thing, new_scene, randomness
from ancestral.evaluation.scene_facts import ScenePrompt
from ancestral.tensors import Pixels

PLACES = {
    "above": ((0.5, 0.25), (0.5, 0.76)),
    "below": ((0.5, 0.76), (0.5, 0.25)),
    "left of": ((0.24, 0.5), (0.76, 0.5)),
    "right of": ((0.76, 0.5), (0.24, 0.5)),
}
"""Where a thing is, and the other that it is in a relation to."""
Draws = Callable[[Sequence[ScenePrompt]], list[Scene]]


def obedient(asked: Sequence[ScenePrompt]) -> list[Scene]:
    """All that is asked for."""
    found = []
    for prompt in asked:
        ((a, name, b),) = prompt.says.relations
        things = tuple(Thing(*thing.pair, thing.size or "small") for thing in prompt.says.things)
        at = dict(zip((a, b), PLACES[name], strict=True))
        found.append(Scene(things, tuple(at[i] for i in range(2))))
    return found


def deaf(asked: Sequence[ScenePrompt]) -> list[Scene]:
    """Whatever the data set shows."""
    return [new_scene("shapes", randomness("shapes", "deaf", i)) for i in range(len(asked))]


def swapping(asked: Sequence[ScenePrompt]) -> list[Scene]:
    """Each thing in the other's shape."""
    found = []
    for (a, b), centres in obedient(asked):
        found.append(Scene((Thing(a.color, b.shape, a.size), Thing(b.color, a.shape, b.size)), centres))
    return found


def pixels_of(scenes: Sequence[Scene]) -> Pixels:
    return torch.from_numpy(draw(scenes, 32)).permute(0, 3, 1, 2)
