"""`sample`: images from noise, and files that show them and how they were generated."""

from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ancestral.errors import InputError
from ancestral.jobs.branch import BranchSettings
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.jobs.guides import prepared
from ancestral.jobs.repeating import ImageRecipe, compared, recipe
from ancestral.jobs.settings import Changes, PictureSettings, Typed, folder_typed, seeds_from
from ancestral.machine import loading
from ancestral.outputs import claim, file_named
from ancestral.settings import NumImages, Seed, read_settings

if TYPE_CHECKING:
    from torch import Tensor

    from ancestral.jobs.running import Load
    from ancestral.sampling.loop import Chain

FOLDERS = "RUN/generated, or RUN/generated-again with --from; for a mere pipeline ./generated"


class SampleSettings(PictureSettings, BranchSettings):
    """What `sample` is asked."""

    num_images: Annotated[NumImages | None, Typed("N", usual="16")] = None
    """how many; the usual number is that of the prompts where these are more"""
    seed: Annotated[Seed | None, Typed("INT", usual="0")] = None
    """seed of the first image"""
    classes: Annotated[str | None, Typed("LIST", usual="all")] = None
    """names or numbers with commas between, all, or none; =none is a class that is called none"""
    attributes: Annotated[str | None, Typed("LIST")] = None
    """numbers by name, age=0.3,smiling=1, of all images; what is left out is not told"""
    schedule: Annotated[Path | None, Typed("FILE", usual="its own")] = None
    """noise schedule, diffusion.schedule of a settings file, for a network that is told the log-SNR"""
    from_file: Annotated[Path | None, Typed("FILE", option="from")] = None
    """generate again what this PNG file shows, by what it says of itself; settings that are given count instead"""
    out: Annotated[Path | None, Typed("DIR", usual=FOLDERS, read=folder_typed)] = None
    """where grid.png goes"""
    each: bool = False
    """also every image as a PNG file of its own"""
    strip: bool = False
    """how the first image was generated, as strip.png"""
    arrays: Annotated[Path | None, Typed("FILE", read=lambda word, option: file_named(word, option, (".npz",)))] = None
    """x_t and the x0 estimate at up to 50 timesteps, as .npz"""

    def again(self) -> ImageRecipe | None:
        """What --from names, beside which no seeds, classes, attributes or prompts are given."""
        if self.from_file is None:
            return None
        for name in ("seed", "num_images", "classes", "attributes", "prompt", "prompts", "blend", "between"):
            if getattr(self, name) not in (None, (), False):
                option = name.replace("_", "-")
                raise InputError(f"expected no --{option} with --from, whose file says it; leave one out")
        return recipe(self.from_file)


def schedule_in(file: Path) -> Changes:
    """The settings of the noise schedule in a settings file."""
    found = read_settings(file).get("diffusion", {})
    if not isinstance(found, dict) or not isinstance(found.get("schedule"), dict):
        raise InputError(f"expected diffusion.schedule in {file}, got none; `ancestral studio` exports such a file")
    schedule: Changes = found["schedule"]
    return schedule


