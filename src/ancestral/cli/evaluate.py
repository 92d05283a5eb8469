"""`ancestral evaluate`: the words of the command and its tables; the work is `ancestral.jobs.evaluate`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli import likelihood
from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.output import console, number, tell
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.measurement_settings import EvaluateSettings
from ancestral.settings import SamplingSettings, sampling_with

if TYPE_CHECKING:
    from ancestral.evaluation.evaluate import Evaluation

ABOUT = """\
Generate images from RUN and measure them against images it was not trained on.

Distances mean little alone, so each stands beside its floors: what real images score against real images at the same
numbers, and what a Gaussian fitted to the data scores. The result is written to RUN/evaluation.json, and the report
shows it.

Bits per dimension of held-out images are measured by `ancestral likelihood`, which --likelihood stands for.
"""
EXAMPLES = (
    "ancestral evaluate runs/digits --images 2000",
    "ancestral evaluate runs/digits --images 500 --guidance 2",
)
DISTANCES = {"frechet": "Fréchet", "kernel": "kernel"}
FEW = " (too few images)"
"""What stands beside a number that tells nothing."""
SHARES = ("precision", "recall", "density", "coverage")


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code. With --likelihood it is `ancestral likelihood`."""
    if "--likelihood" in argv:
        return likelihood.run([word for word in argv if word != "--likelihood"])
    found = job_options("ancestral evaluate", "RUN", ABOUT, EXAMPLES, EvaluateSettings).words(argv)
    job = job_settings(found, EvaluateSettings)
    sampling_with(SamplingSettings(), job.changes(), "command line")
    check_run(job.run)
    from ancestral.jobs.evaluate import evaluate

    show_result(evaluate(job), found.json, lambda result: show(result.value))
    return 0


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
