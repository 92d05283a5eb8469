"""Images that were generated, with what they looked like on the way, and the files that show them."""

import io
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ancestral.condition import Condition
from ancestral.files import write_whole
from ancestral.jobs.branch import Branch
from ancestral.jobs.events import (
    Event,
    FileEvent,
    FrameEvent,
    FramesEvent,
    NoteEvent,
    ProgressEvent,
    ResultEvent,
)
from ancestral.networks.weights import tensors_hash
from ancestral.outputs import ARRAYS, FILM, GENERATED, Output
from ancestral.pipeline import Pipeline
from ancestral.pipeline.calling import as_pillow, attributes_in, cut_in_words
from ancestral.pipeline.generate import (
    NOTHING,
    Advance,
    FinishedPart,
    Frame,
    Generated,
    GeneratingEvent,
    Keep,
    PassedFrame,
)
from ancestral.prompts import NO_PROMPTS, Prompts
from ancestral.sampling.samplers import DDIM, Ancestral, DPMSolver2MSDE
from ancestral.settings import SamplingSettings
from ancestral.tensors import Labels
from ancestral.text import as_utf8, normal_form
from ancestral.tuning.price import Price, of_chains
from ancestral.viz import pictures

KEPT = 50  # timesteps of a chain that films and arrays keep, at most
FILMED, FILM_BYTES = 100, 2**30
"""Images that a film shows, and memory that they may take while they are generated, at most."""
FRAMES_BYTES, FEWEST_FRAMES = 2**26, 8
"""What the frames that are shown on the way may hold in all; fewer images are shown where fewer frames would be."""
WORDS = ("none", "all")
"""What --classes takes for no class and for every one; classes that are called so are asked for as =none and =all."""

Decode = Callable[[Tensor], Tensor]
"""What makes pixels of x0, or of a state on the way to it."""


class FutureFacts(NamedTuple):
    """What PNG files say of what came after a branch; None: it stayed as it was."""

    step: int
    sampler: str | None
    seeds: range | None
    classes: list[str] | None

    def of(self, i: int) -> dict[str, str]:
        facts = {"branch": str(self.step)}
        if self.sampler is not None:
            facts["then_sampler"] = self.sampler
        if self.seeds is not None:
            facts["then_seed"] = str(self.seeds[i])
        if self.classes is not None:
            facts["then_class"] = as_asked(self.classes[i]) if self.classes else "none"
        return facts


class ImageFacts(NamedTuple):
    """What the PNG files of images say of them; `shared` is what those of all of them do."""

    seeds: range
    classes: list[str]  # the name of each image's class; empty where no class was asked for
    shared: dict[str, str]
    prompts: Prompts = NO_PROMPTS
    then: FutureFacts | None = None

    def of(self, i: int) -> dict[str, str]:
        asked = Prompts.of(self.prompts.of_each(len(self.seeds))[i]).facts()
        return {**self._known(i), **asked, **self.shared}

    def of_all(self) -> dict[str, str]:
        """What the PNG file of all of them says."""
        every: list[tuple[str, ImageFacts | FutureFacts]] = [("", self)]
        every += [("then_", self.then)] if self.then else []
        which = {f"{name}seed": f"{each.seeds[0]} to {each.seeds[-1]}" for name, each in every if each.seeds}
        named = [(name, each.classes) for name, each in every if each.classes]
        classes = {f"{name}class": ", ".join(map(as_asked, _period(each))) for name, each in named}
        which = which if len(self.seeds) > 1 else {}
        return {**self._known(0), **which, **classes, **self.prompts.facts(), **self.shared}

    def captions(self) -> list[str] | None:
        """What stands beneath each image: what was asked for; None where nothing was."""
        texts = [str(each) for each in self.prompts.of_each(len(self.seeds))] if self.prompts.texts else []
        classes = self.classes
        if self.then and self.then.classes not in (None, classes):
            futures = (each.classes or ["no class"] * len(self.seeds) for each in (self, self.then))
            classes = [f"{one}, then {other}" for one, other in zip(*futures, strict=True)]
        return [", ".join(each) for each in zip(*filter(None, [classes, texts]), strict=True)] or None

    def _known(self, i: int) -> dict[str, str]:
        known = {"seed": str(self.seeds[i]), "class": as_asked(self.classes[i]) if self.classes else "none"}
        return {**known, **(self.then.of(i) if self.then else {})}


