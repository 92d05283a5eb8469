"""What a data set holds and what is wrong with it, before anything is trained on it. Nothing is written."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ancestral.colors import COLOR_CHANNELS
from ancestral.data import advice, duplicates, folder
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.duplicates import Alike
from ancestral.data.finding import Finding, describe, examine
from ancestral.data.images import BadImage, FileFacts, Fit, parse_color, picture_of
from ancestral.data.imageset import arranged, cuts, without_images
from ancestral.data.layout import PARTS
from ancestral.data.listing import LeftOut, counted, list_images
from ancestral.data.parallel import each
from ancestral.errors import InputError
from ancestral.files import is_url
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.settings import DataSettings
from ancestral.text import printable

N = TypeVar("N", int, float)
NEARLY_CONSTANT = 2.0
"""Standard deviation, in levels of 0..255, under which an image shows nothing."""
MOSTLY_ONE_COLOUR = 0.98
"""Share of the pixels that have one colour, from which an image shows next to nothing."""


@dataclass(frozen=True)
class Report:
    """The findings; `dataclasses.asdict` makes it JSON.

    Args:
        source: the folder or the name of the data set.
        num_images: usable images.
        formats, modes: how many images of each file format, and of each mode of Pillow's.
        heights, widths: smallest and largest, upright.
        aspect_ratios: smallest and largest width by height.
        num_long: images that are more than half as long again as wide, or wide as long: a square crop loses much.
        num_alpha, num_16_bit, num_rotated: images with transparency, with 9 to 16 bits a channel, and that EXIF turns.
        profiles: how many images have each colour profile other than sRGB's; they are converted, if it can be read.
        bad: (file, reason) of what cannot be used.
        left_out: all that is not used, counted by reason and suffix.
        notes: how the folder was read where it can be read otherwise, a sentence each.
        duplicates: groups of files with the same pixels.
        near_duplicates: groups of files that look the same.
        shared: those of both kinds of groups whose files lie in more than one class.
        constant: files that show one flat colour, nearly.
        nearly_constant: other files of which all but a fiftieth is one colour.
        parts: images to train on, for validation and for test.
        classes: images of each class; empty where there are none.
        untrained: the classes of which there is no image to train on.
        balance: how even they are; None where there are none.
        num_captions: images with a text.
        channels: what `color` says; else 1 where every image is grey, and 3 otherwise.
        labelled: whether training uses the classes.
        suggested_size, suggested_fit: values for data.size and data.fit.
        size, fit: those asked for, else those suggested; a data set that is built in has sizes of its own.
        num_enlarged: images smaller than `size`; `most_enlarged`: the largest factor, 1 where there is none.
        num_unread: files that were not looked at any more, since it was interrupted.
    """

    source: str
    num_images: int
    formats: dict[str, int]
    modes: dict[str, int]
    heights: tuple[int, int]
    widths: tuple[int, int]
    aspect_ratios: tuple[float, float]
    num_long: int
    num_alpha: int
    num_16_bit: int
    num_rotated: int
    profiles: dict[str, int]
    bad: tuple[tuple[str, str], ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[Alike, ...]
    shared: tuple[tuple[str, ...], ...]
    constant: tuple[str, ...]
    nearly_constant: tuple[str, ...]
    parts: dict[str, int]
    classes: dict[str, int]
    untrained: tuple[str, ...]
    balance: advice.Balance | None
    num_captions: int
    channels: int
    labelled: bool
    suggested_size: int
    suggested_fit: Fit
    size: tuple[int, int]
    fit: Fit
    num_enlarged: int
    most_enlarged: float
    num_unread: int = 0


def check(source: str, settings: DataSettings) -> Report:
    """The report on a folder, or on a built-in data set as it is.

    Raises:
        InputError: no such data set or folder, or faulty metadata.
    """
    return finish(check_of(source, settings).examining())


def check_of(source: str, settings: DataSettings) -> "FolderCheck | BuiltInCheck":
    """The same, as work that can be followed.

    Raises:
        InputError: no such data set or folder, or faulty metadata.
    """
    parse_color(settings.background)
    if source in BUILT_IN:
        folder.check_not_a_folder(settings, source)
        return BuiltInCheck(source, settings)
    if is_url(source):
        raise InputError(f"expected a folder of images, got {source}; packed ones are checked before packing")
    return FolderCheck(find_folder(source), settings)


class KnownOfImages(NamedTuple):
    """What is known of the images beside what they look like.

    Args:
        labels, class_names: as in `ImageSet`.
        order: (N,) in which they are stored.
        num_validation, num_test, bad, left_out, notes: as in `Collection`.
    """

    labels: np.ndarray | None
    class_names: tuple[str, ...]
    num_captions: int
    order: np.ndarray
    num_validation: int | None
    num_test: int | None
    bad: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


class FolderCheck:
    """The check of a folder, file by file; `report` says what is known so far."""

    def __init__(self, root: Path, settings: DataSettings) -> None:
        self.root, self.settings, self.listing = root, settings, list_images(root)
        self.selection = folder.select(self.listing, settings)
        self.found: dict[str, Finding] = {}
        self.bad = list(self.selection.bad)

    def examining(self) -> StagedWork[Report]:
        """Decodes every file."""
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
        labels, class_names = folder.classes(files, selection)
        captions = len(folder.captions(files, selection) or ())
        order = arranged(labels, len(files), selection.numbers(files))
        known = KnownOfImages(labels, class_names, captions, order, *selection.own(files))
        known = known._replace(bad=tuple(bad), left_out=counted(bad, self.listing.others), notes=selection.notes)
        looked_at = len(files) + len(bad) - len(selection.bad)
        report = _report(printable(self.root), self.settings, self.found, known)
        return replace(report, num_unread=len(selection.files) - looked_at)


class BuiltInCheck(NamedTuple):
    """The check of a data set that comes by its name."""

    name: str
    settings: DataSettings

    def examining(self) -> StagedWork[Report]:
        """Looks at every image."""
        whole, num_test, num_validation, *_ = yield from collecting(DataSettings(source=self.name))
        mode = "L" if whole.shape[0] == 1 else "RGB"
        found = {}
        for count, pixels in enumerate(whole.pixels()):
            found[f"image {count}"] = describe(picture_of(pixels), FileFacts("array", mode, 8, False, False, ""))
            if count % 500 == 0:
                yield ProgressEvent("checking", count, len(whole))
        texts, order = len(whole.captions or ()), np.arange(len(whole))
        known = KnownOfImages(whole.labels, whole.class_names, texts, order, num_validation, num_test)
        return _report(self.name, self.settings, found, known)


def _report(source: str, settings: DataSettings, found: dict[str, Finding], known: KnownOfImages) -> Report:
    labels, class_names = known.labels, known.class_names
    findings = [*found.values()]
    sizes = [(finding.height, finding.width) for finding in findings]
    ratios = [width / height for height, width in sizes]
    counts = np.bincount(labels if labels is not None else [], minlength=len(class_names))
    found_channels = 1 if all(finding.grey for finding in findings) else 3
    flat = {name for name, finding in found.items() if finding.spread < NEARLY_CONSTANT}
    filled = {name for name, finding in found.items() if finding.filled >= MOSTLY_ONE_COLOUR}
    same, alike = duplicates.same(found), duplicates.alike(found)
    of_class = {} if labels is None else dict(zip(found, labels.tolist(), strict=True))
    own = known.num_validation, known.num_test
    ends = cuts(len(findings), *own, settings.validation, settings.test)
    trained = None if labels is None else labels[known.order[slice(*ends[0])]]
    labelled = settings.labels != "none" and labels is not None
    size, fit = _size(source, settings, sizes), _fit(settings, sizes)
    factors = [advice.enlargement(each, size, fit) for each in sizes]
    return Report(
        source=source,
        num_images=len(findings),
        formats=dict(Counter(finding.facts.format for finding in findings)),
        modes=dict(Counter(finding.facts.mode for finding in findings)),
        heights=_range([height for height, _ in sizes], 0),
        widths=_range([width for _, width in sizes], 0),
        aspect_ratios=_range(ratios, 1.0),
        num_long=advice.num_long(sizes),
        num_alpha=sum(finding.facts.alpha for finding in findings),
        num_16_bit=sum(finding.facts.bits > 8 for finding in findings),
        num_rotated=sum(finding.facts.rotated for finding in findings),
        profiles=dict(Counter(finding.facts.profile for finding in findings if finding.facts.profile)),
        bad=known.bad,
        left_out=known.left_out,
        notes=known.notes,
        duplicates=_groups(same),
        near_duplicates=tuple(replace(group, files=_told(group.files)) for group in alike),
        shared=_groups(duplicates.shared([*same, *(group.files for group in alike)], of_class)),
        constant=_told(name for name in found if name in flat),
        nearly_constant=_told(name for name in found if name in filled - flat),
        parts={name: stop - start for name, (start, stop) in zip(PARTS, ends, strict=True)},
        classes=(classes := {name: int(count) for name, count in zip(class_names, counts, strict=True)}),
        untrained=without_images(trained, class_names) if labelled else (),
        balance=advice.balance(classes),
        num_captions=known.num_captions,
        channels=COLOR_CHANNELS.get(settings.color, found_channels),
        labelled=labelled,
        suggested_size=advice.suggest_size([min(size) for size in sizes]),
        suggested_fit=advice.suggest_fit(sizes),
        size=size,
        fit=fit,
        num_enlarged=sum(factor > 1 for factor in factors),
        most_enlarged=max([1.0, *factors]),
    )


def _size(source: str, settings: DataSettings, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """What is asked for; else a built-in data set's own, and for a folder what suits it."""
    if source in BUILT_IN:
        return settings.height_width or sizes[0]
    side = advice.suggest_size([min(size) for size in sizes])
    return settings.height_width or (side, side)


def _fit(settings: DataSettings, sizes: list[tuple[int, int]]) -> Fit:
    return settings.fit if "fit" in settings.model_fields_set else advice.suggest_fit(sizes)


def _told(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(folder.shown, names))


def _groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(_told, groups))


def _range(values: Sequence[N], nothing: N) -> tuple[N, N]:
    return (min(values), max(values)) if values else (nothing, nothing)
