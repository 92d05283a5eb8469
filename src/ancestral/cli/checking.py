"""The work of `ancestral data check`: the report in tables, as JSON or as a page, a contact sheet, and a recipe."""

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ancestral.cli import pacing
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.cli.showing import contact_sheet
from ancestral.colors import COLOR_OF, NAMES
from ancestral.data.advice import SIZES
from ancestral.data.check import Report
from ancestral.data.check import check as examined
from ancestral.data.datasets import BUILT_IN
from ancestral.data.listing import by_reason
from ancestral.data.looks import pictures, seen
from ancestral.data.remarks import remarks
from ancestral.errors import InputError
from ancestral.jobs.running import device_named
from ancestral.jobs.target import plan
from ancestral.outputs import CHECKED
from ancestral.report.data_page import Findings, write_page
from ancestral.settings import Config, DataSettings, ImageSpec
from ancestral.text import size_in_words
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import save_png

if TYPE_CHECKING:
    from rich.table import Table

LISTED = 20
"""Files and classes that a table names; --json and --page name all."""
USABLE = 2
"""Images that training needs at least."""
SHEET = 48
"""Images of a contact sheet, at most."""
SHEET_PIXELS = 1_250_000
"""Of a contact sheet of large images, before it is enlarged."""
SMALLEST = 32
"""Size at which a recipe begins; smaller images keep theirs."""
FEWEST_STEPS = 2000
"""Steps that a recipe's budget has to allow at a size for it to be recommended."""
SLOWER = 3.0
"""How much slower at least a step is at twice the size: whether to try it at all."""


Size = int | tuple[int, int] | None
"""As in `DataSettings`."""


class Wanted(NamedTuple):
    """What is asked for beside the report."""

    json: bool
    measured: bool
    sheet: Path | None
    page: Path | None
    device: str | None


@dataclasses.dataclass(frozen=True)
class SuggestedRecipe:
    """How to train on these images.

    Args:
        command: to be typed.
        size: (height, width) that it trains at.
        pace: what it takes; None where nothing was measured.
        note: why it is not the suggested size, or what to mind; else "".
    """

    command: str
    size: tuple[int, int]
    pace: pacing.DevicePace | None
    note: str


def check(settings: DataSettings, wanted: Wanted) -> int:
    """Checks, writes what is wanted, and says what was found; the exit code.

    Raises:
        InputError: no such folder, or fewer than two usable images, which is said after the report.
        KeyboardInterrupt: by a signal, after the report on the files that were looked at.
    """
    partial: list[Report] = []
    try:
        with counting() as counted:
            report = examined(settings.source, settings, counted, partial.append)
    except KeyboardInterrupt as stop:
        for part in partial:
            _show_partial(part, wanted)
            stop.add_note(_looked_at(part))
        raise
    usable = report.num_images >= USABLE
    if not wanted.json:
        to = console(stderr=False)
        for table in tables(report):
            to.print(table)
    recipe = _recipe(settings, report, wanted) if usable else None
    sheet = _sheet(settings, report, recipe) if recipe and (wanted.sheet or wanted.page) else None
    if sheet and wanted.sheet:
        save_png(sheet, wanted.sheet, {"Software": CHECKED.decode()})
    if wanted.page:
        write_page(wanted.page, findings(settings, report, recipe, sheet))
    if wanted.json:
        tell_json(as_tree(report, recipe, wanted))
    if recipe is None:
        raise InputError(f"expected at least two usable images in {report.source}, got {report.num_images}")
    if not wanted.json:
        for line in _lines(report, recipe, wanted):
            say(line)
    return 0


def _show_partial(report: Report, wanted: Wanted) -> None:
    """What is known of the files looked at before a signal, and that they are not all."""
    if wanted.json:
        tell_json(as_tree(report, None, Wanted(True, False, None, None, None)))
        return
    tell(f"partial: {_looked_at(report)}")
    to = console(stderr=False)
    for table in tables(report):
        to.print(table)


def _looked_at(report: Report) -> str:
    seen = report.num_images + len(report.bad)
    return f"{seen:,} of {seen + report.num_unread:,} files were looked at"