class WantedFiles(NamedTuple):
    """Which files are to show what is generated: grid.png in `out`, and whatever else is asked for."""

    out: Path
    seeds: range
    each: bool
    strip: bool
    film: Path | None
    arrays: Path | None

    def outputs(self) -> list[Output]:
        """All files, with the marks of what they may replace."""
        names = ["grid.png", *(f"seed-{seed}.png" for seed in self.seeds if self.each), *["strip.png"] * self.strip]
        others = [Output(path, mark) for path, mark in ((self.film, FILM), (self.arrays, ARRAYS)) if path]
        return [*(Output(self.out / name, GENERATED) for name in names), *others]


def condition_for(
    pipeline: Pipeline, classes: str | None, count: int, attributes: str | None = None, prompts: Prompts = NO_PROMPTS
) -> Condition:
    """Of `count` images, the classes of `labels_for`, the attributes of a line such as "age=0.3,smiling=1", and what is
    asked in words."""
    told = None if attributes is None else attributes_in(attributes)
    return pipeline.condition(labels_for(pipeline, classes, count), count, told, prompts)


def labels_for(pipeline: Pipeline, classes: str | None, count: int) -> Labels | None:
    """The class of each of `count` images: those of the list in turn; every class in turn for all and None.

    A name after = is that of a class, whatever it means otherwise: =none, =all, =3.
    """
    there = pipeline.class_names
    if classes == "none" or (classes is None and not there):
        return None
    if classes in (None, "all") and there:
        return torch.arange(count) % len(there)
    assert classes is not None
    whole = normal_form(as_utf8(classes.removeprefix("="))) in map(normal_form, there)
    names = [classes] if whole else classes.split(",")
    wanted = [pipeline.class_index(name.strip()) for name in names]
    return torch.tensor(wanted)[torch.arange(count) % len(wanted)]


def names_of(pipeline: Pipeline, labels: Labels | None) -> list[str]:
    """The name of each image's class; empty where no class is asked for."""
    return [] if labels is None else [pipeline.class_names[int(label)] for label in labels if label >= 0]


def future_facts(pipeline: Pipeline, future: Branch) -> FutureFacts:
    """What there is to say of what comes after a branch."""
    sampler = None if future.same_sampler else future.settings.sampler
    classes = None if future.same_condition else names_of(pipeline, future.condition.labels)
    return FutureFacts(future.step, sampler, None if future.same_noise else future.seeds, classes)


def note_of_words(pipeline: Pipeline, classes: str | None) -> list[NoteEvent]:
    """That a word of our own counts, where a class is called so."""
    counts = classes in WORDS and classes in pipeline.class_names
    note = f"ancestral: note: --classes {classes} is no name here; ={classes} is the class that is called so"
    return [NoteEvent(note)] if counts else []


def notes_of_prompts(pipeline: Pipeline, prompts: Prompts, negative: str | None) -> list[NoteEvent]:
    """That texts are longer than the network reads them; that there is none though it does."""
    if pipeline.tokenizer is None:
        return []
    if not prompts.texts:
        return [NoteEvent("ancestral: note: this network reads texts and is told none; --prompt says what to show")]
    cut = cut_in_words([*prompts.texts, *([negative] if negative else [])], pipeline.tokenizer)
    return [NoteEvent(f"ancestral: warning: {cut}")] if cut else []


def as_asked(name: str) -> str:
    """How a class is asked for."""
    return f"={name}" if name in WORDS or name.startswith("=") else name


