"""What the page asks to be trained, as the settings of the job `train`; no request names a place on the disk."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ancestral.errors import InputError
from ancestral.files import write_whole
from ancestral.folders import kind_of
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.sample import schedule_in
from ancestral.jobs.target import TrainSettings
from ancestral.names import meant
from ancestral.presets import PRESETS
from ancestral.settings import DiffusionSettings, PositiveFloat, PositiveInt, Settings, flat, parse, read_settings
from ancestral.settings.data import DATA_SETS
from ancestral.web.library import Found, Library, UnknownId
from ancestral.web.summaries import settings_file, summary

SCHEDULES = "schedules"  # in the studio's folder
VERBS = {"run": "train", "autoencoder": "train-codec"}
"""What trains each kind of run."""


def _plain(name: str) -> str:
    if not re.fullmatch("[a-z0-9-]{1,64}", name):
        raise ValueError(f"expected 1 to 64 of the letters a to z, digits and hyphens, got {name!r}; choose another")
    return name


Name = Annotated[str, AfterValidator(_plain)]


class NewRun(Settings):
    """A network is to be trained: on a data folder, by a preset, or by a preset on a data folder; `like`: with the
    settings of a run in place of a preset's."""

    name: Name
    data: str | None = None
    preset: str | None = None
    like: str | None = None
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    schedule: str | None = None
    yes: bool = False

    def job(self, library: Library, out: Path) -> TrainSettings:
        """The settings of the job, its faults told."""
        check_names_no_place(self.settings)
        if self.name == SCHEDULES:
            raise InputError(f"expected another name than {SCHEDULES}, where noise schedules are kept; choose one")
        settings = dict(self.settings)
        data = None if self.data is None else library.data_folder(self.data)
        if self.preset is not None and self.preset not in PRESETS:
            raise InputError(f"expected a preset, got {self.preset!r}; {meant(self.preset, PRESETS)}")
        file = None if self.like is None else settings_file(library.found(self.like))
        if data is not None and (self.preset is not None or file is not None):
            settings = laid(settings, "data", {"source": str(data)})
        if self.schedule is not None:
            stored = Schedules(library.folder).read(self.schedule)
            settings = laid(settings, "diffusion", {"schedule": stored})
        target = self.preset or (None if file else data and str(data))
        asked = {"target": target, "config": file, "settings": settings, "out": out, "yes": self.yes}
        job = parse(TrainSettings, asked, self.name)
        if data is None or kind_of(data) != "packed data set":  # whose index asks for torch
            _ = job.plan
        return job


class Budget(Settings):
    """How long a run is to be trained, from its beginning; the first limit that is reached counts."""

    minutes: PositiveFloat | None = None
    images: PositiveInt | None = None
    steps: PositiveInt | None = None


class Continued(Settings):
    """A run is to go on, with the budget that it has or another."""

    budget: Budget | None = None

    def job(self, found: Found) -> TrainSettings | TrainCodecSettings:
        """The settings of the job. The rate of learning may rise again where it fell over the smaller budget."""
        settings: dict[str, Any] = {}
        limits = self.budget.model_dump(exclude_none=True) if self.budget else {}
        if limits:
            card = summary(found)
            for name, limit in limits.items():
                if limit <= (done := card[name] or 0):
                    got = f"got {limit:,.6g}; ask for more"
                    raise InputError(f"expected more than the {done:,.6g} {name} that are done, {got}")
            before = read_settings(settings_file(found)).get("training", {})
            settings = {"training": {**limits, "lr_schedule": before.get("lr_schedule", "constant")}}
        kind = TrainCodecSettings if found.kind == "autoencoder" else TrainSettings
        return kind(target=str(found.path), settings=settings)


class StoredSchedule(Settings):
    """A noise schedule that the page keeps, by name."""

    name: Name
    schedule: dict[str, Any]


class Schedules:
    """Noise schedules in a folder: settings as files, a file a schedule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / SCHEDULES

    def write(self, stored: StoredSchedule) -> None:
        """Keeps a schedule, in place of one of its name."""
        checked = parse(DiffusionSettings, {"schedule": stored.schedule, "prediction": "v"}, "schedule").schedule
        settings = {"diffusion": {"schedule": checked.model_dump(mode="json")}}
        write_whole(self.folder / f"{stored.name}.json", json.dumps(settings, indent=2) + "\n")

    def list(self) -> list[dict[str, Any]]:
        """All of them, by name."""
        names = sorted(each.stem for each in self.folder.glob("*.json")) if self.folder.is_dir() else []
        return [{"id": name, "name": name, "schedule": self.read(name)} for name in names]

    def read(self, name: str) -> dict[str, Any]:
        """The settings of one."""
        return schedule_in(self.file(name))

    def file(self, name: str) -> Path:
        """Where one is kept."""
        path = self.folder / f"{name}.json"
        if not (self.folder.is_dir() and path.name in {each.name for each in self.folder.iterdir()}):
            raise UnknownId(name)
        return path


def laid(settings: dict[str, Any], branch: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes laid over one of their branches; what is no branch is left for pydantic to refuse."""
    under = settings.get(branch, {})
    return {**settings, branch: {**under, **changes} if isinstance(under, dict) else under}


def check_names_no_place(settings: dict[str, Any]) -> None:
    """That settings name no path and no address: data by name, no encoder and no autoencoder of a folder."""
    for name, value in flat(settings):
        if name == "data.source" and value not in DATA_SETS:
            raise InputError(f"expected one of {', '.join(DATA_SETS)} for data.source, got {value!r}; choose a folder")
        if name.endswith(".folder") and value:
            raise InputError(f"expected no folder for {name}, got {value!r}; begin such a run at a command line")
