"""What each kind of job is asked by the page, within bounds, as the settings of a job. Imports no torch."""

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.data_settings import CheckSettings, ReportSettings
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.explain_settings import STEPS, StepSettings
from ancestral.jobs.export import ExportSettings
from ancestral.jobs.measurement_settings import EvaluateSettings, LikelihoodJobSettings, SweepJobSettings
from ancestral.jobs.sample import SampleSettings
from ancestral.jobs.settings import GeneratingSettings, PictureSettings
from ancestral.jobs.share import ShareSettings
from ancestral.jobs.target import stored_sampling
from ancestral.jobs.words import command
from ancestral.models import models
from ancestral.names import meant
from ancestral.settings import SamplingSettings, Settings, parse, sampling_with
from ancestral.web.library import Library
from ancestral.web.new_runs import Schedules
from ancestral.web.uploads import Uploads

FILE_NAME = re.compile("[a-z0-9-]{1,40}[.][a-z0-9]{1,5}")
FRAMES = "frames"  # the file of a job's frames
MOST_STEPS, MOST_IMAGES, MOST_SIDE, MOST_ROUNDS = 1000, 256, 1024, 100


class JobKind(NamedTuple):
    """A kind of job: its verb, its settings, by task where it has some, and the function that does it."""

    verb: str
    settings: type[Settings] | dict[str, type[Settings]]
    function: str
    loads: bool = False  # whether it is given what loads pipelines
    shows: bool = False  # whether it is asked for frames
    is_measurement: bool = True  # done beside those that are not, and stopped in the middle of a step

    def settings_of(self, task: str | None) -> type[Settings]:
        """The class of its settings; of `edit` that of the task."""
        if not isinstance(self.settings, dict):
            return self.settings
        if task not in self.settings:
            raise InputError(f"expected a task, got {task!r}; {meant(str(task), self.settings)}")
        return self.settings[task]


KINDS = {
    "sample": JobKind("sample", SampleSettings, "ancestral.jobs.sample.sample", True, True, False),
    "edit": JobKind("edit", {**TASKS}, "ancestral.jobs.edit.edit", True, True, False),
    "explain": JobKind("show", {**STEPS}, "ancestral.jobs.explain.explain", True, False, False),
    "evaluate": JobKind("evaluate", EvaluateSettings, "ancestral.jobs.evaluate.evaluate", True),
    "likelihood": JobKind("likelihood", LikelihoodJobSettings, "ancestral.jobs.likelihood.likelihood", True),
    "sweep": JobKind("sweep", SweepJobSettings, "ancestral.jobs.sweep.sweep", True),
    "report": JobKind("report", ReportSettings, "ancestral.jobs.report.report"),
    "share": JobKind("share", ShareSettings, "ancestral.jobs.share.share"),
    "export": JobKind("export", ExportSettings, "ancestral.jobs.export.export"),
    "check": JobKind("data check", CheckSettings, "ancestral.jobs.check_data.check_and_recommend"),
}
UPLOADED = ("images", "mask", "image")
"""Fields of files that are named by what was uploaded; of others no place is named."""
WRITTEN = ("film", "arrays")
"""Fields of files that are named, and written into the job's own folder."""


