"""`ancestral train`: the words of the command; the work is `ancestral.jobs.train`."""

import json
from collections.abc import Sequence
from functools import partial

from ancestral.cli.job_options import job_options, job_settings, named_config
from ancestral.cli.options import Options
from ancestral.cli.output import say, tell
from ancestral.jobs.target import TrainSettings
from ancestral.machine import loading
from ancestral.settings import Config

ABOUT = """\
Train on TARGET: a preset (`ancestral --help` lists them), a folder of images, what `ancestral data pack` wrote, or the
folder of a run, which goes on.

The run is written to a folder (settings, log, sample grids, checkpoints, and the pipeline that `ancestral sample`
generates with). Ctrl-C saves and stops; the same command goes on from there as if it had never stopped.

Settings come from the preset; --config FILE overrides them, flags override both. A flag and a line in the file mean
the same: --training.lr 1e-4 is `lr = 1e-4` in the table [training]. A budget (--training.steps, --training.images or
--training.minutes) replaces the preset's budget of whatever kind; of several given together the first reached counts.
The value in [] is that of TARGET; `none` unsets a setting that may be unset. A run that goes on with a larger budget
needs --training.lr_schedule repeated where its learning rate fell over the smaller one: it rises again.

Several processes train one network: torchrun --nproc-per-node 2 -m ancestral train TARGET ... (docs/scale.md).
"""
EXAMPLES = (
    "ancestral train digits",
    "ancestral train ~/Pictures/birds --data.size 64 --data.fit pad --training.minutes 60",
    "ancestral train --config runs/digits/config.json --seed 1 --out runs/digits-1",
)


def run(argv: Sequence[str]) -> int:
    found = parser(named_config(argv)).words(argv)
    job = job_settings(found, TrainSettings)
    plan = job.plan  # a faulty setting is told before torch is loaded
    if not found.dry_run:
        with loading():
            from ancestral.cli.training import show_finished, show_training
            from ancestral.jobs.train import train

        return show_training(partial(train, job), found.json, partial(show_finished, found.json))
    from ancestral.pipeline.building import build_schedule

    for note in plan.notes:
        say(note)
    build_schedule(plan.config.diffusion.schedule)
    tell(*json.dumps(plan.config.model_dump(mode="json"), indent=2).splitlines())
    say(f"would write to {plan.out}")
    return 0


def parser(defaults: Config) -> Options:
    """The options of the verb; its help states the values of `defaults`."""
    about_json = "a JSON object for each record on stdout, all else on stderr"
    options = job_options("ancestral train", "TARGET", ABOUT, EXAMPLES, TrainSettings, about_json, defaults)
    options.add_argument("--dry-run", action="store_true", help="print the settings as JSON, and write nothing")
    return options
