"""`ancestral data`: the words of its two commands; the work is in checking.py and packing.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_overwrite
from ancestral.cli.options import Options, changes, leaves, whole
from ancestral.cli.show import add_data
from ancestral.errors import InputError
from ancestral.names import spelled
from ancestral.outputs import CHECKED, DATA_PAGE, Output, claim, file_named
from ancestral.settings import MOST_IMAGES, DataSettings, parse

ABOUT = """\
usage: ancestral data {check,pack} [--help] ...

  check  report what is in a folder of images and what is wrong with it, before training on it
  pack   write a data set as shards, to be trained on from a folder or an object store that is larger than the disk

examples:
  ancestral data check ~/Pictures/birds
  ancestral data pack ~/Pictures/birds ~/birds-64 --size 64
"""
ABOUT_CHECK = """\
Decode every image of FOLDER as training would, and report: files that cannot be used and why, images that are or look
the same, classes, sizes, and the command to train with, after a few training steps that say what it will take. Nothing
is written but what --sheet and --page name. Exit code 2: nothing usable.
"""
EXAMPLES_CHECK = (
    "ancestral data check ~/Pictures/birds",
    "ancestral data check ~/Pictures/birds --page birds.html",
    "ancestral data check ~/Pictures/birds --json --measure",
)
ABOUT_PACK = """\
Write the images of SOURCE, decoded and fitted to one size, as numbered shards into DEST: a folder, or a place of an
object store such as s3://bucket/birds, for which its driver of fsspec is needed. `ancestral train DEST` trains on them:
it fetches the shards that it needs, and keeps few of them. Files that cannot be used are left out and listed. The same
command goes on where it was stopped. Exit code 2: DEST holds other things.
"""
EXAMPLES_PACK = (
    "ancestral data pack ~/Pictures/birds ~/birds-64 --size 64",
    "ancestral data pack cifar10 s3://bucket/cifar10",
)
DECIDED_LATER = ("source", "flip", "validation", "test")
"""Settings of the data that packed images are trained by, not packed by."""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    parts = {"check": check, "pack": pack}
    if not argv or argv[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    name = spelled(argv[0], parts)
    if name not in parts:
        raise InputError(f"expected ancestral data {' or ancestral data '.join(parts)}, got {argv[0]!r}")
    return parts[name](argv[1:])


def check(argv: Sequence[str]) -> int:
    """`ancestral data check`."""
    options = Options("ancestral data check", "FOLDER", ABOUT_CHECK, EXAMPLES_CHECK)
    options.option("source", metavar="FOLDER", help="a folder of images, or the name of a data set")
    options.option("--sheet", metavar="FILE", help="write some of the images as the network will see them, a .png")
    options.option("--page", metavar="FILE", help="write all of the report as one page with pictures, an .html")
    add_overwrite(options)
    options.option("--json", action="store_true", help="print the whole report as JSON")
    options.option("--measure", action="store_true", help="time training steps with --json too")
    options.option("--no-measure", action="store_true", help="time no training steps")
    options.option("--device", choices=("cpu", "cuda"), help="where to time them [cuda where there is one]")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_data(options)
    found = options.words(argv)
    if found.measure and found.no_measure:
        raise InputError("expected --measure or --no-measure, got both")
    given = changes(found, leaves(DataSettings()))
    settings = parse(DataSettings, {"source": found.source, **given}, "command line")
    sheet = file_named(found.sheet, "--sheet", (".png",))
    page = file_named(found.page, "--page", (".html", ".htm"))
    _check_outside(sheet, settings.source)
    wanted = [(sheet, CHECKED), (page, DATA_PAGE)]
    claim([Output(file, mark) for file, mark in wanted if file], found.overwrite)
    from ancestral.cli import checking

    measured = found.measure or not (found.json or found.no_measure)
    return checking.check(settings, checking.Wanted(found.json, measured, sheet, page, found.device))


def pack(argv: Sequence[str]) -> int:
    """`ancestral data pack`."""
    options = Options("ancestral data pack", "SOURCE DEST", ABOUT_PACK, EXAMPLES_PACK)
    options.option("source", metavar="SOURCE", help="a folder of images, or the name of a data set")
    options.option("dest", metavar="DEST", help="an empty folder, or a URL that fsspec knows")
    options.option("--shard-images", metavar="INT", help="images a shard [4096, or what fits into 64 MiB]")
    options.option("--json", action="store_true", help="print what was packed as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    settled = [leaf for leaf in leaves(DataSettings()) if leaf[0] not in DECIDED_LATER]
    options.settings("how images are read", settled, "data")
    found = options.words(argv)
    asked = found.shard_images
    shard_images = None if asked is None else whole(asked, "--shard-images", 1, MOST_IMAGES)
    settings = parse(DataSettings, {"source": found.source, **changes(found, leaves(DataSettings()))}, "command line")
    from ancestral.cli.packing import pack as packed

    return packed(settings, found.dest, shard_images, found.json)


def _check_outside(sheet: Path | None, source: str) -> None:
    """A picture among the images would be one of them from then on."""
    folder = Path(source).expanduser().resolve()
    if sheet is not None and folder.is_dir() and sheet.resolve().is_relative_to(folder):
        raise InputError(f"expected --sheet outside {source}, got {sheet}, which would be trained on")