class AskedJob(Settings):
    """A job as the page asks for it: files by the ids of uploads, other folders by the ids of runs and data."""

    kind: str
    run: str | None = None
    view: Annotated[str, Field(max_length=64)] = ""
    replace: bool = False
    """stop the same view's earlier job of this kind"""
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]

    def order(self, library: Library, uploads: Uploads) -> "JobOrder":
        """What is to be done, checked as far as can be told without torch."""
        if self.kind not in KINDS:
            raise InputError(f"expected a kind of job, got {self.kind!r}; {meant(self.kind, KINDS)}")
        kind, values = KINDS[self.kind], dict(self.settings)
        task = values.pop("task", None) if isinstance(kind.settings, dict) else None
        settings = kind.settings_of(task)
        values = {name: self._value(name, value, settings, library, uploads) for name, value in values.items()}
        if "run" in settings.model_fields:
            if self.run is None:
                raise InputError(f"expected a run to {self.kind}, got none; choose one")
            values["run"] = library.run(self.run).resolve()
        elif "source" in settings.model_fields:
            values["source"] = str(library.data_folder(str(values.pop("data", ""))).resolve())
        asked = parse(settings, values, self.kind)
        check(asked)
        own = {"out": Path("images"), **({"each": True} if self.kind == "sample" else {})}
        done = asked.model_copy(update=own) if isinstance(asked, PictureSettings | StepSettings) else asked
        verb = " ".join(filter(None, [kind.verb, task]))
        return JobOrder(self.kind, task, done, command(verb, seen_from_here(without_uploads(asked))))

    def _value(self, name: str, value: Any, kind: type[Settings], library: Library, uploads: Uploads) -> Any:
        """A setting's value, with the files and folders that it names by ids."""
        field = kind.model_fields.get(name)
        if field is None or value is None or not names_files(field.annotation):
            return value
        if name in UPLOADED:
            return [uploads.file(str(each)) for each in value] if isinstance(value, list) else uploads.file(str(value))
        if name == "schedule":
            return Schedules(library.folder).file(str(value)).resolve()
        if name == "weaker":
            return library.run(str(value)).resolve()
        if name in WRITTEN and FILE_NAME.fullmatch(str(value)):
            return value
        raise InputError(f"expected no {name} from this page, got {value!r}; use the command line")


class JobOrder(NamedTuple):
    """What is to be done: the settings of a job, its relative places in a folder of the job's own, and the command that
    does the same."""

    kind: str
    task: str | None
    settings: Settings
    command: str


def names_files(kind: Any) -> bool:
    """Whether a field's values are paths."""
    return kind is Path or any(map(names_files, get_args(kind)))


def check(asked: Settings) -> None:
    """What only a whole says of its parts, and this page's bounds."""
    if isinstance(asked, PictureSettings):
        for name, most in (("num_images", MOST_IMAGES), ("points", MOST_IMAGES), ("rounds", MOST_ROUNDS)):
            _at_most(most, name, getattr(asked, name, None) or 0)
        _at_most(MOST_SIDE, "sides", max([0, *(getattr(asked, "size", None) or ()), *getattr(asked, "margins", ())]))
        _at_most(MOST_IMAGES, "images", len(getattr(asked, "images", ())) * (getattr(asked, "num_images", None) or 1))
        _ = asked.asked_in_words
        asked.check_film()
    changes = asked.changes() if isinstance(asked, GeneratingSettings) else getattr(asked, "sampling", None)
    if changes is not None:
        usual = stored_sampling(Path(asked.model_dump()["run"])) or SamplingSettings()
        _at_most(MOST_STEPS, "steps", sampling_with(usual, changes, "settings").steps)


def _at_most(most: int, name: str, value: int) -> None:
    if value > most:
        raise InputError(f"expected at most {most:,} for {name} on this page, got {value:,}; a command line takes more")


def without_uploads(asked: Settings) -> Settings:
    """The same settings with names that say what each file is, in place of where the studio keeps what was sent."""

    def named(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(Path(f"image-{i}.png" if value[1:] else "image.png") for i, _ in enumerate(value, 1))
        return Path(f"{name}.png") if isinstance(value, Path) else value  # a number of images

    uploaded = asked.model_fields_set.intersection(UPLOADED)
    return asked.model_copy(update={name: named(name, getattr(asked, name)) for name in uploaded})


def seen_from_here(asked: Settings) -> Settings:
    """The same settings, with places below the folder that the studio was started in named from there."""
    here, known = Path.cwd(), {*models().values()}

    def named(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(named, value))
        below = isinstance(value, Path) and value not in known and value.is_relative_to(here)
        return value.relative_to(here) if below else value

    return asked.model_copy(update={name: named(getattr(asked, name)) for name in asked.model_fields_set})
