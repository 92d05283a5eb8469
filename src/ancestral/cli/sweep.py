"""`ancestral sweep`: the words of the command; the work is in sweeping.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_drawing, add_overwrite, add_yes, computing, drawing_fields, sampling
from ancestral.cli.guides import add_guides, guides
from ancestral.cli.options import Options, changes, whole
from ancestral.config import MOST_SEED, Config
from ancestral.errors import InputError
from ancestral.folders import check_run

ABOUT = """\
Measure, on RUN's own network, how good images are for a number of network calls: by every sampler on every grid.

The same images are drawn by each, and by how RUN draws now, from the same seeds, and compared with those of very many
steps from the same noise, and with test images. The fewest calls that are not clearly worse than the best, nor by a
tenth, are recommended. They become how RUN draws unless asked otherwise where they are better than how it draws now by
more than the error at the same number of calls, or equal within it at fewer, of 200 images or more; else that is kept,
and why is said. --restore undoes it. RUN/sweep.json has every number, RUN/sweep.png the curves, and the report both.
Stopped, it goes on when the same command is given again; other samplers, grids or numbers of calls are added to it.
"""
EXAMPLES = (
    "ancestral sweep runs/digits",
    "ancestral sweep runs/mnist --calls 5 10 --samplers ddim dpm++2m unipc-2 --grids log-snr karras --images 1000",
    "ancestral sweep runs/mnist --guidance 2 --keep",
    "ancestral sweep runs/mnist --restore",
)
COMPARED = ("sampler", "steps", "grid", "eta", "variance", "cache")
"""Settings of drawing that a sweep chooses itself."""

USUAL = {"images": 256, "reference": 200, "seed": 0}


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    found = parser().words(argv)
    named, given = guides(found, changes(found, drawing_fields()))
    asked = {name: value for name in ("samplers", "grids", "calls") if (value := getattr(found, name)) is not None}
    numbers = {
        name: whole(word, f"--{name}", 0, MOST_SEED) for name in USUAL if (word := getattr(found, name)) is not None
    }
    if found.restore:
        others = [*given, *asked, *numbers, *(name for name in (*named._fields, "keep") if getattr(found, name))]
        return _restore(Path(found.run), others, found.json)
    for name in COMPARED:
        if name in given:
            raise InputError(f"expected no --{name} with ancestral sweep, which compares them; leave it out")
    computing(given)
    sampling(Config(), given)
    check_run(Path(found.run), or_pipeline=True)
    from ancestral.cli import sweeping

    settings = sweeping.settings(USUAL | asked | numbers)
    how = sweeping.SweepOptions(given, named, found.device, not found.keep, found.json, found.overwrite, found.yes)
    return sweeping.sweep(Path(found.run), settings, how)


def _restore(run: Path, others: Sequence[str], as_json: bool) -> int:
    """`--restore`, which measures nothing."""
    if others:
        raise InputError(f"expected no --{others[0]} with --restore, which measures nothing; leave it out")
    from ancestral.cli.sweeping import restore

    return restore(run, as_json)


def parser() -> Options:
    """The options of the verb."""
    options = Options("ancestral sweep", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run, or of a pipeline that was copied from one")
    options.option("--calls", nargs="+", metavar="N", help="network calls for an image, at most [5 10 20]")
    options.option("--samplers", nargs="+", metavar="NAME", help="out of those of --sampler [all]")
    options.option("--grids", nargs="+", metavar="NAME", help="out of those of --grid [all]")
    options.option("--images", metavar="N", help="drawn by each, as many of each class [256]")
    options.option("--reference", metavar="N", help="steps of the reference from the same noise [200]")
    options.option("--seed", metavar="INT", help="seed of the images [0]")
    options.option("--keep", "--dry-run", action="store_true", help="measure, and keep how RUN draws, whatever is best")
    options.option("--restore", action="store_true", help="measure nothing: draw as before the last sweep's choice")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    add_overwrite(options)
    add_yes(options)
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_guides(options)
    add_drawing(options)
    return options
