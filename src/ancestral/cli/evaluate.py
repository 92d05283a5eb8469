"""`ancestral evaluate`: the words of the command and its tables; the work is `ancestral.jobs.evaluate`."""

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli import likelihood
from ancestral.cli.job_options import add_field, fields_of, job_options, job_settings, sampling_fields
from ancestral.cli.options import Options, changes
from ancestral.cli.output import console, number, tell
from ancestral.cli.view import show_result
from ancestral.errors import InputError
from ancestral.folders import check_run
from ancestral.jobs.measurement_settings import EvaluateSettings, LikelihoodJobSettings
from ancestral.settings import SamplingSettings, sampling_with

if TYPE_CHECKING:
    from ancestral.evaluation.evaluate import Evaluation

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
DISTANCES = {"frechet": "Fréchet", "kernel": "kernel"}
FEW = " (too few images)"
"""What stands beside a number that tells nothing."""
SHARES = ("precision", "recall", "density", "coverage")
BITS = "measure held-out bits per dimension instead; --images: how many test images, or all [1000 where there are]"
OF_LIKELIHOOD = [
    field
    for field in fields_of(LikelihoodJobSettings)
    if field.name not in EvaluateSettings.model_fields and field.name not in SamplingSettings.model_fields
]


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    found = parser().words(argv)
    if found.likelihood:
        return likelihood.measure(_without_generating(found), found.json)
    for field in OF_LIKELIHOOD:
        if getattr(found, field.name):
            raise InputError(f"expected --likelihood with {field.option}, which says how to measure it")
    job = job_settings(found, EvaluateSettings)
    sampling_with(SamplingSettings(), job.changes(), "command line")
    check_run(job.run)
    from ancestral.jobs.evaluate import evaluate

    show_result(evaluate(job), found.json, lambda result: show(result.value))
    return 0


def parser() -> Options:
    """The options of the verb, and of `ancestral likelihood` too."""
    options = job_options("ancestral evaluate", "RUN", ABOUT, EXAMPLES, EvaluateSettings)
    options.option("--likelihood", action="store_true", help=BITS)
    for field in OF_LIKELIHOOD:
        add_field(options, field._replace(about=f"with --likelihood: {field.about}"))
    return options


def _without_generating(found: Namespace) -> LikelihoodJobSettings:
    """What `ancestral likelihood` is asked by the same words."""
    typed = changes(found, sampling_fields())
    others = [name for name in ("inception", "weaker", "classifier") if getattr(found, name)]
    names = [*others, *(name for name in typed if name not in ("compute", "variance"))]
    if names:
        raise InputError(f"expected no --{names[0]} with --likelihood, which generates no images; leave it out")
    reverse = {"sampler": "ancestral", "variance": typed.get("variance")}
    found.variance = sampling_with(SamplingSettings(), reverse, "command line").variance
    return job_settings(found, LikelihoodJobSettings)


def show(result: "Evaluation") -> None:
    """The comparisons as tables, generated images first, then the floors; the rest in sentences."""
    from rich import box
    from rich.table import Table

    to = console(stderr=False)
    distances = Table("distance (less is better)", *DISTANCES.values(), box=box.SIMPLE)
    shares = Table("neighbours (more is better)", *SHARES, box=box.SIMPLE)
    for comparison in result.comparisons:
        name = f"{comparison.name}{FEW if comparison.too_few else ''}"
        distances.add_row(name, *(number(comparison[each]) for each in DISTANCES))
        shares.add_row(name, *(f"{comparison[each].value:.3f}" for each in SHARES))
    first = result.comparisons[0]
    to.print(
        f"{first.num_left:,} images against {first.num_right:,}; generated ones first, then the floors",
        distances,
        shares,
    )
    if first.too_few:
        tell(f"these numbers say nothing for or against the images: {first.too_few}")
    for nearness in result.nearness:
        ratio = "cannot be told" if nearness.ratio is None else f"{nearness.ratio:.2f}"
        meaning = FEW if nearness.too_few else " (1: no copies)"
        tell(f"distance to the nearest training image, generated over held out, in {nearness.space}: {ratio}{meaning}")
    if result.agreement is not None:
        tell(f"generated images in which a classifier sees the class asked for: {number(result.agreement)}")
    features = result.features
    if features.accuracy is not None:
        tell(f"features of {features.num_fitted or 0:,} training images that are not among those compared")
        tell(f"accuracy of that network on {features.num_held_out} held-out images: {features.accuracy:.3f}")
