"""`ancestral data`: the words of its two commands and their tables; the work is in jobs/check_data.py, pack_data.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.job_options import job_options, job_settings, run_part
from ancestral.cli.output import console, say, tell, tell_json
from ancestral.cli.view import show_result, watch
from ancestral.colors import NAMES
from ancestral.errors import InputError
from ancestral.jobs.data_settings import CheckSettings, PackSettings
from ancestral.jobs.events import ResultEvent
from ancestral.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.data.check import Report
    from ancestral.data.packing import Packed

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
LISTED = 20  # Files and classes that a table names; --json and --page name all


def run(argv: Sequence[str]) -> None:
    run_part(argv, "data", ABOUT, {"check": check, "pack": pack})


def check(argv: Sequence[str]) -> None:
    """`ancestral data check`: the tables before training steps are timed, what they say after it."""
    whole = "print the whole report as JSON"
    found = job_options("ancestral data check", "FOLDER", ABOUT_CHECK, EXAMPLES_CHECK, CheckSettings, whole).words(argv)
    job = job_settings(found, CheckSettings)
    if job.measure and job.no_measure:
        raise InputError("expected --measure or --no-measure, got both")
    from ancestral.jobs import check_data

    def show_partial(result: ResultEvent) -> None:
        if found.json:
            tell_json(result.tree)
        else:
            tell(f"partial: {check_data.looked_at(result.value)}")
            console(stderr=False).print(*tables(result.value))

    _, examined = watch(check_data.check(job), show_partial)
    assert examined is not None
    report: Report = examined.value
    if not found.json:
        console(stderr=False).print(*tables(report))
    timed = job.measure or not (found.json or job.no_measure)
    files, recommended = watch(check_data.recommend(job, report, timed))
    assert recommended is not None
    if found.json:
        tell_json(recommended.tree)
    if (recipe := recommended.value) is None:
        raise InputError(f"expected at least two usable images in {report.source}, got {report.num_images}")
    if not found.json:
        noted = [f"ancestral: note: {note}" for note in report.notes]
        warned = [f"ancestral: warning: {remark}" for remark in recommended.tree["warnings"]]
        written = [f"written: {file}" for file in files]
        larger = [*recipe.larger.takes, f"or with: {recipe.larger.command}"] if recipe.larger else []
        for line in (*noted, *warned, *written, *recipe.takes, f"train with: {recipe.command}", *larger):
            say(line)


def tables(report: "Report") -> "list[Table]":
    """The report in tables: what there is, classes, bad files, images that are or look the same, flat ones."""
    from ancestral.data.listing import by_reason
    from ancestral.report.data_page import attribute_rows, caption_rows, overview, word_rows

    found = {
        report.source: overview(report),
        "classes": [(name, f"{count:,}") for name, count in report.classes.items()],
        "attributes": attribute_rows(report),
        "captions": caption_rows(report),
        "commonest words of captions": word_rows(report),
        "cannot be used": [*report.bad],
        "left out, by reason": [*by_reason(report.left_out).items()],
        "the same pixels": _grouped(report.duplicates),
        "look the same": _grouped([group.files for group in report.near_duplicates]),
        "in more than one class": _grouped(report.shared),
        "one flat colour": [(name, "") for name in report.constant],
        "one colour and little else": [(name, "") for name in report.nearly_constant],
    }
    return [_table(title, rows) for title, rows in found.items() if rows]


def _grouped(groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    return [(str(len(group)), ", ".join(group[:3]) + (" ..." if len(group) > 3 else "")) for group in groups]


def _table(title: str, rows: Sequence[tuple[str, str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    more = len(rows) > LISTED
    table = Table(title=Text(f"{title} ({len(rows):,})" if more else title), title_justify="left", show_header=False)
    for left, right in (*rows[:LISTED], *([("...", "--json lists all")] if more else [])):
        table.add_row(Text(left), Text(right))
    return table


def pack(argv: Sequence[str]) -> None:
    told = "print what was packed as JSON"
    found = job_options("ancestral data pack", "SOURCE DEST", ABOUT_PACK, EXAMPLES_PACK, PackSettings, told).words(argv)
    job = job_settings(found, PackSettings)
    from ancestral.jobs import pack_data

    result = show_result(pack_data.pack(job), found.json, lambda result: tell(packed(result.value, job.dest)))
    if result is not None and not found.json:
        say(f"train with: {result.tree['command']}")


def packed(done: "Packed", dest: str) -> str:
    index = done.index
    height, width, channels = index.shape
    known = [f"{len(index.class_names)} classes"] if index.class_names else []
    known += [name for name in index.columns if name not in ("images", "labels")]
    shown = ", ".join([f"{height}x{width} {NAMES.get(channels, f'of {channels} channels')}", *known])
    own = {"for validation": index.num_validation, "for test": index.num_test}
    parts = ", ".join(f"{count:,} {what}" for what, count in own.items() if count)
    shards = "1 shard" if len(index.shards) == 1 else f"{len(index.shards):,} shards"
    size = sum(index.shard_bytes) / 2**20
    return (
        f"{'packed before' if done.already else 'packed'}: {index.count:,} images {shown}"
        f"{f' ({parts})' if parts else ''}, in {shards} of {size:,.1f} MiB together, in {printable(dest)}"
    )
