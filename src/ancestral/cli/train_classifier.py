"""`ancestral train-classifier`: the words of the command; the work is in classifying.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_overwrite
from ancestral.cli.options import Options, positive, whole
from ancestral.config import MOST_SEED
from ancestral.folders import check_run
from ancestral.outputs import file_named

ABOUT = """\
Train a classifier of noisy images on the data of RUN and under its noise, to guide its network to a class.

A run that was trained without classes is lent them, where its data has any: `ancestral sample RUN --classifier FILE`
then takes --classes. What it tells of held-out images at several levels of noise is printed and kept in the file.
"""
EXAMPLES = (
    "ancestral train-classifier runs/digits",
    "ancestral sample runs/digits --guidance_by classifier --guidance 3 --classes 3,7",
)
MINUTES = "2"
MOST_STEPS = 10**9


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral train-classifier", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--minutes", metavar="NUMBER", help=f"how long to train [{MINUTES}, unless --steps says how far]")
    options.option("--steps", metavar="N", help="how many steps to train; the first limit that is reached counts [any]")
    options.option("--seed", default="0", metavar="INT", help="seed of everything that is random [0]")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--out", metavar="FILE", help="where it is kept [RUN/classifier.safetensors]")
    add_overwrite(options)
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    seed = whole(found.seed, "--seed", 0, MOST_SEED)
    steps = None if found.steps is None else whole(found.steps, "--steps", 1, MOST_STEPS)
    word = found.minutes or (MINUTES if steps is None else None)
    minutes = None if word is None else positive(word, "--minutes")
    out = file_named(found.out, "--out", (".safetensors",))
    check_run(Path(found.run))
    from ancestral.cli.classifying import train

    return train(Path(found.run), steps, minutes, seed, found.device, out, found.overwrite, found.json)
