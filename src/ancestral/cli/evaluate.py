"""`ancestral evaluate`: the words of the command and its tables; the work is `ancestral.jobs.evaluate`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli import likelihood
from ancestral.cli.job_options import asked
from ancestral.cli.output import console, rounded, tell
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
SHARES = ("precision", "recall", "density", "coverage")
FEW = " (too few images)"
"""What stands beside a number that tells nothing."""


def run(argv: Sequence[str]) -> int:
    if "--likelihood" in argv:
        return likelihood.run([word for word in argv if word != "--likelihood"])
    job, as_json = asked(argv, "ancestral evaluate", "RUN", ABOUT, EXAMPLES, EvaluateSettings)
    sampling_with(SamplingSettings(), job.changes(), "command line")
    check_run(job.run)
    from ancestral.jobs.evaluate import evaluate

    show_result(evaluate(job), as_json, lambda result: show(result.value))
    return 0


def show(result: "Evaluation") -> None:
    """The comparisons as tables, generated images first, then the floors; the rest in sentences."""
    from rich import box
    from rich.table import Table

    distances = Table("distance (less is better)", "Fréchet", "kernel", box=box.SIMPLE)
    shares = Table("neighbours (more is better)", *SHARES, box=box.SIMPLE)
    for comparison in result.comparisons:
        name = f"{comparison.name}{FEW if comparison.too_few else ''}"
        measured = (comparison["frechet"], comparison["kernel"])
        distances.add_row(name, *(rounded(each.value, each.standard_error) for each in measured))
        shares.add_row(name, *(f"{comparison[each].value:.3f}" for each in SHARES))
    first = result.comparisons[0]
    counts = f"{first.num_left:,} images against {first.num_right:,}; generated ones first, then the floors"
    console(stderr=False).print(counts, distances, shares)
    if first.too_few:
        tell(f"these numbers say nothing for or against the images: {first.too_few}")
    for nearness in result.nearness:
        ratio = "cannot be told" if nearness.ratio is None else f"{nearness.ratio:.2f}"
        meaning = FEW if nearness.too_few else " (1: no copies)"
        tell(f"distance to the nearest training image, generated over held out, in {nearness.space}: {ratio}{meaning}")
    if (agreement := result.agreement) is not None:
        share = rounded(agreement.value, agreement.standard_error)
        tell(f"generated images in which a classifier sees the class asked for: {share}")
    features = result.features
    if features.accuracy is not None:
        tell(f"features of {features.num_fitted or 0:,} training images that are not among those compared")
        tell(f"accuracy of that network on {features.num_held_out} held-out images: {features.accuracy:.3f}")
