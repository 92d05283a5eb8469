"""What the jobs are asked that check, pack and show images, schedules and runs. Imports no torch."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.settings import Changes, RunOrModel, Typed, WritingSettings
from ancestral.names import SAME, meant, spelled
from ancestral.outputs import file_named
from ancestral.settings import (
    MOST_IMAGES,
    DataSettings,
    DiffusionSettings,
    NumImages,
    NumTimesteps,
    ScheduleSettings,
    Seed,
    Settings,
    choices,
    parse,
)

SCHEDULES = tuple(name for name in choices(DiffusionSettings.model_fields["schedule"]) if name != "betas")
PHOTO_SIZE = 64  # Of the photograph that `show forward` shows unless told otherwise
PNG_FILE = Typed("FILE", read=partial(file_named, suffixes=(".png",)))
HTML_FILE = Typed("FILE", read=partial(file_named, suffixes=(".html", ".htm")))


class ImagesSettings(Settings):
    """What every job is asked that reads images which no run names."""

    no_flags: ClassVar[tuple[str, ...]] = ("source",)  # settings of the images that are no flag
    source: Annotated[str, Typed("FOLDER", nargs=1)]
    """a folder of images, or the name of a data set"""
    images: Annotated[Changes, Field(default_factory=dict)]
    """How images are read, where it is not as usual."""

    @property
    def data(self) -> DataSettings:
        return parse(DataSettings, {"source": self.source, **self.images}, "command line")


class CheckSettings(ImagesSettings, WritingSettings):
    sheet: Annotated[Path | None, PNG_FILE] = None
    """write some of the images as the network will see them, a .png"""
    page: Annotated[Path | None, HTML_FILE] = None
    """write all of the report as one page with pictures, an .html"""
    measure: bool = False
    """time training steps with --json too"""
    no_measure: bool = False
    """time no training steps"""
    device: Annotated[Literal["cpu", "cuda"] | None, Typed(usual="cuda where there is one")] = None
    """where to time them"""


class PackSettings(ImagesSettings):
    no_flags = ("source", "flip", "validation", "test")  # decided when what is packed is trained on
    source: Annotated[str, Typed("SOURCE", nargs=1)]
    """a folder of images, or the name of a data set"""
    dest: Annotated[str, Typed("DEST", nargs=1)]
    """an empty folder, or a URL that fsspec knows"""
    shard_images: Annotated[NumImages | None, Typed("INT", usual="4096, or what fits into 64 MiB")] = None
    """images a shard"""


def schedules_named(words: list[str], option: str) -> tuple[str, ...]:
    """The schedules that the words spell."""
    found = tuple(spelled(word, SCHEDULES, SAME["name"]) for word in words)
    for word, name in zip(words, found, strict=True):
        if name not in SCHEDULES:
            raise InputError(f"expected the name of a schedule, got {word!r}; {meant(word, SCHEDULES)}")
    return found


class SchedulesSettings(WritingSettings):
    schedules: Annotated[tuple[str, ...], Typed("NAME", read=schedules_named)] = ("linear", "cosine")
    """names of schedules"""
    timesteps: Annotated[NumTimesteps, Typed("T")] = 1000
    """T, the number of noising steps"""

    @property
    def settings(self) -> list[ScheduleSettings]:
        names = self.schedules or ("linear", "cosine")
        named = [{"schedule": {"name": name, "num_timesteps": self.timesteps}, "prediction": "v"} for name in names]
        return [parse(DiffusionSettings, each, "command line").schedule for each in named]


class ShowScheduleSettings(SchedulesSettings):
    """What `show schedule` is asked; it makes a picture where `out` is given."""

    schedules: Annotated[
        tuple[str, ...],
        Typed("NAME", nargs="*", read=schedules_named),
        Field(description=f"out of {', '.join(SCHEDULES)} [linear cosine]"),
    ] = ()
    out: Annotated[Path | None, replace(PNG_FILE, usual="schedule.png")] = None
    """where the picture goes"""


class ShowForwardSettings(SchedulesSettings, ImagesSettings):
    source: Annotated[str, Typed("DATASET_OR_FOLDER", nargs="?")] = ""
    """what to show [photos]"""
    image: Annotated[Annotated[int, Field(ge=0, le=MOST_IMAGES)], Typed("N")] = 0
    """which training image, from 0"""
    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of the noise"""
    out: Annotated[Path, PNG_FILE] = Path("forward.png")
    """where the picture goes"""

    @property
    def data(self) -> DataSettings:
        """The settings of the images; photographs are shown larger than they are trained on."""
        usual = {} if self.source else {"source": "photos", "size": PHOTO_SIZE}
        return parse(DataSettings, {"source": self.source, **usual, **self.images}, "command line")


class ShowDataSettings(ImagesSettings, WritingSettings):
    source: Annotated[str, Typed("DATASET_OR_FOLDER", nargs="?")] = "digits"
    """what to show [digits]"""
    num_images: Annotated[NumImages, Typed("N")] = 64
    """how many, at most"""
    out: Annotated[Path, PNG_FILE] = Path("data.png")
    """where the picture goes"""


class ReportSettings(WritingSettings):
    run: Annotated[RunOrModel, Typed("RUN", nargs=1)]
    """folder of a run"""
    out: Annotated[Path | None, replace(HTML_FILE, usual="RUN/report.html")] = None
    """where the page goes"""
