"""`ancestral evaluate`: generates images from a run and measures them, or measures its likelihood; the work is in
measuring.py and likelihood.py."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import Given, add_overwrite, add_sampling, add_yes, computing, sampling, sampling_fields
from ancestral.cli.guides import Guides, add_guides, guides
from ancestral.cli.options import Options, changes, whole
from ancestral.config import MOST_IMAGES, MOST_SEED, MOST_TIMESTEPS, Config
from ancestral.errors import InputError
from ancestral.folders import check_run

ABOUT = """\
Generate images from RUN and measure them against images it was not trained on.

Distances mean little alone, so each stands beside its floors: what real images score against real images at the same
numbers, and what a Gaussian fitted to the data scores. The result is written to RUN/evaluation.json, and the report
shows it.

With --likelihood nothing is generated: the bound on bits per dimension of held-out images, with every term and its
error, is measured and written to RUN/likelihood.json. Stopped, it goes on when the same command is given again.
"""
EXAMPLES = (
    "ancestral evaluate runs/digits --images 2000",
    "ancestral evaluate runs/mnist --likelihood --images all --timesteps 64",
)
OF_LIKELIHOOD = ("timesteps", "chain", "num_timesteps", "given_classes", "flow")
ALL = "all"


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    found = parser().words(argv)
    named, given = guides(found, changes(found, sampling_fields()))
    run, seed = Path(found.run), whole(found.seed, "--seed", 0, MOST_SEED)
    computing(given)
    if found.likelihood:
        _check_nothing_is_generated(found, given)
        from ancestral.cli.likelihood import LikelihoodOptions, measure_likelihood

        asked = LikelihoodOptions(
            images=found.images and _or_all(found.images, "--images", 2, MOST_IMAGES),
            timesteps=_limit(_or_all(found.timesteps or "32", "--timesteps", 1, MOST_TIMESTEPS)),
            chain=found.chain and whole(found.chain, "--chain", 1, MOST_TIMESTEPS),
            num_timesteps=found.num_timesteps and whole(found.num_timesteps, "--num-timesteps", 2, MOST_TIMESTEPS),
            seed=seed,
            given_classes=bool(found.given_classes),
            variance=given.get("variance"),
            flow=found.flow and whole(found.flow, "--flow", 2, MOST_IMAGES),
        )
        check_run(run)
        return measure_likelihood(run, asked, given, found.device, found.overwrite, found.yes, found.json)
    _check_something_is_generated(found)
    count = whole(found.images or "1000", "--images", 1, MOST_IMAGES)
    sampling(Config(), given)
    check_run(run)
    from ancestral.cli.measuring import MeasuringOptions, measure

    inception = Path(found.inception) if found.inception else None
    return measure(
        run,
        MeasuringOptions(count, seed, given, named, inception, found.device, found.json, found.overwrite, found.yes),
    )


def parser() -> Options:
    """The options of the verb."""
    options = Options("ancestral evaluate", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--images", metavar="N", help="how many to generate, as many of each class [1000]")
    options.option("--seed", default="0", metavar="INT", help="seed of everything that is drawn at random [0]")
    options.option("--inception", metavar="FILE", help="weights of Inception-v3: measure in its features (extra `fid`)")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    add_overwrite(options)
    add_yes(options)
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    bits = "measure held-out bits per dimension instead; --images: how many test images, or all [1000 where there are]"
    options.option("--likelihood", action="store_true", help=bits)
    options.option("--timesteps", metavar="K", help="with --likelihood: terms drawn for each image, or all [32]")
    options.option("--chain", metavar="N", help="with --likelihood: steps of the chain, even in log-SNR [all T]")
    other = "with --likelihood: another T between the same ends, for a network that is told the log-SNR [its own]"
    options.option("--num-timesteps", metavar="T", help=other)
    options.option(
        "--given-classes",
        action="store_true",
        help="with --likelihood: tell the network each image's class, for p(x | class)",
    )
    flow = "with --likelihood: check the bound against the probability flow on so many of the images; slow [none]"
    options.option("--flow", metavar="N", help=flow)
    add_guides(options)
    add_sampling(options)
    return options


def _check_nothing_is_generated(found: Namespace, given: Given) -> None:
    others = [name for name in ("inception", *Guides._fields) if getattr(found, name)]
    names = [*others, *(name for name in given if name not in ("compute", "variance"))]
    if names:
        raise InputError(f"expected no --{names[0]} with --likelihood, which generates no images; leave it out")


def _check_something_is_generated(found: Namespace) -> None:
    for name in OF_LIKELIHOOD:
        if getattr(found, name):
            raise InputError(f"expected --likelihood with --{name.replace('_', '-')}, which says how to measure it")


def _or_all(word: str, name: str, least: int, most: int) -> int | str:
    return ALL if word == ALL else whole(word, name, least, most)


def _limit(asked: int | str) -> int | None:
    """None for all."""
    return asked if isinstance(asked, int) else None
