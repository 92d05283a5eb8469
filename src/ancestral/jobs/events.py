"""What a job yields while it works, and at its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ancestral.progress import ProgressEvent as ProgressEvent

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor


class NoteEvent(NamedTuple):
    """A line for people, beside the result."""

    text: str


class FileEvent(NamedTuple):
    """A file that is whole now."""

    file: Path


class FramesEvent(NamedTuple):
    """Images are shown on their way from now on: how many, their shape, what was asked of each, and of each frame the
    number of its step, t, the s that it leads to, alpha, sigma, log_snr. The last frame holds the finished images."""

    images: int
    shape: tuple[int, int, int]
    labels: list[str] | None
    levels: list[dict[str, float]]


class FrameEvent(NamedTuple):
    """A frame of the images from `place` on, (B, C, H, W) each: x_t, and the estimate of x0 made there."""

    number: int
    place: int
    t: int
    x_t: "UInt8[Tensor, 'B C H W']"
    x_0: "UInt8[Tensor, 'B C H W']"


class StartEvent(NamedTuple):
    """Training begins, of what and on what, in a line for people: from here on there is something to save."""

    text: str


class StepEvent(NamedTuple):
    """Where training is after a step, and how fast it has been since it began or went on."""

    step: int
    images: int
    fraction: float  # of the budget, 0..1
    seconds: float  # of training in all
    images_per_second: float
    seconds_left: float  # of the budget at this pace; 0.0 while no pace is known
    record: dict[str, Any] | None  # the line that was logged, if any


class ResultEvent(NamedTuple):
    """The end: what --json prints, and the value itself for whoever shows it otherwise."""

    tree: dict[str, Any]
    value: Any = None


Event = ProgressEvent | NoteEvent | FileEvent | FramesEvent | FrameEvent | StartEvent | StepEvent | ResultEvent
