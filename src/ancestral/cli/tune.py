"""`ancestral tune`: the words of the command and its table; the work is `ancestral.jobs.tune`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.job_options import job_options, job_settings, named_config
from ancestral.cli.options import Options
from ancestral.cli.output import console, table, tell
from ancestral.cli.view import show_result
from ancestral.errors import InputError
from ancestral.jobs.events import ResultEvent
from ancestral.jobs.target import TuneSettings
from ancestral.settings import Config

if TYPE_CHECKING:
    from ancestral.tuning import Trial

ABOUT = """\
Measure, on this machine, how to train and generate fastest with the network of TARGET: a preset, a folder of images, or
the folder of a run or pipeline. What is found is stored; `ancestral train`, `sample` and `evaluate` use it from then on
for every network of these settings and images of this shape, on this machine and this version of torch.

Nothing is needed before training: without it, choices are those that are right on most machines. Every other choice is
compared with the best so far, in turns, by real training and sampling steps, and taken only where it is faster beyond
doubt. None changes what is computed beyond rounding. A setting given with --compute.NAME is kept as it is given.
"""
EXAMPLES = (
    "ancestral tune digits",
    "ancestral tune runs/birds --minutes 5",
    "ancestral tune cifar10 --compute.threads 8 --dry-run",
    "ancestral tune digits --forget",
)


def run(argv: Sequence[str]) -> None:
    found = parser(named_config(argv)).words(argv)
    job = job_settings(found, TuneSettings)
    if found.forget and (job.dry_run or job.compile or job.minutes is not None):
        raise InputError("expected --forget alone, which measures nothing; leave out --minutes, --compile, --dry-run")
    _ = job.source  # a faulty setting is told before torch is loaded
    from ancestral.jobs.tune import forget, tune

    if found.forget:
        show_result(forget(job), found.json, lambda result: tell(result.value))
    else:
        show_result(tune(job), found.json, show)


def parser(defaults: Config) -> Options:
    """The options of the verb; its help states the values of `defaults`."""
    options = job_options("ancestral tune", "TARGET", ABOUT, EXAMPLES, TuneSettings, defaults=defaults)
    options.add_argument("--forget", action="store_true", help="take what is stored away: back to the usual choices")
    return options


def show(result: ResultEvent) -> None:
    """All comparisons, in their order, as a table; what they come to, and where that is kept."""
    found, stored = result.value, result.tree["stored"]
    columns = ("choice", "tried", "against", "speed", "pairs", "")
    console(stderr=False).print(table(columns, map(row, found.comparisons)))
    for work, speed in found.speeds.items():
        tell(f"{work}: {speed.after:,.1f} images/s, with the usual choices {speed.before:,.1f}")
    usual, choices = found.usual.model_dump(), found.choices.model_dump()
    other = [f"{name} {value}" for name, value in choices.items() if value != usual[name]]
    tell(f"chosen: {', '.join(other)}" if other else "the usual choices are the fastest")
    tell(f"stored in {stored}" if stored else "nothing is stored (--dry-run)")


def row(comparison: "Trial") -> list[str]:
    from ancestral.tuning.choosing import TOGETHER, shown

    choice = f"all, {comparison.work}" if comparison.choice == TOGETHER else comparison.choice
    names = [choice, shown(comparison.candidate), shown(comparison.best)]
    if comparison.outcome is None:
        return [*names, "", "", comparison.note]
    ratio, pairs = comparison.outcome.ratio, len(comparison.outcome.ratios)
    return [*names, f"{ratio:.2f} x", str(pairs), "taken" if comparison.taken else comparison.note or "not taken"]
