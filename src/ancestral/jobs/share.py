"""`share`: a model as one HTML file that generates in a browser (docs/share.md)."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ancestral.errors import InputError
from ancestral.evaluation.settings import SAMPLERS
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.jobs.measurement_settings import known
from ancestral.jobs.settings import RUN, Changes, RunOrModel, Typed, WritingSettings, whole_typed
from ancestral.machine import loading
from ancestral.outputs import SHARED, Output, claim, file_named
from ancestral.settings import MOST_CLASS_EMBEDS, NumTimesteps, SamplingSettings, sampling_with
from ancestral.text import size_in_words

OFFERED = ("ddim", "ancestral", "dpm++2m", "dpm++2m-sde", "heun", "unipc-2")
OF_SAMPLER = ("eta", "variance", "grid")  # settings that belong to the sampler that they were asked with
STEP_COUNTS = (5, 10, 20, 50)
MOST_IMAGES = 64
MOST_WORDS = 500  # letters


def _file(word: str, option: str) -> Path | None:
    return file_named(word or None, option, [".html"])


def _samplers(words: list[str], option: str) -> tuple[str, ...]:
    return SAMPLERS if words == ["all"] else tuple(known(SAMPLERS, words, option))


class ShareSettings(WritingSettings):
    """What `share` is asked."""

    run: Annotated[RunOrModel, RUN]
    """folder of a run or a pipeline, or the name of a model that comes along"""
    out: Annotated[Path | None, Typed("FILE", usual="RUN/share.html, or ./share.html", read=_file)] = None
    """the page, .html"""
    weights: Annotated[Literal[32, 16, 8], Typed(read=whole_typed)] = 16
    """bits of a weight in the file; all are computed with in 32"""
    samplers: Annotated[tuple[str, ...], Typed("NAME", usual=" ".join(OFFERED), read=_samplers)] = OFFERED
    """what the page offers beside the sampler that is the run's own; all: every one"""
    step_counts: Annotated[tuple[NumTimesteps, ...], Typed("N")] = STEP_COUNTS
    """by how many steps each of them"""
    num_images: Annotated[
        Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None, Typed("N", usual="as many as take seconds")
    ] = None
    """how many images the page generates at first"""
    prompt: Annotated[tuple[str, ...], Typed("TEXT", repeated=True)] = ()
    """what the page shows at first, of a network that reads texts; several times: in turn"""
    name: Annotated[
        str | None,
        Typed("TEXT", usual="the folder's name"),
        StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_WORDS),
    ] = None
    """the page's title"""
    words: Annotated[str, Typed("TEXT", usual="none"), Field(max_length=MOST_WORDS)] = ""
    """what the page says of the model beneath its title"""
    null_class: Annotated[Annotated[int, Field(ge=0, le=MOST_CLASS_EMBEDS - 1)] | None, Typed("N")] = None
    """index of the class that stands for no class, in a folder that diffusers wrote, which does not say"""
    sampling: Annotated[Changes, Field(default_factory=dict)]
    """How the page generates when it is opened, where it is not as the pipeline says."""


def share(asked: ShareSettings) -> Generator[Event, None, None]:
    """Writes the page."""
    with loading():
        from ancestral.jobs.running import check_asked
        from ancestral.pipeline import Pipeline
        from ancestral.sampling.plan import check_plannable
        from ancestral.share.page import Sharing, check_shareable, page
    pipeline = Pipeline.load(asked.run, "cpu", null_class=asked.null_class)
    check_shareable(pipeline)
    usual = sampling_with(pipeline.config.sampling, asked.sampling, "command line")
    num_timesteps = pipeline.diffusion.schedule.num_timesteps
    check_plannable(usual)
    check_asked(pipeline, pipeline.in_turn(1), usual)
    if asked.prompt and pipeline.tokenizer is None:
        raise InputError(f"expected no --prompt, got {asked.prompt[0]!r}: this network reads no texts; leave it out")
    place = asked.out or (asked.run if (asked.run / "pipeline").is_dir() else Path()) / "share.html"
    claim([Output(place, SHARED)], asked.overwrite)
    if "step_counts" in asked.model_fields_set and (most := max(asked.step_counts)) > num_timesteps:
        raise InputError(f"expected --step-counts of at most {num_timesteps}, the model's timesteps, got {most}")
    offered = [each for each in _offered(asked, pipeline.config.sampling, usual) if each.steps <= num_timesteps]
    name = asked.name or asked.run.resolve().name
    plans = list(dict.fromkeys([usual, *offered]))
    sharing = Sharing(name, plans, asked.weights, asked.prompt, asked.words, asked.num_images, asked.sampling)
    text = yield from page(pipeline, sharing)
    write_whole(place, text)
    yield FileEvent(place)
    size = place.stat().st_size
    yield NoteEvent(f"{size_in_words(size)}, weights in {asked.weights} bits; open it in a browser, or send it")
    yield ResultEvent({"files": [str(place)], "bytes": [size]})


def _offered(asked: ShareSettings, own: SamplingSettings, usual: SamplingSettings) -> Iterator[SamplingSettings]:
    """How else the page can generate: as the run with another sampler, by so many steps, under what was asked."""
    for sampler in (usual.sampler, *asked.samplers):
        kept = {
            name: value for name, value in asked.sampling.items() if sampler == usual.sampler or name not in OF_SAMPLER
        }
        for steps in asked.step_counts:
            yield sampling_with(own, kept | {"sampler": sampler, "steps": steps}, "command line")
