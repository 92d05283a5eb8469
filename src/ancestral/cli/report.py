"""`ancestral report`: one page that shows a run."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_overwrite
from ancestral.cli.options import Options
from ancestral.cli.output import say, tell, tell_json
from ancestral.folders import check_run
from ancestral.outputs import file_named

ABOUT = "Write one self-contained HTML file about RUN: settings, data, curves, samples, film, numbers."


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral report", "RUN", ABOUT, ("ancestral report runs/digits",))
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--out", metavar="FILE", help="where the page goes [RUN/report.html]")
    add_overwrite(options)
    options.option("--json", action="store_true", help="print the file written as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    out = file_named(found.out, "--out", (".html", ".htm"))
    check_run(Path(found.run))
    from ancestral.report.page import write_report

    file = write_report(Path(found.run), out, say, found.overwrite)
    if found.json:
        tell_json({"file": str(file)})
    else:
        tell(str(file))
    return 0
