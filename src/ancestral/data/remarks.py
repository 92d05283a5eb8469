"""What in a report deserves a warning before training, one sentence each."""

from collections.abc import Iterator, Sequence

from ancestral.data.advice import FEWEST_IMAGES, FEWEST_OF_A_CLASS, LONG, MUCH_ENLARGED, SIZES, UNEVEN
from ancestral.data.check import Report

NAMED = 5
"""Classes that a warning names."""
LOSES = {"crop": "loses over a third of each", "squash": "distorts them"}


def remarks(report: Report) -> tuple[str, ...]:
    """The warnings, the gravest first; empty where nothing is to be said."""
    return (*_files(report), *_repeats(report), *_classes(report), *_shapes(report))


def _files(report: Report) -> Iterator[str]:
    if report.bad:
        yield f"cannot be used: {_counted(len(report.bad), 'file')}"
    if report.num_images < FEWEST_IMAGES:
        yield f"only {_counted(report.num_images, 'image')}: a network soon knows fewer than {FEWEST_IMAGES} by heart"
    if flat := len(report.constant) + len(report.nearly_constant):
        yield (
            f"one colour or little else: {_counted(flat, 'image')}; what is white on transparency shows with another "
            "--data.background"
        )


def _repeats(report: Report) -> Iterator[str]:
    alike = [group.files for group in report.near_duplicates]
    if report.shared:
        yield f"in more than one class: {_counted(len(report.shared), 'group')} of images that are or look the same"
    for groups, what in ((report.duplicates, "the pixels of another"), (alike, "the looks of another")):
        if repeats := sum(len(group) - 1 for group in groups):
            yield f"{what}: {_counted(repeats, 'image')}, perhaps trained on and held out at once"


def _classes(report: Report) -> Iterator[str]:
    if report.balance is None or not report.labelled:
        return
    if report.untrained:
        yield f"no image to train on: {_some(report.untrained)}, which cannot be learned"
    (smallest, least), (largest, most), few = report.balance.smallest, report.balance.largest, report.balance.few
    if report.balance.ratio >= UNEVEN:
        yield (
            f"uneven classes: {largest} has {_counted(most, 'image')}, {report.balance.ratio:.0f} times the {least:,} "
            f"of {smallest}, which will be generated worse"
        )
    if few:
        yield f"fewer than {FEWEST_OF_A_CLASS} images: {_some(few)}"


def _shapes(report: Report) -> Iterator[str]:
    height, width = report.size
    if report.num_enlarged > MUCH_ENLARGED * report.num_images:
        smaller = [size for size in SIZES if size <= min(*report.heights, *report.widths)]
        remedy = f"; none would be at --data.size {smaller[-1]}" if smaller else ""
        yield (
            f"enlarged to {height}x{width}, up to {report.most_enlarged:.1f} times, and so blurred: "
            f"{_counted(report.num_enlarged, 'image')}{remedy}"
        )
    if report.num_long and report.fit != "pad" and height == width:
        yield (
            f"more than {LONG:g} times as long as wide, or wide as long: {_counted(report.num_long, 'image')}; "
            f"a {report.fit} {LOSES[report.fit]}, --data.fit pad keeps everything"
        )


def _some(classes: Sequence[str]) -> str:
    """The first of some classes, and how many they are."""
    more = " ..." if len(classes) > NAMED else ""
    return f"{', '.join(classes[:NAMED])}{more} ({_counted(len(classes), 'class')})"


def _counted(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"
