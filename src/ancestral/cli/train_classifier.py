"""`ancestral train-classifier`: the words of the command; the work is in classifying.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.options import Options, positive, whole
from ancestral.errors import InputError

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


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral train-classifier", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--minutes", metavar="NUMBER", help=f"how long to train [{MINUTES}, unless --steps says how far]")
    options.option("--steps", metavar="N", help="how many steps to train; the first limit that is reached counts [any]")
    options.option("--seed", default="0", metavar="INT", help="seed of everything that is random [0]")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--out", metavar="FILE", help="where it is kept [RUN/classifier.safetensors]")
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    seed, steps = whole(found.seed, "--seed"), None if found.steps is None else whole(found.steps, "--steps")
    if seed < 0:
        raise InputError(f"expected --seed of at least 0, got {seed}")
    if steps is not None and steps < 1:
        raise InputError(f"expected --steps of at least 1, got {steps}")
    word = found.minutes or (MINUTES if steps is None else None)
    minutes = None if word is None else positive(word, "--minutes")
    out = _file(found.out)
    from ancestral.cli.classifying import train

    return train(Path(found.run), steps, minutes, seed, found.device, out, found.json)


def _file(word: str | None) -> Path | None:
    if word is not None and Path(word).suffix != ".safetensors":
        raise InputError(f"expected --out to end in .safetensors, got {word!r}")
    return None if word is None else Path(word)
