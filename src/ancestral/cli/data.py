"""`ancestral data check`: what a folder holds and what is wrong with it, before anything is trained on it."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.options import Options, changes, leaves
from ancestral.cli.output import console, counting, say, tell_json
from ancestral.cli.show import add_data
from ancestral.config import DataSettings, parse
from ancestral.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.data.check import Report

ABOUT = "Decode every image of FOLDER as training would, and report. Nothing is written. Exit code 2: nothing usable."
LISTED = 20
"""Files and classes that a table names; --json names all."""
USABLE = 2
"""Images that training needs at least."""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: ancestral data check FOLDER [--help] ...\n\n{ABOUT}")
        return 0
    if argv[0] != "check":
        raise InputError(f"expected ancestral data check, got {argv[0]!r}")
    options = Options("ancestral data check", "FOLDER", ABOUT, ("ancestral data check ~/Pictures/birds --json",))
    options.option("source", metavar="FOLDER", help="a folder of images, or the name of a data set")
    options.option("--json", action="store_true", help="print the whole report as JSON")
    add_data(options)
    found = options.words(argv[1:])
    given = changes(found, leaves(DataSettings()))
    return _check(parse(DataSettings, {"source": found.source, **given}, "command line"), found.json)


def _check(settings: DataSettings, as_json: bool) -> int:
    from ancestral.data.check import check

    with counting() as counted:
        report = check(settings.source, settings, counted)
    if as_json:
        tell_json(dataclasses.asdict(report))
    else:
        to = console(stderr=False)
        for table in tables(report):
            to.print(table)
    if report.num_images < USABLE:
        raise InputError(f"expected at least two usable images in {report.source}, got {report.num_images}")
    if not as_json:
        say(
            f"train with: ancestral train {shlex.quote(report.source)} --data.size {report.suggested_size} "
            f"--data.fit {report.suggested_fit}"
        )
    return 0


def tables(report: "Report") -> "list[Table]":
    """The report in up to four tables: what there is, classes, bad files, duplicates and flat images."""
    found = {
        "usable images": f"{report.num_images:,}",
        "formats": _counts(report.formats),
        "modes": _counts(report.modes),
        "heights": _range(report.heights),
        "widths": _range(report.widths),
        "with transparency": f"{report.num_alpha:,}",
        "16 bits a channel": f"{report.num_16_bit:,}",
        "turned by EXIF": f"{report.num_rotated:,}",
        "captions": f"{report.num_captions:,}",
        "colours": ("grey" if report.channels == 1 else "RGB") if report.num_images else "",
        "labels": "classes" if report.labelled else "none",
    }
    told = [(name, text) for name, text in found.items() if text not in ("", "0") or name == "usable images"]
    same = [", ".join(group[:3]) + (" ..." if len(group) > 3 else "") for group in report.duplicates]
    return [
        table
        for table in (
            _table(report.source, told),
            _table("classes", [(name, f"{count:,}") for name, count in report.classes.items()]),
            _table("cannot be used", [*report.bad]),
            _table(
                "the same pixels",
                [(str(len(group)), names) for group, names in zip(report.duplicates, same, strict=True)],
            ),
            _table("one flat colour", [(name, "") for name in report.constant]),
        )
        if table.row_count
    ]


def _table(title: str, rows: Sequence[tuple[str, str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"{title} ({len(rows):,})" if len(rows) > LISTED else title), title_justify="left", show_header=False
    )
    for left, right in rows[:LISTED]:
        table.add_row(Text(left), Text(right))
    if len(rows) > LISTED:
        table.add_row(Text("..."), Text("--json lists all"))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _range(ends: tuple[int, int]) -> str:
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
