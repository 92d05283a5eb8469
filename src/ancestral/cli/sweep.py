"""`ancestral sweep`: the words of the command; the work is in sweeping.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_drawing, computing, drawing_fields, sampling
from ancestral.cli.guides import add_guides, guides
from ancestral.cli.options import Options, changes, whole
from ancestral.config import Config
from ancestral.errors import InputError

ABOUT = """\
Measure, on RUN's own network, how good images are for a number of network calls: by every sampler on every grid.

The same images are drawn by each, from the same seeds, and compared with those of very many steps from the same noise,
and with test images. The fewest calls that are not clearly worse than the best, nor by a tenth, are recommended, and
become how RUN's pipeline draws unless asked otherwise. RUN/sweep.json has every number, RUN/sweep.png the curves, and
the report both. Stopped, it goes on when the same command is given again; other samplers, grids or numbers of calls are
added to it.
"""
EXAMPLES = (
    "ancestral sweep runs/digits",
    "ancestral sweep runs/mnist --calls 5 10 --samplers ddim dpm++2m unipc-2 --grids log-snr karras --images 1000",
    "ancestral sweep runs/mnist --guidance 2 --dry-run",
)
COMPARED = ("sampler", "steps", "grid", "eta", "variance", "cache")
"""Settings of drawing that a sweep chooses itself."""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    found = parser().words(argv)
    named, given = guides(found, changes(found, drawing_fields()))
    for name in COMPARED:
        if name in given:
            raise InputError(f"expected no --{name} with ancestral sweep, which compares them; leave it out")
    computing(given)
    sampling(Config(), given)
    asked = {name: value for name in ("samplers", "grids", "calls") if (value := getattr(found, name)) is not None}
    numbers = {name: whole(getattr(found, name), f"--{name}") for name in ("images", "reference", "seed")}
    from ancestral.cli import sweeping

    settings = sweeping.settings(asked | numbers)
    return sweeping.sweep(Path(found.run), settings, given, named, found.device, not found.dry_run, found.json)


def parser() -> Options:
    """The options of the verb."""
    options = Options("ancestral sweep", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--calls", nargs="+", metavar="N", help="network calls for an image, at most [5 10 20]")
    options.option("--samplers", nargs="+", metavar="NAME", help="out of those of --sampler [all]")
    options.option("--grids", nargs="+", metavar="NAME", help="out of those of --grid [all]")
    options.option("--images", default="256", metavar="N", help="drawn by each, as many of each class [256]")
    options.option("--reference", default="200", metavar="N", help="steps of the reference from the same noise [200]")
    options.option("--seed", default="0", metavar="INT", help="seed of the images [0]")
    options.option("--dry-run", action="store_true", help="measure, and leave the pipeline as it is")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_guides(options)
    add_drawing(options)
    return options
