"""What a data set holds and what is wrong with it, before anything is trained on it. Nothing is written."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ancestral.config import DataSettings
from ancestral.data.datasets import BUILT_IN, collection, find_folder
from ancestral.data.fitting import Progress
from ancestral.data.folder import captions, classes, is_grey, select
from ancestral.data.images import ORIENTATION, BadImage, Fit, decode, each, load, parse_color, printable, read, to_array
from ancestral.data.listing import list_images

SIZES = (16, 32, 64, 128, 256)
NEARLY_CONSTANT = 2.0
"""Standard deviation, in levels of 0..255, under which an image shows nothing."""


@dataclass(frozen=True)
class Report:
    """The findings; `dataclasses.asdict` makes it JSON.

    Args:
        source: the folder or the name of the data set.
        num_images: usable images.
        formats, modes: how many images of each file format, and of each mode of Pillow's.
        heights, widths: smallest and largest, upright.
        num_alpha, num_16_bit, num_rotated: images with transparency, with 16 bits a channel, and that EXIF turns.
        bad: (file, reason) of what cannot be used.
        duplicates: groups of files with the same pixels.
        constant: files that show one flat colour, nearly.
        classes: images of each class; empty where there are none.
        num_captions: images with a text.
        channels: 1 where every image is grey or grey is asked for, else 3.
        labelled: whether training uses the classes.
        suggested_size, suggested_fit: values for data.size and data.fit.
    """

    source: str
    num_images: int
    formats: dict[str, int]
    modes: dict[str, int]
    heights: tuple[int, int]
    widths: tuple[int, int]
    num_alpha: int
    num_16_bit: int
    num_rotated: int
    bad: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    constant: tuple[str, ...]
    classes: dict[str, int]
    num_captions: int
    channels: int
    labelled: bool
    suggested_size: int
    suggested_fit: Fit


class Finding(NamedTuple):
    """One image, decoded: its file's format and mode, its upright size, and what its pixels are like."""

    format: str
    mode: str
    height: int
    width: int
    alpha: bool
    rotated: bool
    grey: bool
    spread: float
    pixels: str


def check(source: str, settings: DataSettings, on_progress: Progress | None = None) -> Report:
    """The report on a folder, or on a built-in data set as it is.

    Raises:
        InputError: no such data set or folder, or faulty metadata.
    """
    parse_color(settings.background)
    if source in BUILT_IN:
        return _check_built_in(source, settings, on_progress)
    return _check_folder(find_folder(source), settings, on_progress)


def examine(path: Path, background: str) -> Finding:
    """Decodes one file as training would.

    Raises:
        BadImage: for every fault of the file.
    """
    data = read(path)
    original = load(path, data)
    facts = original.format or "", original.mode
    alpha, rotated = original.has_transparency_data, _orientation(original) != 1
    pixels = to_array(decode(path, None, background, data))
    return _finding(pixels, *facts, alpha, rotated)


def suggest_size(short_sides: list[int]) -> int:
    """The largest of 16 .. 256 that at least nine images in ten need not be enlarged to."""
    enough = float(np.percentile(short_sides, 10)) if short_sides else 0.0
    return max([size for size in SIZES if size <= enough], default=SIZES[0])


def suggest_fit(sizes: list[tuple[int, int]]) -> Fit:
    """pad where a crop would cost more than a quarter of the images over a third of their area, else crop."""
    long = sum(max(size) > 1.5 * min(size) for size in sizes)
    return "pad" if 4 * long > len(sizes) else "crop"


def _check_folder(root: Path, settings: DataSettings, on_progress: Progress | None) -> Report:
    selection = select(list_images(root))
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
    labels, class_names = classes([*found], selection.annotations)
    texts = captions([*found], selection.annotations)
    return _report(str(printable(root)), settings, found, tuple(bad), labels, class_names, len(texts or ()))


def _check_built_in(name: str, settings: DataSettings, on_progress: Progress | None) -> Report:
    whole = collection(DataSettings(source=name), on_progress).images
    mode = "L" if whole.shape[0] == 1 else "RGB"
    found = {f"image {i}": _finding(pixels, "array", mode, False, False) for i, pixels in enumerate(whole.images)}
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
    counts = np.bincount(labels if labels is not None else [], minlength=len(class_names))
    grey = settings.color == "grey" or (settings.color == "auto" and all(finding.grey for finding in findings))
    return Report(
        source=source,
        num_images=len(findings),
        formats=dict(Counter(finding.format for finding in findings)),
        modes=dict(Counter(finding.mode for finding in findings)),
        heights=_range([height for height, _ in sizes]),
        widths=_range([width for _, width in sizes]),
        num_alpha=sum(finding.alpha for finding in findings),
        num_16_bit=sum(finding.mode.startswith("I") for finding in findings),
        num_rotated=sum(finding.rotated for finding in findings),
        bad=bad,
        duplicates=_duplicates(found),
        constant=tuple(printable(name) for name, finding in found.items() if finding.spread < NEARLY_CONSTANT),
        classes={name: int(count) for name, count in zip(class_names, counts, strict=True)},
        num_captions=num_captions,
        channels=1 if grey else 3,
        labelled=settings.labels == "auto" and labels is not None,
        suggested_size=suggest_size([min(size) for size in sizes]),
        suggested_fit=suggest_fit(sizes),
    )


def _finding(pixels: np.ndarray, file_format: str, mode: str, alpha: bool, rotated: bool) -> Finding:
    height, width, _ = pixels.shape
    spread = float(pixels.std(axis=(0, 1)).max())
    content = sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Finding(file_format, mode, height, width, alpha, rotated, is_grey(pixels), spread, content)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the file does not say or its EXIF cannot be read (which decoding then reports)."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _duplicates(found: dict[str, Finding]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = {}
    for name, finding in found.items():
        groups.setdefault(finding.pixels, []).append(printable(name))
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _range(values: list[int]) -> tuple[int, int]:
    return (min(values), max(values)) if values else (0, 0)
