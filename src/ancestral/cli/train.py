"""`ancestral train`: the words of the command; the work is in training.py."""

import json
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_config, add_yes
from ancestral.cli.options import Options, changes, leaves
from ancestral.cli.output import say, tell
from ancestral.cli.target import plan, preset, recorded, run_folder
from ancestral.errors import InputError
from ancestral.machine import started_together
from ancestral.outputs import check_folder
from ancestral.settings import Config

ABOUT = """\
Train on TARGET: a preset (`ancestral --help` lists them), a folder of images, or what
`ancestral data pack` wrote. The folder of a run as TARGET goes on with that run.

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
    """The verb; its exit code."""
    options = parser(_named(argv)).words(argv)
    file = Path(options.config) if options.config else None
    flags = changes(options, leaves(Config()))
    wanted = plan(options.target, file, flags, Path(options.out) if options.out else None)
    from ancestral.building import build_schedule

    build_schedule(wanted.config.diffusion.schedule)
    if options.dry_run:
        tell(*json.dumps(wanted.config.model_dump(mode="json"), indent=2).splitlines())
        say(f"would write to {wanted.out}")
        return 0
    if options.parallel == "fsdp" and not started_together():
        raise InputError(
            "expected several processes for --parallel fsdp, got one; "
            "start with torchrun --nproc-per-node N -m ancestral train"
        )
    check_folder(wanted.out)
    from ancestral.cli.training import train

    extend = "lr_schedule" in flags.get("training", {})
    return train(wanted, options.device, options.json, options.tensorboard, options.parallel, extend, options.yes)


def parser(defaults: Config) -> Options:
    """The options of the verb; its help states the values of `defaults`."""
    options = Options("ancestral train", "TARGET", ABOUT, EXAMPLES)
    options.option(
        "target", nargs="?", metavar="TARGET", help="a preset, a folder or a run; may be left out with --config"
    )
    options.option("--out", metavar="DIR", help="folder of the run [runs/<name of the target>]")
    options.option("--config", metavar="FILE", help="settings, .toml or .json; the config.json of any run is one")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option(
        "--parallel",
        choices=("ddp", "fsdp"),
        default="ddp",
        help="of several processes, whether each holds all weights or some rows of each [ddp]",
    )
    options.option("--dry-run", action="store_true", help="print the settings as JSON, and write nothing")
    add_yes(options)
    options.option("--json", action="store_true", help="a JSON object for each record on stdout, all else on stderr")
    options.option("--tensorboard", action="store_true", help="write curves for TensorBoard too (extra `track`)")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_config(options, defaults)
    return options


def _named(argv: Sequence[str]) -> Config:
    """The settings whose values the help states: those of the target, where one is named."""
    if not argv or argv[0].startswith("-"):
        return Config()
    run = run_folder(argv[0])
    return preset(argv[0]) if run is None else recorded(run)
