"""`sample`: images from noise, and files that show them and how they were generated."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ancestral.errors import InputError
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.jobs.guides import attach
from ancestral.jobs.repeating import ImageRecipe, compared, recipe
from ancestral.jobs.settings import PictureSettings, Typed, folder_typed, seeds_from
from ancestral.outputs import claim, file_named
from ancestral.settings import NumImages, SamplingSettings, Seed, sampling_with

if TYPE_CHECKING:
    from torch import Tensor

    from ancestral.jobs.generated import GeneratedImages, WantedFiles
    from ancestral.pipeline import Pipeline
    from ancestral.tensors import Labels


class SampleSettings(PictureSettings):
    """What `sample` is asked."""

    num_images: Annotated[NumImages | None, Typed("N", usual="16")] = None
    """how many"""
    seed: Annotated[Seed | None, Typed("INT", usual="0")] = None
    """seed of the first image"""
    classes: Annotated[str | None, Typed("LIST", usual="all")] = None
    """names or numbers with commas between, all, or none; =none is a class that is called none"""
    from_file: Annotated[Path | None, Typed("FILE", option="from")] = None
    """generate again what this PNG file shows, by what it says of itself; settings that are given count instead"""
    out: Annotated[
        Path | None,
        Typed("DIR", usual="RUN/drawn, or RUN/drawn-again with --from; for a mere pipeline ./drawn", read=folder_typed),
    ] = None
    """where grid.png goes"""
    each: bool = False
    """also every image as a PNG file of its own"""
    strip: bool = False
    """how the first image was generated, as strip.png"""
    arrays: Annotated[Path | None, Typed("FILE", read=lambda word, option: file_named(word, option, (".npz",)))] = None
    """x_t and the x0 estimate at up to 50 timesteps, as .npz"""

    def again(self) -> ImageRecipe | None:
        """What --from names.

        Raises:
            InputError: the file tells no recipe, or seeds and classes were given beside it.
        """
        if self.from_file is None:
            return None
        for name in ("seed", "num_images", "classes"):
            if getattr(self, name) is not None:
                option = name.replace("_", "-")
                raise InputError(f"expected no --{option} with --from, whose file says it; leave one out")
        return recipe(self.from_file)

    @property
    def seeds(self) -> range:
        """Of the images, where no file says them."""
        return seeds_from(self.seed or 0, 16 if self.num_images is None else self.num_images)


def sample(asked: SampleSettings) -> Generator[Event, None, None]:
    """Generates images; several processes share the work, and the main one writes the files.

    Raises:
        InputError: something that does not fit the pipeline, or files of others where these would go.
        CannotWrite: a file cannot be written.
    """
    again = asked.again()
    changes, seeds = asked.changes(again.settings if again else None), again.seeds if again else asked.seeds
    asked.check_film()
    from ancestral.colors import check_channels
    from ancestral.jobs.generated import WantedFiles, how_generated, labels_for, note_of_words, price
    from ancestral.jobs.running import allow, check_asked, together
    from ancestral.pipeline import Pipeline

    each = asked.each or (again is not None and len(seeds) == 1)
    folder = asked.folder("drawn-again" if again else "drawn")
    wanted = WantedFiles(folder, seeds, each, asked.strip, asked.film, asked.arrays)
    claim(wanted.outputs(), asked.overwrite, [again.file] if again else [])
    with together(asked.device) as (device, processes, notes):
        yield from notes
        pipeline = Pipeline.load(asked.run, device, asked.compute, asked.null_class)
        check_channels(pipeline.spec.channels)
        pipeline = pipeline.with_processes(processes)
        settings = sampling_with(pipeline.config.sampling, changes, "command line")
        pipeline = attach(pipeline, asked.guides, settings, asked.run)
        if again:
            again.check(how_generated(pipeline, settings), pipeline.class_names)
        takes = price(pipeline, settings, wanted)
        takes = allow(takes, asked.yes, device, processes, wanted.fullest, "lower --num-images or --steps")
        classes = again.classes if again else asked.classes
        yield from note_of_words(pipeline, classes)
        labels = labels_for(pipeline, classes, len(seeds))
        check_asked(pipeline, labels, settings)
        yield NoteEvent(f"{len(seeds):,} images: {takes.words}")
        generated = yield from _generated(pipeline, labels, settings, wanted)
    if processes.is_main:
        yield from _written(generated, wanted)
        if again and len(seeds) == 1:
            yield NoteEvent(compared(again.file, generated.pixels))
        files = [str(file) for file in wanted.files]
        yield ResultEvent({"files": files, "seeds": [*seeds], "price": takes.as_tree()})


def _generated(
    pipeline: "Pipeline", labels: "Labels | None", settings: SamplingSettings, wanted: "WantedFiles"
) -> Generator[Event, None, "GeneratedImages"]:
    """One image for each seed, and by the main process its file, where that is wanted."""
    from ancestral.jobs import generated
    from ancestral.pipeline.generate import Keep, collected

    seeds, facts = wanted.seeds, generated.how_generated(pipeline, settings)
    shown = len(seeds) if wanted.arrays else generated.filmed(pipeline.spec.shape) if wanted.film else 1
    classes = [] if labels is None else [pipeline.class_names[int(label)] for label in labels]
    keep, files = Keep(range(min(shown, len(seeds))), generated.KEPT), generated.ImageFiles(wanted.out, len(seeds))

    def save(place: int, image: "Tensor") -> FileEvent:
        return files.write(image, wanted.one(seeds[place]), generated.facts_of(place, seeds, classes, facts))

    chains = pipeline.generating(seeds, labels, settings, keep)
    parts = yield from generated.run_chains(chains, save if wanted.each and pipeline.processes.is_main else None, files)
    images, frames = collected(parts, keep)
    return generated.GeneratedImages(frames, images, seeds, classes, labels, facts)


def _written(generated: "GeneratedImages", wanted: "WantedFiles") -> Generator[Event, None, None]:
    """The files that show several images, or the way."""
    from ancestral.jobs.generated import filmed, write

    count, shown = len(wanted.seeds), filmed(generated.shape)
    if wanted.film and shown < count:
        yield NoteEvent(f"{wanted.film} shows the first {shown} of {count} images")
    yield from map(FileEvent, write(generated, wanted))
