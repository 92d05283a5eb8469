"""The jobs of `data check`: what is in a folder of images, and then how to train on it."""

import dataclasses
import math
import shlex
from collections import Counter
from collections.abc import Callable, Container, Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from ancestral.colors import COLOR_OF
from ancestral.data.check import SIZES, FolderCheck, Report, check_of, remarks
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.folder import classes, decode_folder, select, shown
from ancestral.data.images import decode, picture_of
from ancestral.data.imageset import ImageSet, frozen
from ancestral.data.listing import list_images
from ancestral.errors import InputError
from ancestral.jobs import pacing
from ancestral.jobs.data_settings import CheckSettings
from ancestral.jobs.events import Event, FileEvent, ProgressEvent, ResultEvent
from ancestral.jobs.running import device_named
from ancestral.jobs.show import contact_sheet
from ancestral.outputs import CHECKED, DATA_PAGE, Output, claim
from ancestral.presets import LATENT_SIDE, PRESETS, for_folder, in_latents
from ancestral.progress import finish
from ancestral.report.data_page import write_page
from ancestral.settings import DataSettings, ImageSpec, KLSettings, merged
from ancestral.text import size_in_words
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import save_png

USABLE = 2  # images that training needs at least
SHEET = 48  # images of a contact sheet, at most
SHEET_PIXELS = 1_250_000  # of a contact sheet of large images, before it is enlarged
SMALLEST = 32  # size at which a recipe begins; smaller images keep theirs
FEWEST_STEPS = 2000  # steps that a recipe's budget has to allow at a size for it to be recommended
MINUTES_OF_LATENTS = 30  # at least: an autoencoder's and diffusion's
SLOWER = 3.0  # how much slower at least a step is at twice the size: whether to try it at all

Size = int | tuple[int, int] | None  # as in `DataSettings`


@dataclasses.dataclass(frozen=True)
class SuggestedRecipe:
    """How to train on these images."""

    command: str  # to be typed
    size: tuple[int, int]  # (height, width) that it trains at
    pace: pacing.DevicePace | None  # what it takes; None where nothing was measured
    note: str  # why it is not the suggested size, or what to mind; else ""
    larger: "SuggestedRecipe | None" = None  # in latents, at the size that suits the images

    @property
    def takes(self) -> list[str]:
        """What it takes, a sentence each."""
        lines = []
        if pace := self.pace:
            height, width = self.size
            lines = [
                f"{pace.minutes:.0f} minutes on {pace.device}: {pace.steps:,} steps of {pace.seconds_per_step:.2g} s, "
                f"each image seen {pace.visits:,.0f} times",
                f"{pace.weights:,} weights at {height}x{width}, about {size_in_words(pace.peak_bytes)} of memory with "
                f"{pace.at_once} images at a time",
            ]
            if first := pace.first:
                own = f"{first.steps:,} steps of {first.seconds_per_step:.2g} s, {first.weights:,} weights"
                memory = f"about {size_in_words(first.peak_bytes)} of memory"
                lines.insert(0, f"an autoencoder first, in {first.minutes:.0f} minutes: {own}, {memory}")
        return [*lines, *([self.note] if self.note else [])]


def check(job: CheckSettings) -> Generator[Event, None, None]:
    """Looks at every image; the result's value is the report. Interrupted, it yields the report on the files of a
    folder that were looked at by then."""
    folder = Path(job.source).expanduser().resolve()
    if job.sheet is not None and folder.is_dir() and job.sheet.resolve().is_relative_to(folder):
        raise InputError(f"expected --sheet outside {job.source}, got {job.sheet}, which would be trained on")
    claim([Output(file, mark) for file, mark in ((job.sheet, CHECKED), (job.page, DATA_PAGE)) if file], job.overwrite)
    work = check_of(job.source, job.data)
    try:
        report = yield from work.examining()
    except KeyboardInterrupt as stop:
        if isinstance(work, FolderCheck):
            partial = work.report()
            stop.add_note(looked_at(partial))
            yield ResultEvent(as_tree(partial), partial)
        raise
    yield ResultEvent(as_tree(report), report)


def check_and_recommend(job: CheckSettings) -> Generator[Event, None, None]:
    """Looks at every image, then says how to train on them."""
    for event in check(job):
        yield event
        if isinstance(event, ResultEvent):
            yield from recommend(job, event.value, job.measure)


def looked_at(report: Report) -> str:
    """How far an interrupted check has come."""
    seen = report.num_images + len(report.bad)
    return f"{seen:,} of {seen + report.num_unread:,} files were looked at"


