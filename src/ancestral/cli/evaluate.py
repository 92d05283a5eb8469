"""`ancestral evaluate`: draws images from a run and measures them; the work is in measuring.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_drawing, computing, drawing_fields, sampling
from ancestral.cli.options import Options, changes, whole
from ancestral.config import Config
from ancestral.errors import InputError

ABOUT = """\
Draw images from RUN and measure them against images it was not trained on.

Distances mean little alone, so each stands beside its floors: what real images score against real images at the same
numbers, and what a Gaussian fitted to the data scores. The result is written to RUN/evaluation.json, and the report
shows it.
"""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral evaluate", "RUN", ABOUT, ("ancestral evaluate runs/digits --images 2000",))
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--images", default="1000", metavar="N", help="how many to draw, as many of each class [1000]")
    options.option("--seed", default="0", metavar="INT", help="seed of the images and of the features [0]")
    options.option("--inception", metavar="FILE", help="weights of Inception-v3: measure in its features (extra `fid`)")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_drawing(options)
    found = options.words(argv)
    given = changes(found, drawing_fields())
    count, seed = whole(found.images, "--images"), whole(found.seed, "--seed")
    if count < 1 or seed < 0:
        raise InputError(f"expected --images of at least 1 and --seed of at least 0, got {count} and {seed}")
    sampling(Config(), given)
    computing(given)
    from ancestral.cli.measuring import measure

    inception = Path(found.inception) if found.inception else None
    return measure(Path(found.run), count, seed, given, inception, found.device, found.json)
