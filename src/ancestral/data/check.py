"""What a data set holds and what is wrong with it, before anything is trained on it. Nothing is written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.colors import COLOR_CHANNELS
from ancestral.data import finding, folder
from ancestral.data.caption_check import VERY_LONG, CaptionCheck, check_captions
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.finding import Alike, Finding, describe, examine
from ancestral.data.images import BadImage, FileFacts, Fit, parse_color, picture_of
from ancestral.data.imageset import KnownOfImages, arranged, cuts, without_images
from ancestral.data.layout import PARTS
from ancestral.data.listing import LeftOut, counted, list_images
from ancestral.data.parallel import each
from ancestral.errors import InputError
from ancestral.files import is_url
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.settings import DataSettings
from ancestral.text import printable

NEARLY_CONSTANT = 2.0  # standard deviation, in levels of 0..255, under which an image shows nothing
MOSTLY_ONE_COLOUR = 0.98  # share of the pixels that have one colour, from which an image shows next to nothing
SIZES = (16, 32, 64, 128, 256)
LONG = 1.5  # longer than wide, or wider than long: a square crop loses over a third
UNEVEN = 10.0  # images of the largest class for one of the smallest, from which the small class suffers
FEWEST_OF_A_CLASS = 20  # images from which a network may learn what a class has in common
FEWEST_IMAGES = 500  # images below which a network soon knows them by heart
MUCH_ENLARGED = 0.1  # share of the images from which enlarging shows in what is generated
NAMED = 5  # classes that a warning names
LOSES = {"crop": "loses over a third of each", "squash": "distorts them"}


@dataclass(frozen=True)
class Balance:
    smallest: tuple[str, int]  # and how many images it has
    largest: tuple[str, int]
    ratio: float  # of largest to smallest
    few: tuple[str, ...]  # classes with fewer than `FEWEST_OF_A_CLASS` images


@dataclass(frozen=True)
class Attribute:
    name: str
    least: float
    most: float
    told: float  # share of the images of which it is told


@dataclass(frozen=True)
class Report:
    """The findings; `dataclasses.asdict` makes it JSON."""

    source: str
    num_images: int
    formats: dict[str, int]  # images of each
    modes: dict[str, int]  # images of each mode of Pillow's
    heights: tuple[int, int]  # smallest and largest, upright
    widths: tuple[int, int]
    aspect_ratios: tuple[float, float]  # of width by height
    num_long: int  # images of which a square crop loses much
    num_alpha: int
    num_16_bit: int  # images with 9 to 16 bits a channel
    num_rotated: int  # by EXIF
    profiles: dict[str, int]  # images of each other than sRGB's; they are converted, if it can be read
    duplicates: tuple[tuple[str, ...], ...]  # groups of files with the same pixels
    near_duplicates: tuple[Alike, ...]  # groups of files that look the same
    shared: tuple[tuple[str, ...], ...]  # those of both kinds of groups whose files lie in more than one class
    constant: tuple[str, ...]  # files that show one flat colour, nearly
    nearly_constant: tuple[str, ...]  # other files of which all but a fiftieth is one colour
    parts: dict[str, int]  # images to train on, for validation and for test
    classes: dict[str, int]  # images of each class
    untrained: tuple[str, ...]  # classes of which there is no image to train on
    balance: Balance | None
    num_captions: int  # that say something
    captions: CaptionCheck | None
    attributes: tuple[Attribute, ...]
    channels: int  # what `color` says; else 1 where every image is grey, and 3 otherwise
    labelled: bool  # whether training uses the classes
    suggested_size: int
    suggested_fit: Fit
    size: tuple[int, int]  # that asked for, a built-in data set's own, or that suggested
    fit: Fit  # that asked for, or that suggested
    num_enlarged: int  # images smaller than `size`
    most_enlarged: float  # the largest factor, 1 where there is none
    bad: tuple[tuple[str, str], ...] = ()  # (file, reason) of what cannot be used
    left_out: tuple[LeftOut, ...] = ()  # all that is not used, counted by reason and suffix
    notes: tuple[str, ...] = ()  # how the folder was read where it can be read otherwise, a sentence each
    num_unread: int = 0  # files that were not looked at any more, since it was interrupted


def check(source: str, settings: DataSettings) -> Report:
    """The report on a folder, or on a built-in data set as it is."""
    return finish(check_of(source, settings).examining())


def check_of(source: str, settings: DataSettings) -> "FolderCheck | BuiltInCheck":
    """The same, as work that can be followed; an InputError where there is no such folder, or faulty metadata."""
    parse_color(settings.background)
    if source in BUILT_IN:
        folder.check_not_a_folder(settings, source)
        return BuiltInCheck(source, settings)
    if is_url(source):
        raise InputError(f"expected a folder of images, got {source}; packed ones are checked before packing")
    return FolderCheck(find_folder(source), settings)


class FolderCheck:
    """The check of a folder, file by file; `report` says what is known so far."""

    def __init__(self, root: Path, settings: DataSettings) -> None:
        self.root, self.settings, self.listing = root, settings, list_images(root)
        self.selection = folder.select(self.listing, settings)
        self.found: dict[str, Finding] = {}
        self.bad = list(self.selection.bad)

    def examining(self) -> StagedWork[Report]:
        names, background = self.selection.files, self.settings.background
        results = each(lambda name: examine(self.root / name, background), map(Path, names), self.root)
        for count, (name, result) in enumerate(zip(names, results, strict=True), 1):
            if isinstance(result, BadImage):
                self.bad.append((folder.shown(name), result.reason))
            else:
                self.found[name] = result
            yield ProgressEvent("checking", count, len(names))
        return self.report()

    def report(self) -> Report:
        """On the files that were looked at by now."""
        files, selection, bad = [*self.found], self.selection, self.bad
        known = folder.known(files, selection)
        order = arranged(known.labels, len(files), selection.numbers(files))
        captions = {folder.shown(name): selection.annotations[name].text for name in files}
        report = _report(printable(self.root), self.settings, self.found, known, order, captions)
        unread = len(selection.files) - (len(files) + len(bad) - len(selection.bad))
        report = replace(report, bad=tuple(bad), left_out=counted(bad, selection.left_out), notes=selection.notes)
        return replace(report, num_unread=unread)


class BuiltInCheck(NamedTuple):
    """The check of a data set that comes by its name."""

    name: str
    settings: DataSettings

    def examining(self) -> StagedWork[Report]:
        collection = yield from collecting(DataSettings(source=self.name))
        whole = collection.images
        mode = "L" if whole.shape[0] == 1 else "RGB"
        found = {}
        for count, pixels in enumerate(whole.pixels()):
            found[f"image {count}"] = describe(picture_of(pixels), FileFacts("array", mode, 8, False, False, ""))
            if count % 500 == 0:
                yield ProgressEvent("checking", count, len(whole))
        captions = dict(zip(found, whole.captions or (), strict=bool(whole.captions)))
        return _report(self.name, self.settings, found, collection.known, np.arange(len(whole)), captions)


def _report(
    source: str,
    settings: DataSettings,
    found: dict[str, Finding],
    known: KnownOfImages,
    order: np.ndarray,
    captions: Mapping[str, str | None],
) -> Report:
    """`order`: (N,) in which the images are stored; `captions` by name, None where nothing is said."""
    labels, class_names = known.labels, known.class_names
    sizes = [(image.height, image.width) for image in found.values()]
    heights, widths = zip(*(sizes or [(0, 0)]), strict=True)
    ratios = [width / height for height, width in sizes] or [1.0]
    facts = [image.facts for image in found.values()]
    counts = np.bincount(labels if labels is not None else [], minlength=len(class_names))
    flat = {name for name, image in found.items() if image.spread < NEARLY_CONSTANT}
    filled = {name for name, image in found.items() if image.filled >= MOSTLY_ONE_COLOUR}
    same, alike = finding.same(found), finding.alike(found)
    of_class = {} if labels is None else dict(zip(found, labels.tolist(), strict=True))
    ends = cuts(len(found), known.num_validation, known.num_test, settings.validation, settings.test)
    trained = None if labels is None else labels[order[slice(*ends[0])]]
    labelled = settings.labels != "none" and labels is not None
    side, suggested_fit = suggest_size([min(size) for size in sizes]), suggest_fit(sizes)
    size = settings.height_width or (sizes[0] if source in BUILT_IN else (side, side))
    fit = settings.fit if "fit" in settings.model_fields_set else suggested_fit
    factors = [enlargement(each, size, fit) for each in sizes]
    return Report(
        source=source,
        num_images=len(found),
        formats=dict(Counter(each.format for each in facts)),
        modes=dict(Counter(each.mode for each in facts)),
        heights=(min(heights), max(heights)),
        widths=(min(widths), max(widths)),
        aspect_ratios=(min(ratios), max(ratios)),
        num_long=num_long(sizes),
        num_alpha=sum(each.alpha for each in facts),
        num_16_bit=sum(each.bits > 8 for each in facts),
        num_rotated=sum(each.rotated for each in facts),
        profiles=dict(Counter(each.profile for each in facts if each.profile)),
        duplicates=_groups(same),
        near_duplicates=tuple(replace(group, files=_told(group.files)) for group in alike),
        shared=_groups(finding.shared([*same, *(group.files for group in alike)], of_class)),
        constant=_told(name for name in found if name in flat),
        nearly_constant=_told(name for name in found if name in filled - flat),
        parts={name: stop - start for name, (start, stop) in zip(PARTS, ends, strict=True)},
        classes=(classes := dict(zip(class_names, counts.tolist(), strict=True))),
        untrained=without_images(trained, class_names) if labelled else (),
        balance=balance(classes),
        num_captions=sum(map(bool, known.captions or ())),
        captions=check_captions(captions),
        attributes=_attributes(known.attributes, known.attribute_names),
        channels=COLOR_CHANNELS.get(settings.color, 1 if all(image.grey for image in found.values()) else 3),
        labelled=labelled,
        suggested_size=side,
        suggested_fit=suggested_fit,
        size=size,
        fit=fit,
        num_enlarged=sum(factor > 1 for factor in factors),
        most_enlarged=max([1.0, *factors]),
    )


def _told(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(folder.shown, names))


def _groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(_told, groups))


def balance(classes: Mapping[str, int]) -> Balance | None:
    """Of the images of each class; None where there are no classes."""
    if not classes:
        return None
    ordered = sorted(classes.items(), key=lambda pair: pair[1])
    few = tuple(name for name, count in classes.items() if count < FEWEST_OF_A_CLASS)
    return Balance(ordered[0], ordered[-1], ordered[-1][1] / ordered[0][1], few)


def _attributes(values: np.ndarray | None, names: Sequence[str]) -> tuple[Attribute, ...]:
    """Of the (N, A) values; what is told of no image is left out."""
    found = []
    for name, column in zip(names, () if values is None else values.T, strict=False):
        told = column[~np.isnan(column)]
        if len(told):
            found.append(Attribute(name, float(told.min()), float(told.max()), len(told) / len(column)))
    return tuple(found)


def suggest_size(short_sides: Sequence[int]) -> int:
    """The largest of 16 .. 256 that at least nine images in ten need not be enlarged to."""
    enough = float(np.percentile(short_sides, 10)) if len(short_sides) else 0.0
    return max([size for size in SIZES if size <= enough], default=SIZES[0])


def suggest_fit(sizes: Sequence[tuple[int, int]]) -> Fit:
    """pad where a crop would cost more than a quarter of the images over a third of their area, else crop."""
    return "pad" if 4 * num_long(sizes) > len(sizes) else "crop"


def num_long(sizes: Sequence[tuple[int, int]]) -> int:
    """How many of the (height, width) are longer than `LONG` allows."""
    return sum(max(size) > LONG * min(size) for size in sizes)


def enlargement(size: tuple[int, int], to: tuple[int, int], fit: Fit) -> float:
    """The factor by which (height, width) is enlarged, in the direction that is most; below 1 where it shrinks."""
    down, across = to[0] / size[0], to[1] / size[1]
    return min(down, across) if fit == "pad" else max(down, across)


def remarks(report: Report) -> tuple[str, ...]:
    """What in the report deserves a warning before training, one sentence each."""
    return (*_remarks_on_files(report), *_remarks_on_classes(report), *_remarks_on_sizes(report), *_on_captions(report))


def _remarks_on_files(report: Report) -> Iterator[str]:
    if report.bad:
        yield f"cannot be used: {_counted(len(report.bad), 'file')}"
    if report.num_images < FEWEST_IMAGES:
        yield f"only {_counted(report.num_images, 'image')}: a network soon knows fewer than {FEWEST_IMAGES} by heart"
    if flat := len(report.constant) + len(report.nearly_constant):
        yield (
            f"one colour or little else: {_counted(flat, 'image')}; what is white on transparency shows with another "
            "--data.background"
        )
    if report.shared:
        yield f"in more than one class: {_counted(len(report.shared), 'group')} of images that are or look the same"
    alike = [group.files for group in report.near_duplicates]
    for groups, what in ((report.duplicates, "the pixels of another"), (alike, "the looks of another")):
        if repeats := sum(len(group) - 1 for group in groups):
            yield f"{what}: {_counted(repeats, 'image')}, perhaps trained on and held out at once"


def _remarks_on_classes(report: Report) -> Iterator[str]:
    balance = report.balance
    if balance is None or not report.labelled:
        return
    if report.untrained:
        yield f"no image to train on: {_some(report.untrained)}, which cannot be learned"
    (smallest, least), (largest, most) = balance.smallest, balance.largest
    if balance.ratio >= UNEVEN:
        yield (
            f"uneven classes: {largest} has {_counted(most, 'image')}, {balance.ratio:.0f} times the {least:,} "
            f"of {smallest}, which will be generated worse"
        )
    if balance.few:
        yield f"fewer than {FEWEST_OF_A_CLASS} images: {_some(balance.few)}"


def _remarks_on_sizes(report: Report) -> Iterator[str]:
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


def _on_captions(report: Report) -> Iterator[str]:
    if (found := report.captions) is None:
        return
    if found.missing or found.empty:
        absent = len(found.missing) + len(found.empty)
        yield f"without a caption: {_counted(absent, 'image')} of {report.num_images:,}, learnt as images of no text"
    if found.cut:
        yield (
            f"longer than {found.length} tokens: {_counted(len(found.cut), 'caption')}, the end of which is dropped; "
            f"the longest has {found.longest:,}"
        )
    if found.very_long:
        yield f"longer than the {VERY_LONG} tokens that CLIP reads: {_counted(len(found.very_long), 'caption')}"


def _some(classes: Sequence[str]) -> str:
    """The first of some classes, and how many they are."""
    more = " ..." if len(classes) > NAMED else ""
    return f"{', '.join(classes[:NAMED])}{more} ({_counted(len(classes), 'class')})"


def _counted(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"
