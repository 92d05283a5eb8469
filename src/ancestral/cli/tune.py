"""`ancestral tune`: the words of the command; the work is in tuning.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ancestral.cli.asking import add_config, computing
from ancestral.cli.options import Options, changes, leaves, positive
from ancestral.cli.target import plan, preset
from ancestral.errors import InputError
from ancestral.folders import kind_of
from ancestral.presets import PRESETS
from ancestral.settings import ComputeSettings, Config

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


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = parser(_named(argv))
    found = options.words(argv)
    given = changes(found, leaves(Config()))
    minutes = positive(found.minutes or "1", "--minutes")
    if found.forget and (found.dry_run or found.compile or found.minutes is not None):
        raise InputError(
            "expected --forget alone, since it measures nothing; leave out --minutes, --compile, --dry-run"
        )
    if found.target is not None and found.config is None and (folder := _pipeline(found.target)) is not None:
        source: Path | Config = folder
        compute = _only_compute(given, folder)
    else:
        source = plan(found.target, Path(found.config) if found.config else None, given, None).config
        compute = source.compute
    from ancestral.cli import tuning

    pipeline = tuning.pipeline_of(source, compute, found.device)
    if found.forget:
        return tuning.forget(pipeline, found.json)
    return tuning.tune(pipeline, minutes, found.compile, not found.dry_run, found.json)


def parser(defaults: Config) -> Options:
    """The options of the verb; its help states the values of `defaults`."""
    options = Options("ancestral tune", "TARGET", ABOUT, EXAMPLES)
    options.option("target", nargs="?", metavar="TARGET", help="a preset or a folder; may be left out with --config")
    options.option("--minutes", metavar="NUMBER", help="how long to measure; what is begun is finished [1]")
    options.option("--compile", action="store_true", help="try compiled networks on a CPU too: takes minutes")
    options.option("--config", metavar="FILE", help="settings, .toml or .json; the config.json of any run is one")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--dry-run", action="store_true", help="measure, and store nothing")
    options.option("--forget", action="store_true", help="take what is stored away: back to the usual choices")
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_config(options, defaults)
    return options


def _named(argv: Sequence[str]) -> Config:
    """The settings whose values the help states: those of the target, where a preset or a folder of images is named."""
    images = argv and Path(argv[0]).expanduser().is_dir() and _pipeline(argv[0]) is None
    return preset(argv[0]) if images or (argv and argv[0] in PRESETS) else Config()


def _pipeline(target: str) -> Path | None:
    """The folder `target`, where it holds a run or a pipeline."""
    folder = Path(target).expanduser()
    return folder if target not in PRESETS and kind_of(folder) in ("run", "pipeline") else None


def _only_compute(given: dict[str, Any], folder: Path) -> ComputeSettings:
    """The settings of how to compute; a pipeline has all others already.

    Raises:
        InputError: another setting was given.
    """
    others = [name for name in given if name != "compute"]
    if others:
        raise InputError(f"expected only --compute settings with {folder}, which has its own {others[0]}; leave it out")
    return computing(given)
