"""`ancestral show`: the words of three commands that make pictures; the work is `ancestral.jobs.show`."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.job_options import job_options, job_settings, run_part
from ancestral.cli.view import show_result
from ancestral.jobs.data_settings import ShowDataSettings, ShowForwardSettings, ShowScheduleSettings

ABOUT = """\
usage: ancestral show {schedule,forward,data} [--help] ...

Pictures that need no training.

  schedule  beta_t, alpha_bar_t and log-SNR of noise schedules
  forward   an image on its way to noise, under several schedules
  data      a contact sheet of a data set or a folder, with its classes

examples:
  ancestral show schedule linear cosine sigmoid
  ancestral show forward photos --size 64
  ancestral show data ~/Pictures/birds --size 64 --fit pad
"""
ABOUT_SCHEDULE = "Curves of beta_t, alpha_bar_t and log-SNR over t."
ABOUT_FORWARD = "One image and one noise under several schedules, from t = 0 to t = T."
ABOUT_DATA = "A contact sheet of training images, fitted as for training, with classes."
JSON = "print the file written as JSON"


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    return run_part(argv, "show", ABOUT, {"schedule": schedule, "forward": forward, "data": data})


def schedule(argv: Sequence[str]) -> int:
    """`ancestral show schedule`."""
    tables = "print the tables as JSON; no picture unless --out is given"
    options = job_options(
        "ancestral show schedule", "[NAME ...]", ABOUT_SCHEDULE, (), ShowScheduleSettings, about_json=tables
    )
    found = options.words(argv)
    job = job_settings(found, ShowScheduleSettings)
    if job.out is None and not found.json:
        job = job.model_copy(update={"out": Path("schedule.png")})
    from ancestral.jobs.show import show_schedules

    show_result(show_schedules(job), found.json)
    return 0


def forward(argv: Sequence[str]) -> int:
    """`ancestral show forward`."""
    words = "[DATASET_OR_FOLDER]"
    found = job_options("ancestral show forward", words, ABOUT_FORWARD, (), ShowForwardSettings, JSON).words(argv)
    job = job_settings(found, ShowForwardSettings)
    from ancestral.jobs.show import show_forward

    show_result(show_forward(job), found.json)
    return 0


def data(argv: Sequence[str]) -> int:
    """`ancestral show data`."""
    words = "[DATASET_OR_FOLDER]"
    found = job_options("ancestral show data", words, ABOUT_DATA, (), ShowDataSettings, JSON).words(argv)
    job = job_settings(found, ShowDataSettings)
    from ancestral.jobs.show import show_data

    show_result(show_data(job), found.json)
    return 0