def recommend(job: CheckSettings, report: Report, timed: bool) -> Generator[Event, None, None]:
    """How to train on what was reported, `timed` by training steps, and the sheet and the page that were asked for. The
    result's value is the recipe; None where there are fewer than two usable images."""
    recipe, sheet = None, None
    if report.num_images >= USABLE:
        recipe = yield from _recipe(job, report, timed)
        sheet = _sheet(job.data, report, recipe) if job.sheet or job.page else None
    if sheet and job.sheet:
        save_png(sheet, job.sheet, {"Software": CHECKED.decode()})
        yield FileEvent(job.sheet)
    if job.page:
        told = [recipe.command, *recipe.takes] if recipe else []
        if recipe and recipe.larger:
            told += [f"Or: {recipe.larger.command}", *recipe.larger.takes]
        write_page(job.page, report, told, sheet, pictures(job.data))
        yield FileEvent(job.page)
    yield ResultEvent(as_tree(report, recipe, job.sheet if recipe else None, job.page), recipe)


def as_tree(
    report: Report, recipe: SuggestedRecipe | None = None, sheet: Path | None = None, page: Path | None = None
) -> dict[str, Any]:
    """What --json prints."""
    return {
        **dataclasses.asdict(report),
        "warnings": remarks(report),
        "recipe": dataclasses.asdict(recipe) if recipe else None,
        "sheet": str(sheet) if sheet else None,
        "page": str(page) if page else None,
    }


def _recipe(job: CheckSettings, report: Report, timed: bool) -> Generator[Event, None, SuggestedRecipe]:
    """The preset at the size asked for, or the data set's own; for a folder at the largest that leaves enough steps."""
    settings, sizes = job.data, list[Size]([job.data.size])
    if settings.source not in BUILT_IN and settings.size is None:
        smallest = min(SMALLEST, report.suggested_size)
        sizes = [size for size in SIZES if smallest <= size <= report.suggested_size]
    size = sizes[0 if timed else -1]
    pace: pacing.DevicePace | None = None
    for number, larger in enumerate(sizes if timed else ()):
        yield ProgressEvent("timing training steps", number, len(sizes))
        found = _pace(settings, report, larger, job.device)
        if pace is None or found.steps >= FEWEST_STEPS:
            size, pace = larger, found
        if found.steps < SLOWER * FEWEST_STEPS:  # the next would surely leave too few
            break
    suited, note = (size, size) if isinstance(size, int) else size or report.size, ""
    if pace is not None and pace.steps < FEWEST_STEPS:
        note = f"{pace.steps:,} steps are few; --training.minutes with more minutes is better"
    elif pace is not None and suited != report.size:
        few = f"{pace.minutes:.0f} minutes leave fewer than {FEWEST_STEPS:,} steps"
        note = f"the images suit {report.size[0]}x{report.size[1]}, at which {few}"
    read = " --text.name learned" if report.num_captions else ""
    words = command(settings.source, _given(settings, report, size)) + read
    other = (yield from _in_latents(job, report, read)) if timed else None
    return SuggestedRecipe(words, suited, pace, note, other)


def _in_latents(job: CheckSettings, report: Report, read: str) -> Generator[Event, None, SuggestedRecipe | None]:
    """How to train on a folder at the size that suits it by the latents of an autoencoder: in as many minutes as both
    need for enough steps. None: the images are small, or another size was asked for."""
    settings, size = job.data, report.suggested_size
    if settings.source in BUILT_IN or settings.size is not None or size < LATENT_SIDE:
        return None
    yield ProgressEvent("timing training steps in latents", 0, 1)
    found = _pace(settings, report, size, job.device, latent=True)
    assert found.first is not None, "an autoencoder is timed too"
    share = KLSettings().share
    needed = max(found.first.seconds_per_step / share, found.seconds_per_step / (1 - share)) * FEWEST_STEPS / 60
    minutes = max(MINUTES_OF_LATENTS, 10 * math.ceil(needed / 10))
    given = {"codec": "kl", "training.minutes": str(minutes)}
    words = command(settings.source, _given(settings, report, size), given) + read
    return SuggestedRecipe(words, (size, size), found.within(float(minutes), share), "")


