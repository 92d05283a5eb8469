"""`export`: a model as files for other programs, which hold all that generating takes (docs/onnx.md)."""

from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ancestral.errors import InputError
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ResultEvent
from ancestral.jobs.settings import RUN, Changes, RunOrModel, Typed, WritingSettings, whole_typed
from ancestral.jobs.target import path_typed
from ancestral.machine import loading
from ancestral.outputs import EXPORTED, Output, claim, folder_named
from ancestral.settings import MOST_CLASS_EMBEDS, sampling_with
from ancestral.text import size_in_words

PLACES = "RUN/model.onnx, or RUN/onnx; for a mere pipeline ./model.onnx or ./onnx"


class ExportSettings(WritingSettings):
    """What `export` is asked."""

    run: Annotated[RunOrModel, RUN]
    """folder of a run or a pipeline, or the name of a model that comes along"""
    onnx: Annotated[Path | None, Typed("FILE_OR_FOLDER", bare=True, usual=PLACES, read=path_typed)]
    """as ONNX: a file, or with text or latents a folder of two or three"""
    weights: Annotated[Literal[32, 16, 8], Typed(read=whole_typed)] = 32
    """bits of a weight in the file; all are computed with in 32"""
    null_class: Annotated[Annotated[int, Field(ge=0, le=MOST_CLASS_EMBEDS - 1)] | None, Typed("N")] = None
    """index of the class that stands for no class, in a folder that diffusers wrote, which does not say"""
    sampling: Annotated[Changes, Field(default_factory=dict)]
    """How to generate, where it is not as the pipeline says."""


def export(asked: ExportSettings) -> Generator[Event, None, None]:
    """Writes the files, model.onnx last."""
    if find_spec("onnx") is None:
        raise InputError("expected onnx to be installed; run: pip install 'ancestral[onnxruntime]'")
    with loading():
        from ancestral.jobs.running import check_asked
        from ancestral.pipeline import Pipeline
        from ancestral.pipeline.exporting import exported, files_of
        from ancestral.sampling.plan import check_plannable
    pipeline = Pipeline.load(asked.run, "cpu", null_class=asked.null_class)
    settings = sampling_with(pipeline.config.sampling, asked.sampling, "command line")
    names = files_of(pipeline)
    check_plannable(settings)
    check_asked(pipeline, pipeline.in_turn(1), settings)
    places = {name: _place(asked, name, len(names) > 1) for name in names}
    room = 5 * sum(each.numel() for each in pipeline.network.parameters())
    claim([Output(place, EXPORTED) for place in places.values()], asked.overwrite, room=room)
    for name, content in exported(pipeline, settings, asked.weights).items():
        write_whole(places[name], content)
        yield FileEvent(places[name])
    sizes = [place.stat().st_size for place in places.values()]
    yield NoteEvent(f"{size_in_words(sum(sizes))}, weights in {asked.weights} bits")
    yield ResultEvent({"files": [str(place) for place in places.values()], "bytes": sizes})


def _place(asked: ExportSettings, name: str, several: bool) -> Path:
    """Where a file goes."""
    own = asked.run if (asked.run / "pipeline").is_dir() else Path()
    place = asked.onnx or own / ("onnx" if several else name)
    if place.suffix.lower() != ".onnx":
        return folder_named(str(place), "--onnx") / name
    if several and asked.onnx is not None:
        raise InputError(f"expected a folder for --onnx, got {str(place)!r}: text and latents take files beside it")
    return place