def as_tree(report: Report, recipe: SuggestedRecipe | None, wanted: Wanted) -> dict[str, Any]:
    """What --json prints."""
    return {
        **dataclasses.asdict(report),
        "warnings": remarks(report),
        "recipe": dataclasses.asdict(recipe) if recipe else None,
        "sheet": str(wanted.sheet) if recipe and wanted.sheet else None,
        "page": str(wanted.page) if wanted.page else None,
    }


def findings(settings: DataSettings, report: Report, recipe: SuggestedRecipe | None, sheet: Box | None) -> Findings:
    """What the page shows."""
    told = () if recipe is None else (recipe.command, *_takes(recipe))
    said = (*report.notes, *remarks(report))
    return Findings(report, tuple(overview(report)), said, told, sheet, pictures(settings))


def overview(report: Report) -> list[tuple[str, str]]:
    """What there is, in names and numbers; what there is none of is left out."""
    found = {
        "usable images": f"{report.num_images:,}",
        "formats": _counts(report.formats),
        "modes": _counts(report.modes),
        "heights": _range(report.heights),
        "widths": _range(report.widths),
        "width by height": _range(report.aspect_ratios),
        "smaller than trained at": f"{report.num_enlarged:,}",
        "with transparency": f"{report.num_alpha:,}",
        "more than 8 bits a channel": f"{report.num_16_bit:,}",
        "colours of another profile": _counts(report.profiles),
        "turned by EXIF": f"{report.num_rotated:,}",
        "captions": f"{report.num_captions:,}",
        "colours": NAMES[report.channels] if report.num_images else "",
        "labels": f"{len(report.classes)} classes" if report.labelled else "none",
        "parts": _counts(report.parts, in_order=True) if report.num_images else "",
        "left out": f"{sum(each.count for each in report.left_out):,}",
    }
    return [(name, text) for name, text in found.items() if text not in ("", "0") or name == "usable images"]


def tables(report: Report) -> "list[Table]":
    """The report in tables: what there is, classes, bad files, images that are or look the same, flat ones."""
    alike = [group.files for group in report.near_duplicates]
    found = {
        report.source: overview(report),
        "classes": [(name, f"{count:,}") for name, count in report.classes.items()],
        "cannot be used": [*report.bad],
        "left out, by reason": [*by_reason(report.left_out).items()],
        "the same pixels": _grouped(report.duplicates),
        "look the same": _grouped(alike),
        "in more than one class": _grouped(report.shared),
        "one flat colour": [(name, "") for name in report.constant],
        "one colour and little else": [(name, "") for name in report.nearly_constant],
    }
    return [_table(title, rows) for title, rows in found.items() if rows]


def command(settings: DataSettings, given: dict[str, Any]) -> str:
    """`ancestral train` with these settings of the data."""
    words = ["ancestral", "train", settings.source]
    for name, value in given.items():
        if isinstance(value, bool):
            words.append(f"--data.{name}" if value else f"--data.no_{name}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--data.{name}", *("none" if each is None else str(each) for each in values)]
    return shlex.join(words)


def _recipe(settings: DataSettings, report: Report, wanted: Wanted) -> SuggestedRecipe:
    """The preset at the size asked for; else at the largest of those suggested that leaves enough steps."""
    tried: list[tuple[Size, pacing.DevicePace | None]] = [(size, None) for size in _sizes(settings, report)[-1:]]
    if wanted.measured:
        with console(stderr=True).status("timing a few training steps ..."):
            tried = [*_tried(settings, report, _sizes(settings, report), device_named(wanted.device))]
    enough = [(size, pace) for size, pace in tried if pace is None or pace.steps >= FEWEST_STEPS]
    size, pace = (enough or tried[:1])[-1]
    height, width = (size, size) if isinstance(size, int) else size or report.size
    return SuggestedRecipe(
        command(settings, _given(settings, report, size)),
        (height, width),
        pace,
        _note(report, (height, width), pace),
    )


def _sizes(settings: DataSettings, report: Report) -> list[Size]:
    """Those that may be recommended: the one that was asked for, the data set's own, or what suits the folder."""
    if settings.source in BUILT_IN or settings.size is not None:
        return [settings.size]
    smallest = min(SMALLEST, report.suggested_size)
    return [size for size in SIZES if smallest <= size <= report.suggested_size]


