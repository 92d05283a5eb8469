"""`ancestral data check`: the words of the command; the work is in checking.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.options import Options, changes, leaves
from ancestral.cli.show import add_data
from ancestral.cli.target import check_writable
from ancestral.config import DataSettings, parse
from ancestral.errors import InputError

ABOUT = """\
Decode every image of FOLDER as training would, and report: files that cannot be used and why, images that are or look
the same, classes, sizes, and the command to train with, after a few training steps that say what it will take. Nothing
is written but what --sheet and --page name. Exit code 2: nothing usable.
"""
EXAMPLES = (
    "ancestral data check ~/Pictures/birds",
    "ancestral data check ~/Pictures/birds --page birds.html",
    "ancestral data check ~/Pictures/birds --json --measure",
)


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: ancestral data check FOLDER [--help] ...\n\n{ABOUT}", end="")
        return 0
    if argv[0] != "check":
        raise InputError(f"expected ancestral data check, got {argv[0]!r}")
    options = Options("ancestral data check", "FOLDER", ABOUT, EXAMPLES)
    options.option("source", metavar="FOLDER", help="a folder of images, or the name of a data set")
    options.option("--sheet", metavar="FILE", help="write some of the images as the network will see them, a .png")
    options.option("--page", metavar="FILE", help="write all of the report as one page with pictures, an .html")
    options.option("--json", action="store_true", help="print the whole report as JSON")
    options.option("--measure", action="store_true", help="time training steps with --json too")
    options.option("--no-measure", action="store_true", help="time no training steps")
    options.option("--device", choices=("cpu", "cuda"), help="where to time them [cuda where there is one]")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_data(options)
    found = options.words(argv[1:])
    if found.measure and found.no_measure:
        raise InputError("expected --measure or --no-measure, got both")
    given = changes(found, leaves(DataSettings()))
    settings = parse(DataSettings, {"source": found.source, **given}, "command line")
    sheet, page = _file("--sheet", found.sheet, ".png"), _file("--page", found.page, ".html")
    _check_outside(sheet, settings.source)
    from ancestral.cli import checking

    measured = found.measure or not (found.json or found.no_measure)
    return checking.check(settings, checking.Wanted(found.json, measured, sheet, page, found.device))


def _file(option: str, name: str | None, ending: str) -> Path | None:
    """Where to write what is asked for, before any work is done for it.

    Raises:
        InputError: another ending, or a folder that cannot be written to.
    """
    if name is None:
        return None
    file = Path(name)
    if file.suffix.lower() != ending:
        raise InputError(f"expected {option} to end in {ending}, got {name!r}")
    check_writable(file.parent)
    return file


def _check_outside(sheet: Path | None, source: str) -> None:
    """A picture among the images would be one of them from then on."""
    folder = Path(source).expanduser().resolve()
    if sheet is not None and folder.is_dir() and sheet.resolve().is_relative_to(folder):
        raise InputError(f"expected --sheet outside {source}, got {sheet}, which would be trained on")
