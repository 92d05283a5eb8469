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


class RecordEvent(NamedTuple):
    """A line of a log, as it was written."""

    record: dict[str, Any]


class ResultEvent(NamedTuple):
    """The end: what --json prints, and the value itself for whoever shows it otherwise."""

    tree: dict[str, Any]
    value: Any = None


Event = ProgressEvent | NoteEvent | FileEvent | RecordEvent | ResultEvent