def _tried(
    settings: DataSettings, report: Report, sizes: Sequence[Size], on: Any
) -> Iterator[tuple[Size, pacing.DevicePace | None]]:
    """Each size with its pace, until the next would surely leave too few steps."""
    for size in sizes:
        config = _config(settings, _given(settings, report, size))
        height, width = config.data.height_width or report.size
        names = tuple(report.classes) if report.labelled else ()
        spec = ImageSpec(channels=report.channels, height=height, width=width, class_names=names)
        pace = pacing.pace(config, spec, report.parts["train"], on)
        yield size, pace
        if pace.steps < SLOWER * FEWEST_STEPS:
            return


def _given(settings: DataSettings, report: Report, size: Size) -> dict[str, Any]:
    """The settings that the command names: those suggested for a folder, and those given."""
    suggested = {} if settings.source in BUILT_IN else {"size": size, "fit": report.fit}
    asked = {name: getattr(settings, name) for name in DataSettings.model_fields if name in settings.model_fields_set}
    return {name: value for name, value in {**suggested, **asked}.items() if name != "source"}


def _config(settings: DataSettings, given: dict[str, Any]) -> Config:
    return plan(settings.source, None, {"data": given}, None).config


def _note(report: Report, size: tuple[int, int], pace: pacing.DevicePace | None) -> str:
    if pace is not None and pace.steps < FEWEST_STEPS:
        return f"{pace.steps:,} steps are few; --training.minutes with more minutes is better"
    if pace is not None and size != report.size:
        height, width = report.size
        few = f"{pace.minutes:.0f} minutes leave fewer than {FEWEST_STEPS:,} steps"
        return f"the images suit {height}x{width}, at which {few}"
    return ""


def _takes(recipe: SuggestedRecipe) -> list[str]:
    """What the recipe takes, a sentence each."""
    lines = []
    if pace := recipe.pace:
        height, width = recipe.size
        lines = [
            f"{pace.minutes:.0f} minutes on {pace.device}: {pace.steps:,} steps of {pace.seconds_per_step:.2g} s, each "
            f"image seen {pace.visits:,.0f} times",
            f"{pace.weights:,} weights at {height}x{width}, about {size_in_words(pace.peak_bytes)} of memory with "
            f"{pace.at_once} images at a time",
        ]
    return [*lines, *([recipe.note] if recipe.note else [])]


def _lines(report: Report, recipe: SuggestedRecipe, wanted: Wanted) -> list[str]:
    """What is said after the tables."""
    written = [f"written: {file}" for file in (wanted.sheet, wanted.page) if file]
    noted = [f"ancestral: note: {note}" for note in report.notes]
    warned = [f"ancestral: warning: {remark}" for remark in remarks(report)]
    return [*noted, *warned, *written, *_takes(recipe), f"train with: {recipe.command}"]


def _sheet(settings: DataSettings, report: Report, recipe: SuggestedRecipe) -> Box:
    """Images of all classes as the recipe fits them."""
    height, width = recipe.size
    fitted = {"size": recipe.size, "fit": report.fit, "color": COLOR_OF[report.channels]}
    bad = {name for name, _ in report.bad}
    shown = seen(settings.model_copy(update=fitted), bad, min(SHEET, max(USABLE, SHEET_PIXELS // (height * width))))
    title = f"{Path(settings.source).name}: {len(shown)} of {report.num_images:,} images as the network sees them"
    colours = "grey" if report.channels == 1 else "RGB"
    classes = f", {len(report.classes)} classes" if report.labelled else ""
    return contact_sheet(shown, f"{title}, {height}x{width} {colours}{classes}")


def _grouped(groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    return [(str(len(group)), ", ".join(group[:3]) + (" ..." if len(group) > 3 else "")) for group in groups]


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


def _counts(counts: dict[str, int], in_order: bool = False) -> str:
    ordered = counts.items() if in_order else sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def _range(ends: tuple[float, float] | tuple[int, int]) -> str:
    low, high = (f"{end:.2f}".rstrip("0").rstrip(".") for end in ends)
    return low if low == high else f"{low} to {high}"