def _pace(
    settings: DataSettings, report: Report, size: Size, device: str | None, latent: bool = False
) -> pacing.DevicePace:
    """Of the recipe for the data set, or for folders, at this size; `latent`: of the one that diffuses latents."""
    source = settings.source
    place = source if source in BUILT_IN else str(find_folder(source).resolve())
    preset = PRESETS[source]() if source in PRESETS else for_folder(place)
    preset = in_latents(preset, KLSettings()) if latent else preset
    config = merged(preset, {"data": _given(settings, report, size)}, "command line")
    height, width = config.data.height_width or report.size
    names = tuple(report.classes) if report.labelled else ()
    spec = ImageSpec(channels=report.channels, height=height, width=width, class_names=names)
    return pacing.pace(config, spec, report.parts["train"], device_named(device))


def _given(settings: DataSettings, report: Report, size: Size) -> dict[str, Any]:
    """The settings that the command names: those suggested for a folder, and those given."""
    suggested = {} if settings.source in BUILT_IN else {"size": size, "fit": report.fit}
    asked = {name: getattr(settings, name) for name in DataSettings.model_fields if name in settings.model_fields_set}
    return {name: value for name, value in {**suggested, **asked}.items() if name != "source"}


def command(source: str, given: dict[str, Any], others: dict[str, str] | None = None) -> str:
    """`ancestral train` with these settings of the data, and others by dotted name."""
    words = [
        "ancestral",
        "train",
        source,
        *(word for each in (others or {}).items() for word in (f"--{each[0]}", each[1])),
    ]
    for name, value in given.items():
        if isinstance(value, bool):
            words.append(f"--data.{name}" if value else f"--data.no_{name}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--data.{name}", *("none" if each is None else str(each) for each in values)]
    words += [word for name, value in (others or {}).items() for word in (f"--{name}", value)]
    return shlex.join(words)


def _sheet(settings: DataSettings, report: Report, recipe: SuggestedRecipe) -> Box:
    """Images of all classes as the recipe fits them."""
    height, width = recipe.size
    fitted = {"size": recipe.size, "fit": report.fit, "color": COLOR_OF[report.channels]}
    bad = {name for name, _ in report.bad}
    images = seen(settings.model_copy(update=fitted), bad, min(SHEET, max(USABLE, SHEET_PIXELS // (height * width))))
    title = f"{Path(settings.source).name}: {len(images)} of {report.num_images:,} images as the network sees them"
    colours = "grey" if report.channels == 1 else "RGB"
    of_classes = f", {len(report.classes)} classes" if report.labelled else ""
    return contact_sheet(images, f"{title}, {height}x{width} {colours}{of_classes}")


def seen(settings: DataSettings, bad: Container[str], count: int) -> ImageSet:
    """Up to `count` images as the network will see them: of all classes alike, in the order of the classes. They are
    decoded again, past the cache; `bad`: names, fit for printing, of files to leave out."""
    if settings.source in BUILT_IN:
        whole = finish(collecting(settings)).images
        return whole.ordered(spread(whole.labels, len(whole), count))
    selection = select(list_images(find_folder(settings.source)), settings)
    names = [name for name in selection.files if shown(name) not in bad]
    labels, _ = classes(names, selection)
    chosen = tuple(names[i] for i in spread(labels, len(names), count))
    with TemporaryDirectory() as scratch:
        alone = dataclasses.replace(selection, files=chosen, parts={})
        part = finish(decode_folder(alone, settings, Path(scratch) / "rows"))[0].images
        part = dataclasses.replace(part, images=frozen(np.array(part.images)))
    return part if settings.labels != "none" else part.unlabelled()


def pictures(settings: DataSettings) -> Callable[[str], Image.Image]:
    """A function from the name of an image, as reports print it, to the whole upright picture, or a BadImage where the
    file has changed since."""
    if settings.source in BUILT_IN:
        images = finish(collecting(DataSettings(source=settings.source))).images.pixels()
        return lambda name: picture_of(images[int(name.removeprefix("image "))])
    listing = list_images(find_folder(settings.source))
    place = {shown(name): listing.root / name for name in listing.files}
    return lambda name: decode(place[name], None, settings.background)


def spread(labels: np.ndarray | None, num_images: int, count: int) -> np.ndarray:
    """At most `count` indices, in the order of the classes: as many of each as there are, evenly spread over it."""
    labels = np.zeros(num_images, np.int64) if labels is None else labels
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    turns = sorted((turn, one) for one, images in enumerate(members) for turn in range(min(len(images), count)))
    shares = Counter(one for _, one in turns[:count])
    places = [np.linspace(0, len(images) - 1, shares[one]).round() for one, images in enumerate(members)]
    return np.concatenate([images[at.astype(np.int64)] for images, at in zip(members, places, strict=True)])
