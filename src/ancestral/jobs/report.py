"""The job `report`: one page that shows a run."""

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Annotated

from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.jobs.settings import Typed, WritingSettings
from ancestral.outputs import REPORT, Output, claim, file_named


class ReportSettings(WritingSettings):
    """What `report` is asked."""

    run: Annotated[Path, Typed("RUN", nargs=1)]
    """folder of a run"""
    out: Annotated[
        Path | None, Typed("FILE", usual="RUN/report.html", read=partial(file_named, suffixes=(".html", ".htm")))
    ] = None
    """where the page goes"""


def report(job: ReportSettings) -> Generator[Event, None, None]:
    """Writes the page.

    Raises:
        InputError: no run, nothing trained yet, damaged files, images that are gone, or no file to write to.
        CannotWrite: the file cannot be written.
    """
    from ancestral.report.page import write_report

    out = job.out or job.run / "report.html"
    claim([Output(out, REPORT)], job.overwrite)
    yield from map(NoteEvent, write_report(job.run, out))
    yield FileEvent(out)
    yield ResultEvent({"file": str(out)})
