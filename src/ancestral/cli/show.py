"""`ancestral show`: the words of three commands that make pictures; the work is `ancestral.jobs.show`."""

from collections.abc import Sequence
from functools import partial
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
PARTS: dict[str, tuple[type[ShowScheduleSettings | ShowForwardSettings | ShowDataSettings], str]] = {
    "schedule": (ShowScheduleSettings, "Curves of beta_t, alpha_bar_t and log-SNR over t."),
    "forward": (ShowForwardSettings, "One image and one noise under several schedules, from t = 0 to t = T."),
    "data": (ShowDataSettings, "A contact sheet of training images, fitted as for training, with classes."),
}


def run(argv: Sequence[str]) -> None:
    run_part(argv, "show", ABOUT, {name: partial(_show, name) for name in PARTS})


def _show(name: str, argv: Sequence[str]) -> None:
    (kind, about), words, about_json = PARTS[name], "[DATASET_OR_FOLDER]", "print the file written as JSON"
    if name == "schedule":
        words, about_json = "[NAME ...]", "print the tables as JSON; no picture unless --out is given"
    found = job_options(f"ancestral show {name}", words, about, (), kind, about_json).words(argv)
    job = job_settings(found, kind)
    if job.out is None and not found.json:
        job = job.model_copy(update={"out": Path("schedule.png")})
    from ancestral.jobs.show import show

    show_result(show(job), found.json)