def file_room(numbers: int) -> int:
    """Bytes of the disk that the picture of one image takes, at most: its pixels and 1 KiB of facts, in blocks of 4."""
    return -(-(numbers + 1024) // 4096) * 4096


def price(pipeline: Pipeline, settings: SamplingSettings, wanted: WantedFiles, calls: int) -> Price:
    """What generating takes, by so many network calls for an image, and writing what is wanted."""
    kept = 2 * min(settings.steps, KEPT) if wanted.arrays else 2
    count, numbers = len(wanted.seeds), math.prod(pipeline.spec.shape)
    arrays = (
        2 * 4 * count * math.prod(pipeline.latent_shape) * (min(settings.steps, KEPT - 1) + 1) if wanted.arrays else 0
    )
    disk = count * numbers + wanted.each * count * file_room(numbers) + arrays  # of pictures what they take at most
    return of_chains(pipeline, settings, count, calls, kept=kept)._replace(disk=disk)


def filmed(shape: tuple[int, int, int]) -> int:
    """Images that a film shows, at most, with x0 of this shape: x and the estimate of each are kept `KEPT` times."""
    return max(1, min(FILMED, FILM_BYTES // (2 * KEPT * 4 * math.prod(shape))))


class ShownFrames(NamedTuple):
    """Which frames a caller is shown as chains go, and what there is to say of them before the first one."""

    keep: Keep
    begun: list[FramesEvent]  # one; none where nothing is shown


NOT_SHOWN = ShownFrames(NOTHING, [])


def shown(
    pipeline: Pipeline,
    path: Iterable[tuple[int, int]],
    count: int,
    decode: Decode,
    size: tuple[int, int] | None = None,
    labels: list[str] | None = None,
) -> ShownFrames:
    """The frames of `count` images of this size along the (t, s) of `path`: of every step, or as many as there is room
    for, evenly picked."""
    steps, shape = [*path], (pipeline.spec.channels, *(size or pipeline.spec.shape[1:]))
    numbers = 2 * math.prod(shape)
    images = max(1, min(count, FRAMES_BYTES // (FEWEST_FRAMES * numbers)))
    keep = Keep(range(images), max(FEWEST_FRAMES, FRAMES_BYTES // (images * numbers)), decode=decode)
    numbered = [(number, *steps[number]) for number in sorted(keep.numbers(len(steps)))]
    moves = torch.tensor([*numbered, (len(steps), steps[-1][1], steps[-1][1])])
    level = pipeline.diffusion.schedule.level(moves[:, 1])
    columns = dict(zip(("number", "t", "s"), moves.T, strict=True))
    columns |= {"alpha": level.alpha, "sigma": level.sigma, "log_snr": level.log_snr}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    levels = [dict(zip(columns, row, strict=True)) for row in rows]
    return ShownFrames(keep, [FramesEvent(images, shape, labels and labels[:images], levels)])


class ImageFiles:
    """Image files, written one by one in `folder` as they are finished; there will be `count` of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.begun: list[Path] = []

    def write(self, pixels: UInt8[Tensor, "C H W"], file: Path, facts: dict[str, str]) -> FileEvent:
        """Writes the next one, which says `facts` of itself."""
        self.begun.append(file)  # before it is there: a signal may come right after
        pictures.save_png(as_pillow(pixels), file, facts)
        return FileEvent(file)

    def written(
        self, events: Iterator[GeneratingEvent], save: Callable[[int, Tensor], FileEvent] | None, note: str = ""
    ) -> Generator[Event, None, list[FinishedPart]]:
        """Progress along chains, and each finished image's file; the parts. An interruption tells what is there.

        Args:
            save: writes the image of a place; None: images have no file of their own.
            note: said when the first step is done: by then what was asked wrongly is found, in one line.
        """
        parts = []
        try:
            for event in events:
                match event:
                    case Advance(done, total):
                        yield from [NoteEvent(note)] * bool(note)
                        yield ProgressEvent("generating", done, total)
                        note = ""
                    case PassedFrame(number, place, (t, x_t, x_0)):
                        yield FrameEvent(number, place, t, x_t, x_0)
                    case FinishedPart(where, images):
                        parts.append(event)
                        for place, image in enumerate(images, where.start):
                            yield from [] if save is None else [save(place, image)]
        except KeyboardInterrupt as stop:
            if save is not None:
                there = [str(file) for file in self.begun if file.is_file()]
                stop.add_note(f"{len(there):,} of {self.count:,} images were written to {self.folder}")
                yield ResultEvent({"files": there, "stopped": True})
            raise
        return parts


def write(
    generated: Generated, facts: ImageFacts, labels: Labels | None, wanted: WantedFiles, decode: Decode
) -> Generator[NoteEvent | FileEvent, None, None]:
    """Writes what is wanted beside the files of single images."""
    (pixels, frames), grid, strip = generated, wanted.out / "grid.png", wanted.out / "strip.png"
    pictures.save_png(pictures.grid(pixels, labels=facts.captions()), grid, facts.of_all())
    yield FileEvent(grid)
    if wanted.strip:
        shown = pictures.pick(frames, 9)
        x_t, x0 = (torch.cat([decode(state[:1]) for state in states]) for states in _states(shown))
        rows = [("xₜ", x_t), ("estimate of x₀", x0)]
        pictures.save_png(pictures.strip(rows, [frame.t for frame in shown]), strip, facts.of(0))
        yield FileEvent(strip)
    if wanted.film is not None:
        yield from write_film(frames, len(pixels), wanted.film, decode)
    if wanted.arrays is not None:
        _write_arrays(frames, facts.seeds, labels, wanted.arrays)
        yield FileEvent(wanted.arrays)


def how_generated(pipeline: Pipeline, settings: SamplingSettings) -> dict[str, str]:
    """How images were generated, without seed and class."""
    said = {  # as one would type it
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }
    sampler = pipeline.sampler(settings)
    said["grid"] = settings.grid or sampler.grid
    if isinstance(sampler, DDIM | DPMSolver2MSDE):
        said["eta"] = str(sampler.eta)
    if isinstance(sampler, Ancestral):
        said.setdefault("variance", pipeline.config.diffusion.variance)
    if settings.guidance_by == "autoguidance" and pipeline.weaker is not None:
        said["weaker"] = pipeline.weaker.weights_hash()
    if settings.guidance_by == "classifier" and pipeline.classify is not None:
        said["classifier"] = pipeline.classify.digest
    return {**said, "weights": pipeline.weights_hash(), "software": f"ancestral {version('ancestral')}"}


def schedule_hash(pipeline: Pipeline) -> str:
    """Names the noise schedule, by 16 hexadecimal digits; in float32, since machines round formulas differently."""
    return tensors_hash({"alpha_bar": pipeline.diffusion.schedule.alpha_bar.float()})


def _period(names: list[str]) -> list[str]:
    """The shortest beginning of which all are repetitions: what --classes was given."""
    return next(names[:n] for n in range(1, len(names) + 1) if names[n:] == names[:-n])


def write_film(
    frames: list[Frame], count: int, file: Path, decode: Decode, names: tuple[str, str] = ("xₜ", "estimate of x₀")
) -> Generator[NoteEvent | FileEvent, None, None]:
    """How those of all `count` images that were kept were generated; `names` stand above states and estimates."""
    x_t, x0 = ([decode(state[:FILMED]) for state in states] for states in _states(frames))
    pictures.save_film(pictures.film(x_t, x0, [frame.t for frame in frames], names=names), file)
    if (shown := len(x_t[0])) < count:
        yield NoteEvent(f"{file} shows the first {shown} of {count} images")
    yield FileEvent(file)


def _states(frames: Sequence[Frame]) -> tuple[list[Tensor], list[Tensor]]:
    """x and the estimates of x0, frame by frame."""
    return [frame.x for frame in frames], [frame.x0 for frame in frames]


def _write_arrays(frames: list[Frame], seeds: range, labels: Labels | None, file: Path) -> None:
    """t (K,), x_t and x_0 (K, B, c, h, w) float32 as they are diffused, seeds (B,), labels (B,) if there are any."""
    content, (x_t, x0) = io.BytesIO(), _states(frames)
    arrays: dict[str, Any] = {"t": np.array([frame.t for frame in frames]), "seeds": np.array(seeds)}
    arrays |= {"x_t": torch.stack(x_t).numpy(), "x_0": torch.stack(x0).numpy()}
    arrays |= {} if labels is None else {"labels": labels.numpy()}
    np.savez(content, **arrays)
    write_whole(file, content.getvalue())
