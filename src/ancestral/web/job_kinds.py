"""What each kind of job is asked by the page, within bounds, as the settings of a job. Imports no torch."""

from typing import NamedTuple

from ancestral.errors import InputError
from ancestral.jobs.data_settings import CheckSettings, ReportSettings
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.export import ExportSettings
from ancestral.jobs.measurement_settings import EvaluateSettings, LikelihoodJobSettings, SweepJobSettings
from ancestral.jobs.sample import SampleSettings
from ancestral.jobs.share import ShareSettings
from ancestral.names import meant
from ancestral.settings import Settings

FRAMES = "frames"  # the file of a job's frames
MOST_STEPS, MOST_IMAGES, MOST_SIDE, MOST_ROUNDS = 1000, 256, 1024, 100


class Kind(NamedTuple):
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
    "sample": Kind("sample", SampleSettings, "ancestral.jobs.sample.sample", True, True, False),
    "edit": Kind("edit", {**TASKS}, "ancestral.jobs.edit.edit", True, True, False),
    "evaluate": Kind("evaluate", EvaluateSettings, "ancestral.jobs.evaluate.evaluate", True),
    "likelihood": Kind("likelihood", LikelihoodJobSettings, "ancestral.jobs.likelihood.likelihood", True),
    "sweep": Kind("sweep", SweepJobSettings, "ancestral.jobs.sweep.sweep", True),
    "report": Kind("report", ReportSettings, "ancestral.jobs.report.report"),
    "share": Kind("share", ShareSettings, "ancestral.jobs.share.share"),
    "export": Kind("export", ExportSettings, "ancestral.jobs.export.export"),
    "check": Kind("data check", CheckSettings, "ancestral.jobs.check_data.check"),
}
