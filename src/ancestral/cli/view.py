"""A job seen from the command line: a bar for its progress, its notes on stderr, its files, its result."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ancestral.cli.output import counting, say
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent


class JobOutcome(NamedTuple):
    """What a job has left: the files it wrote, in order, and its result."""

    files: list[Path]
    result: ResultEvent | None


def watch(events: Iterable[Event]) -> JobOutcome:
    """Runs a job to its end."""
    files, result = list[Path](), None
    with counting() as counted:
        for event in events:
            match event:
                case ProgressEvent(what, done, total):
                    counted(what, done, total)
                case NoteEvent(text):
                    say(text)
                case FileEvent(file):
                    files.append(file)
                case ResultEvent():
                    result = event
    return JobOutcome(files, result)