def sample(asked: SampleSettings, load: "Load | None" = None, show: bool = False) -> Generator[Event, None, None]:
    """Generates images; several processes share the work, and the main one writes the files. `load` is called in place
    of `Pipeline.load`; `show`: frames are among the events."""
    again, branches = asked.again(), asked.branch is not None
    if again:
        before = {name: value for name, value in again.branch if getattr(asked, name) is None}
        asked = asked.model_copy(update=before)
    changes = asked.changes(again.settings if again else None)
    prompts = again.prompts if again else asked.asked_in_words
    in_turn = 0 if prompts.blend or prompts.between else len(prompts.texts)
    seeds = again.seeds if again else seeds_from(asked.seed or 0, asked.num_images or max(16, in_turn))
    prompts.of_each(len(seeds))
    asked.check_film()
    asked.check_branch()
    schedule = {} if asked.schedule is None else schedule_in(asked.schedule)
    with loading():
        from ancestral.jobs import generated
        from ancestral.jobs.running import allow, check_asked, together
        from ancestral.pipeline import Pipeline
        from ancestral.pipeline.generate import Keep, collected

    each = asked.each or (again is not None and len(seeds) == 1)
    folder = asked.folder("generated-again" if again else "generated")
    wanted = generated.WantedFiles(folder, seeds, each, asked.strip, asked.film, asked.arrays)
    claim(wanted.outputs(), asked.overwrite, [again.file] if again else [])
    with together(asked.device) as (device, processes, notes):
        yield from notes
        pipeline = (load or Pipeline.load)(asked.run, device, asked.compute, asked.null_class)
        if asked.schedule is not None:
            pipeline = pipeline.with_schedule(schedule, str(asked.schedule))
        pipeline = pipeline.with_processes(processes)
        pipeline, settings = prepared(pipeline, asked, changes, asked.run)
        how = generated.how_generated(pipeline, settings)
        if asked.schedule is not None:
            how["schedule"] = generated.schedule_hash(pipeline)
        if again:
            again.check(how, pipeline.class_names)
        fullest = folder if asked.arrays is None else asked.arrays.parent  # of the largest file
        calls = max(pipeline.sampler(each).network_calls(settings.steps) for each in (settings, asked.after(settings)))
        price = generated.price(pipeline, settings, wanted, calls)
        price = allow(price, asked.yes, device, processes, fullest, "lower --num-images or --steps")
        classes, attributes = (again or asked).classes, (again or asked).attributes
        how |= {} if attributes is None else {"attributes": attributes}
        yield from generated.note_of_words(pipeline, classes)
        condition = generated.condition_for(pipeline, classes, len(seeds), attributes, prompts)
        yield from generated.notes_of_prompts(pipeline, prompts, settings.negative)
        check_asked(pipeline, condition, settings)
        then = condition
        if asked.then_classes is not None:
            then = generated.condition_for(pipeline, asked.then_classes, len(seeds), attributes, prompts)
            check_asked(pipeline, then, settings)
        future = asked.future(pipeline, settings, seeds, then)
        yield NoteEvent(f"{'1 image' if len(seeds) == 1 else f'{len(seeds):,} images'}: {price.words}")
        kept = len(seeds) if wanted.arrays else generated.filmed(pipeline.latent_shape) if wanted.film else 1
        keep, files = Keep(range(min(kept, len(seeds))), generated.KEPT), generated.ImageFiles(folder, len(seeds))
        labels = condition.labels
        facts = generated.ImageFacts(seeds, generated.names_of(pipeline, labels), how, prompts)
        if future is not None:
            facts = facts._replace(then=generated.future_facts(pipeline, future))

        def save(place: int, image: "Tensor") -> FileEvent:
            return files.write(image, folder / f"seed-{seeds[place]}.png", facts.of(place))

        def becomes(chain: "Chain", part: slice) -> "Chain":
            return chain if future is None else future.chain(pipeline, chain, part)

        shown = generated.NOT_SHOWN
        if show:
            path = pairwise(pipeline.timesteps(settings).tolist())
            shown = generated.shown(pipeline, path, len(seeds), pipeline.decode, labels=facts.captions())
        yield from shown.begun
        chains = pipeline.generating(seeds, condition, settings, keep, show=shown.keep, becomes=becomes)
        parts = yield from files.written(chains, save if each and processes.is_main else None)
        images = collected(parts, keep)
    if processes.is_main:
        yield from generated.write(images, facts, labels, wanted, pipeline.decode)
        if again and len(seeds) == 1 and not branches:
            yield NoteEvent(compared(again.file, images.images))
        paths = [str(output.path) for output in wanted.outputs()]
        yield ResultEvent({"files": paths, "seeds": [*seeds], "price": price.as_tree()})
