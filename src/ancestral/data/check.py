"""What a data set holds and what is wrong with it, before anything is trained on it. Nothing is written."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ancestral.config import DataSettings
from ancestral.data import advice, duplicates, folder
from ancestral.data.datasets import BUILT_IN, collection, find_folder
from ancestral.data.duplicates import Alike
from ancestral.data.finding import Finding, describe, examine, picture_of
from ancestral.data.fitting import Progress
from ancestral.data.images import BadImage, Fit, each, parse_color
from ancestral.data.listing import list_images
from ancestral.errors import InputError
from ancestral.files import is_packed, is_url
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
        num_alpha, num_16_bit, num_rotated: images with transparency, with 16 bits a channel, and that EXIF turns.
        bad: (file, reason) of what cannot be used.
        duplicates: groups of files with the same pixels.
        near_duplicates: groups of files that look the same.
        shared: those of both kinds of groups whose files lie in more than one class.
        constant: files that show one flat colour, nearly.
        nearly_constant: other files of which all but a fiftieth is one colour.
        classes: images of each class; empty where there are none.
        balance: how even they are; None where there are none.
        num_captions: images with a text.
        channels: 1 where every image is grey or grey is asked for, else 3.
        labelled: whether training uses the classes.
        suggested_size, suggested_fit: values for data.size and data.fit.
        size, fit: those asked for, else those suggested; a data set that is built in has sizes of its own.
        num_enlarged: images smaller than `size`; `most_enlarged`: the largest factor, 1 where there is none.
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
    bad: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[Alike, ...]
    shared: tuple[tuple[str, ...], ...]
    constant: tuple[str, ...]
    nearly_constant: tuple[str, ...]
    classes: dict[str, int]
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


def check(source: str, settings: DataSettings, on_progress: Progress | None = None) -> Report:
    """The report on a folder, or on a built-in data set as it is.

    Raises:
        InputError: no such data set or folder, or faulty metadata.
    """
    parse_color(settings.background)
    if source in BUILT_IN:
        return _check_built_in(source, settings, on_progress)
    if is_url(source) or is_packed(folder_of := find_folder(source)):
        raise InputError(f"expected a folder of images, got {source}, of packed ones; check them before packing")
    return _check_folder(folder_of, settings, on_progress)


def _check_folder(root: Path, settings: DataSettings, on_progress: Progress | None) -> Report:
    selection = folder.select(list_images(root))
    found: dict[str, Finding] = {}
    bad = list(selection.bad)
    results = each(lambda name: examine(root / name, settings.background), map(Path, selection.files))
    for count, (name, result) in enumerate(zip(selection.files, results, strict=True), 1):
        if isinstance(result, BadImage):
            bad.append((printable(name), result.reason))
        else:
            found[name] = result
        if on_progress:
            on_progress("checking", count, len(selection.files))
    labels, class_names = folder.classes([*found], selection.annotations)
    texts = folder.captions([*found], selection.annotations)
    return _report(str(printable(root)), settings, found, tuple(bad), labels, class_names, len(texts or ()))


def _check_built_in(name: str, settings: DataSettings, on_progress: Progress | None) -> Report:
    whole = collection(DataSettings(source=name), on_progress).images
    mode = "L" if whole.shape[0] == 1 else "RGB"
    found = {}
    for count, pixels in enumerate(whole.pixels()):
        found[f"image {count}"] = describe(picture_of(pixels), "array", mode, False, False)
        if on_progress and count % 500 == 0:
            on_progress("checking", count, len(whole))
    return _report(name, settings, found, (), whole.labels, whole.class_names, len(whole.captions or ()))


def _report(
    source: str,
    settings: DataSettings,
    found: dict[str, Finding],
    bad: tuple[tuple[str, str], ...],
    labels: np.ndarray | None,
    class_names: tuple[str, ...],
    num_captions: int,
) -> Report:
    findings = [*found.values()]
    sizes = [(finding.height, finding.width) for finding in findings]
    ratios = [width / height for height, width in sizes]
    counts = np.bincount(labels if labels is not None else [], minlength=len(class_names))
    grey = settings.color == "grey" or (settings.color == "auto" and all(finding.grey for finding in findings))
    flat = {name for name, finding in found.items() if finding.spread < NEARLY_CONSTANT}
    filled = {name for name, finding in found.items() if finding.filled >= MOSTLY_ONE_COLOUR}
    same, alike = duplicates.same(found), duplicates.alike(found)
    of_class = {} if labels is None else dict(zip(found, labels.tolist(), strict=True))
    size, fit = _size(source, settings, sizes), _fit(settings, sizes)
    factors = [advice.enlargement(each, size, fit) for each in sizes]
    return Report(
        source=source,
        num_images=len(findings),
        formats=dict(Counter(finding.format for finding in findings)),
        modes=dict(Counter(finding.mode for finding in findings)),
        heights=_range([height for height, _ in sizes], 0),
        widths=_range([width for _, width in sizes], 0),
        aspect_ratios=_range(ratios, 1.0),
        num_long=advice.num_long(sizes),
        num_alpha=sum(finding.alpha for finding in findings),
        num_16_bit=sum(finding.mode.startswith("I") for finding in findings),
        num_rotated=sum(finding.rotated for finding in findings),
        bad=bad,
        duplicates=_groups(same),
        near_duplicates=tuple(replace(group, files=_told(group.files)) for group in alike),
        shared=_groups(duplicates.shared([*same, *(group.files for group in alike)], of_class)),
        constant=_told(name for name in found if name in flat),
        nearly_constant=_told(name for name in found if name in filled - flat),
        classes=(classes := {name: int(count) for name, count in zip(class_names, counts, strict=True)}),
        balance=advice.balance(classes),
        num_captions=num_captions,
        channels=1 if grey else 3,
        labelled=settings.labels == "auto" and labels is not None,
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
    return tuple(map(printable, names))


def _groups(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(_told, groups))


def _range(values: Sequence[N], nothing: N) -> tuple[N, N]:
    return (min(values), max(values)) if values else (nothing, nothing)
