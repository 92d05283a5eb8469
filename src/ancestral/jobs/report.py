"""The job `report`: one page that shows a run."""

from collections.abc import Generator

from ancestral.folders import kind_of
from ancestral.jobs.data_settings import ReportSettings
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.outputs import REPORT, Output, claim
from ancestral.report.codec_page import write_codec_report
from ancestral.report.page import write_report


def report(job: ReportSettings) -> Generator[Event, None, None]:
    out = job.out or job.run / "report.html"
    claim([Output(out, REPORT)], job.overwrite)
    write = write_codec_report if kind_of(job.run) == "codec run" else write_report
    yield from map(NoteEvent, write(job.run, out))
    yield FileEvent(out)
    yield ResultEvent({"file": str(out)})
