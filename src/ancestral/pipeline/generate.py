"""From chains to finished images: the one loop over chunks of images, processes and the steps of each chain.

Whoever wants the way as well says which steps of which images are kept.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.sampling.loop import Step
from ancestral.tensors import Data
from ancestral.viz.pictures import pick

State = Tensor  # (B, C, H, W) some of the images on their way: x, or the pixels that it is decoded to


class Frame(NamedTuple):
    """The kept images at timestep t: where they are, and the estimate of x0 made there; on the CPU."""

    t: int
    x: State
    x0: State


@dataclass(frozen=True)
class Keep:
    images: Sequence[int] = ()  # their places, in the order in which frames hold them
    steps: int | None = None  # frames, at most, evenly spread; None: one of every step
    after: bool = False  # frames hold x after their step; else before it, and one more, at 0, holds the images
    decode: Callable[[Data], State] | None = None  # to what frames hold of x and x0; None: as they are

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
        t, x = (step.s, step.x_s) if self.after else (step.t, step.x_t)
        return Frame(t, self._state(x, inside), self._state(step.x0, inside))

    def last(self, step: Step, inside: list[int]) -> list[Frame]:
        """The images themselves, where frames hold what a step began with."""
        images = self._state(step.x_s, inside)
        return [] if self.after else [Frame(step.s, images, images)]

    def _state(self, x: Data, inside: list[int]) -> State:
        chosen = x[inside]
        return (chosen if self.decode is None else self.decode(chosen)).cpu().contiguous()


NOTHING = Keep()


class Generated(NamedTuple):
    """All images, (B, C, H, W) on the CPU, and what was kept of the way."""

    images: State
    frames: list[Frame]


class Advance(NamedTuple):
    """So many of this process's steps are done, of how many."""

    done: int
    total: int


class PassedFrame(NamedTuple):
    """A frame of some of all images, as soon as they are there: which one of the frames, counted from 0, and the place
    of the first image."""

    number: int
    place: int
    frame: Frame


class FinishedPart(NamedTuple):
    """Some of all images, which are finished, and what was kept of their way."""

    where: slice
    images: State
    frames: list[Frame]


GeneratingEvent = Advance | PassedFrame | FinishedPart


def generating(
    steps_of: Callable[[slice], Iterator[Step]],
    parts: Sequence[slice],
    num_steps: int,
    keep: Keep,
    finish: Callable[[Data], State],
    processes: Processes = SINGLE_PROCESS,
    show: Keep = NOTHING,
) -> Iterator[GeneratingEvent]:
    """The images at the ends of chains: an advance after each step, and each part, in order, as soon as it is done.
    Before the advance, the frame of the step where `show` holds it, whose images lie in a row.

    `steps_of` gives the steps, `num_steps` in all, of the chain of a part of the images; `finish` makes images of the x
    of the last one. Several processes deal the parts among them, and each gets all.
    """
    done, total = 0, len(processes.my_items(parts)) * num_steps
    kept, passed = keep.numbers(num_steps), {step: i for i, step in enumerate(sorted(show.numbers(num_steps)))}
    for first in range(0, len(parts), processes.world_size):
        turn, mine = parts[first : first + processes.world_size], dict[str, Tensor]()
        for part in processes.my_items(turn):
            inside, frames, step = keep.inside(part), list[Frame](), None
            seen = show.inside(part)
            for number, step in enumerate(steps_of(part)):
                if inside and number in kept:
                    frames.append(keep.frame(step, inside))
                if seen and number in passed:
                    yield PassedFrame(passed[number], part.start + seen[0], show.frame(step, seen))
                done += 1
                yield Advance(done, total)
            assert step is not None, "a chain has steps"
            for frame in show.last(step, seen) if seen else []:
                yield PassedFrame(len(passed), part.start + seen[0], frame)
            frames += keep.last(step, inside) if inside else []
            mine = {"images": finish(step.x_s), "times": torch.tensor([frame.t for frame in frames])}
            mine |= {f"{name} {k}": getattr(frame, name) for k, frame in enumerate(frames) for name in ("x", "x0")}
        for part, tensors in zip(turn, processes.all_gather_tensors(mine, len(turn)), strict=True):
            times = enumerate(tensors["times"].tolist())
            frames = [Frame(t, tensors[f"x {k}"], tensors[f"x0 {k}"]) for k, t in times]
            yield FinishedPart(part, tensors["images"], frames)


def collecting(events: Iterable[GeneratingEvent]) -> Generator[Advance, None, list[FinishedPart]]:
    """The advances of `generating`; at the end the parts."""
    parts = []
    for event in events:
        if isinstance(event, FinishedPart):
            parts.append(event)
        elif isinstance(event, Advance):
            yield event
    return parts


def collected(parts: Sequence[FinishedPart], keep: Keep = NOTHING) -> Generated:
    """All parts as one, the kept images in the order that was asked for."""
    there = [part.where.start + i for part in parts for i in keep.inside(part.where)]
    order = [there.index(i) for i in keep.images]
    frames = [
        Frame(same[0].t, torch.cat([each.x for each in same])[order], torch.cat([each.x0 for each in same])[order])
        for same in zip(*[part.frames for part in parts if part.frames], strict=True)
    ]
    return Generated(torch.cat([part.images for part in parts]).contiguous(), frames)
