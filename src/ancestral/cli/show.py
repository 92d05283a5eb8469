"""`ancestral show`: the words of commands that make pictures, or tell the numbers of a step; the work is in
`ancestral.jobs.show` and `ancestral.jobs.explain`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ancestral.cli.job_options import job_options, job_settings, run_part
from ancestral.cli.output import console, table, tell
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.data_settings import ShowDataSettings, ShowForwardSettings, ShowScheduleSettings
from ancestral.jobs.events import ResultEvent
from ancestral.jobs.explain_settings import STEPS

ABOUT = """\
usage: ancestral show {schedule,forward,data,training-step,sampling-step} [--help] ...

Pictures that need no training.

  schedule       beta_t, alpha_bar_t and log-SNR of noise schedules
  forward        an image on its way to noise, under several schedules
  data           a contact sheet of a data set or a folder, with its classes

Numbers of a trained network, of one pixel.

  training-step  one image and noise: x_t, what the network answers, the loss
  sampling-step  one step of a sampler: its factors, their values, x_s

examples:
  ancestral show schedule linear cosine sigmoid
  ancestral show forward photos --size 64
  ancestral show data ~/Pictures/birds --size 64 --fit pad
  ancestral show training-step digits --t 300 --pixel 3,4
  ancestral show sampling-step digits --sampler dpm++2m --steps 10 --step 4
"""
PARTS: dict[str, tuple[type[ShowScheduleSettings | ShowForwardSettings | ShowDataSettings], str]] = {
    "schedule": (ShowScheduleSettings, "Curves of beta_t, alpha_bar_t and log-SNR over t."),
    "forward": (ShowForwardSettings, "One image and one noise under several schedules, from t = 0 to t = T."),
    "data": (ShowDataSettings, "A contact sheet of training images, fitted as for training, with classes."),
}
STEPS_ABOUT = {
    "training-step": "What one step of training computes of one image: x_t, what RUN's network answers, and the loss.",
    "sampling-step": "What one step of sampling computes of one pixel: x_s as a sum of factors times values.",
}


def run(argv: Sequence[str]) -> None:
    views = {**dict.fromkeys(PARTS, _show), **dict.fromkeys(STEPS, _show_step)}
    run_part(argv, "show", ABOUT, {name: partial(view, name) for name, view in views.items()})


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


def _show_step(name: str, argv: Sequence[str]) -> None:
    kind, about = STEPS[name], STEPS_ABOUT[name]
    found = job_options(f"ancestral show {name}", "RUN", about, (), kind, "print all numbers as JSON").words(argv)
    job = job_settings(found, kind)
    check_run(job.run, "pipeline")
    from ancestral.jobs.explain import explain

    show_result(explain(job), found.json, _tell_step)


def _tell_step(result: ResultEvent) -> None:
    """The numbers of the pixel, a row for each value."""
    tree = result.tree
    for which, name in (("t", "level"), ("s", "next_level")):
        if level := tree.get(name):
            numbers = [f"{of} {level[of]:.6g}" for of in ("alpha", "sigma", "log_snr")]
            tell(f"{which} = {level['t']}: {', '.join(numbers)}")
    tell(f"pixel {tree['at'][0]},{tree['at'][1]}:")
    if "loss" not in tree:
        rows = [[each["of"], _numbers(each["factor"]), _numbers(each["value"])] for each in tree["terms"]]
        console(stderr=False).print(table(("of", "factor", "value"), rows))
        tell(f"x_s = {_numbers(tree['pixel']['x_s'])}, the sum of factors times values")
        return
    rows = [[name, _numbers(value)] for name, value in tree["pixel"].items()]
    console(stderr=False).print(table(("of", "value"), rows))
    loss = tree["loss"]
    tell(f"loss {loss['name']} {loss['value']:.6g}, weight {loss['weight']:.6g}, of all pixels")


def _numbers(value: Any) -> str:
    return ", ".join(f"{each:.6g}" for each in (value if isinstance(value, list) else [value]))
