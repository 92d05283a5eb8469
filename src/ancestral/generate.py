"""From chains to finished images: the one loop over chunks of images, processes and the steps of each chain.

Whoever wants the way as well says which steps of which images are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.sampling.loop import Step
from ancestral.tensors import Data, to_pixels
from ancestral.viz.pictures import pick

State = Tensor
"""(B, C, H, W) some of the images on their way: as they are, or as pixels."""


class Frame(NamedTuple):
    """The kept images at timestep t: where they are, and the estimate of x0 made there; on the CPU."""

    t: int
    x: State
    x0: State


@dataclass(frozen=True)
class Keep:
    """What is kept of the way.

    Attributes:
        images: places of the images, in the order in which frames hold them.
        steps: frames, at most, evenly spread; None: one of every step.
        after: whether a frame holds x after its step. Else it holds x before it, from which the estimate was made, and
            one more frame, at 0, holds the images.
        as_pixels: whether frames hold uint8.
    """

    images: Sequence[int] = ()
    steps: int | None = None
    after: bool = False
    as_pixels: bool = False

    def numbers(self, num_steps: int) -> frozenset[int]:
        """Of the steps that are kept, counted from 0."""
        if not self.images:
            return frozenset()
        count = num_steps if self.steps is None else self.steps - (not self.after)
        return frozenset(pick(range(num_steps), count))

    def inside(self, part: slice) -> list[int]:
        """Places within a part, of the images there that are kept."""
        return [i - part.start for i in self.images if part.start <= i < part.stop]

    def frame(self, step: Step, inside: list[int]) -> Frame:
        """Of one step of a part."""
        t, x = (step.s, step.x_s) if self.after else (step.t, step.x_t)
        return Frame(t, self._state(x, inside), self._state(step.x0, inside))

    def last(self, step: Step, inside: list[int]) -> list[Frame]:
        """The images themselves, where frames hold what a step began with."""
        images = self._state(step.x_s, inside)
        return [] if self.after else [Frame(step.s, images, images)]

    def _state(self, x: Data, inside: list[int]) -> State:
        chosen = x[inside]
        return (to_pixels(chosen) if self.as_pixels else chosen).cpu().contiguous()


NOTHING = Keep()


class Generated(NamedTuple):
    """All images, (B, C, H, W) on the CPU, and what was kept of the way."""

    images: State
    frames: list[Frame]


def generate(
    steps_of: Callable[[slice], Iterator[Step]],
    parts: Sequence[slice],
    num_steps: int,
    keep: Keep = NOTHING,
    finish: Callable[[Data], State] = to_pixels,
    processes: Processes = SINGLE_PROCESS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    finished: Callable[[slice, State], None] = lambda part, images: None,
) -> Generated:
    """The images at the ends of chains.

    Args:
        steps_of: the steps of the chain of a part of the images.
        parts: chunks of all images, one after another. Several processes deal them among them, and each gets all.
        num_steps: of each chain.
        finish: what an image is, of the x of its last step.
        on_progress: called after each step with how many of this process's steps are done, and of how many.
        finished: called with each part and its images, in order, as soon as it is done.
    """
    done, total = 0, len(processes.my_items(parts)) * num_steps
    kept = keep.numbers(num_steps)

    def tensors_of(part: slice) -> dict[str, Tensor]:
        nonlocal done
        inside, frames, step = keep.inside(part), list[Frame](), None
        for number, step in enumerate(steps_of(part)):
            if inside and number in kept:
                frames.append(keep.frame(step, inside))
            done += 1
            on_progress(done, total)
        assert step is not None, "a chain has steps"
        frames += keep.last(step, inside) if inside else []
        return {"images": finish(step.x_s), **_as_tensors(frames)}

    images, frames = [], []
    for part, tensors in zip(parts, processes.map_tensors(parts, tensors_of), strict=True):
        images.append(tensors["images"])
        finished(part, images[-1])
        frames.append(_as_frames(tensors))
    return Generated(torch.cat(images).contiguous(), _joined([each for each in frames if each], keep, parts))


def _as_tensors(frames: list[Frame]) -> dict[str, Tensor]:
    """As processes hand them to each other."""
    states = {f"{name} {k}": getattr(frame, name) for k, frame in enumerate(frames) for name in ("x", "x0")}
    return {"times": torch.tensor([frame.t for frame in frames]), **states}


def _as_frames(tensors: dict[str, Tensor]) -> list[Frame]:
    return [Frame(t, tensors[f"x {k}"], tensors[f"x0 {k}"]) for k, t in enumerate(tensors["times"].tolist())]


def _joined(parts_frames: list[list[Frame]], keep: Keep, parts: Sequence[slice]) -> list[Frame]:
    """The frames of all parts, side by side, in the order that was asked for."""
    there = [i for part in parts for i in keep.images if part.start <= i < part.stop]
    order = [there.index(i) for i in keep.images]
    return [
        Frame(same[0].t, torch.cat([each.x for each in same])[order], torch.cat([each.x0 for each in same])[order])
        for same in zip(*parts_frames, strict=True)
    ]
