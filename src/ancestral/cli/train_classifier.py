"""`ancestral train-classifier`: its words and its table; the work is `ancestral.jobs.train_classifier`."""

from collections.abc import Sequence
from typing import Any

from ancestral.cli.job_options import asked
from ancestral.cli.output import console, tell
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.measurement_settings import TrainClassifierSettings

ABOUT = """\
Train a classifier of noisy images on the data of RUN and under its noise, to guide its network to a class.

A run that was trained without classes gets them, where its data has any: `ancestral sample RUN --classifier FILE`
then takes --classes. What it tells of held-out images at several levels of noise is printed and kept in the file.
"""
EXAMPLES = (
    "ancestral train-classifier runs/digits",
    "ancestral sample runs/digits --guidance_by classifier --guidance 3 --classes 3,7",
)


def run(argv: Sequence[str]) -> int:
    job, as_json = asked(argv, "ancestral train-classifier", "RUN", ABOUT, EXAMPLES, TrainClassifierSettings)
    check_run(job.run)
    from ancestral.jobs.train_classifier import train

    show_result(train(job), as_json, lambda result: show(result.tree))
    return 0


def show(told: dict[str, Any]) -> None:
    """The accuracies as a table."""
    from rich import box
    from rich.table import Table

    if told["chance"] is None:
        tell("no image is held out to measure the classifier on (data.test 0)")
        return
    table = Table("t", "log-SNR", "accuracy", box=box.SIMPLE)
    for each in told["accuracies"]:
        table.add_row(str(each["timestep"]), f"{each['log_snr']:.1f}", f"{each['share']:.3f}")
    console(stderr=False).print(
        f"{told['num_held_out']:,} held-out images; the commonest class makes up {told['chance']:.3f} of them", table
    )
