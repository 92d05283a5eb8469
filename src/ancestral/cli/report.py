"""`ancestral report`: the words of the command; the work is `ancestral.jobs.report`."""

from collections.abc import Sequence

from ancestral.cli.job_options import asked
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.data_settings import ReportSettings

ABOUT = "Write one self-contained HTML file about RUN: settings, data, curves, samples, film, numbers."
EXAMPLES = ("ancestral report runs/digits",)


def run(argv: Sequence[str]) -> int:
    job, as_json = asked(argv, "ancestral report", "RUN", ABOUT, EXAMPLES, ReportSettings)
    check_run(job.run)
    from ancestral.jobs.report import report

    show_result(report(job), as_json)
    return 0
