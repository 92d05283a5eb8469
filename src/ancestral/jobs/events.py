"""What a job yields while it works, and at its end."""

from pathlib import Path
from typing import Any, NamedTuple

from ancestral.progress import ProgressEvent as ProgressEvent


class NoteEvent(NamedTuple):
    """A line for people, beside the result."""

    text: str


class FileEvent(NamedTuple):
    """A file that is whole now."""

    file: Path


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


Event = ProgressEvent | NoteEvent | FileEvent | StartEvent | StepEvent | ResultEvent
