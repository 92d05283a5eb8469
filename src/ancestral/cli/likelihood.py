"""`ancestral likelihood`: the words of the command and its table; the work is `ancestral.jobs.likelihood`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.job_options import asked
from ancestral.cli.output import console, rounded, tell
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.measurement_settings import LikelihoodJobSettings

if TYPE_CHECKING:
    from ancestral.evaluation.likelihood import Likelihood

ABOUT = """\
Measure the bound on bits per dimension of held-out images, with every term and its error.

Nothing is generated. The result is written to RUN/likelihood.json, and the report shows it. Stopped, it goes on when
the same command is given again.
"""
EXAMPLES = (
    "ancestral likelihood runs/mnist --images all --timesteps 64",
    "ancestral likelihood runs/mnist --chain 100 --timesteps all --variance analytic",
)


def run(argv: Sequence[str]) -> int:
    job, as_json = asked(argv, "ancestral likelihood", "RUN", ABOUT, EXAMPLES, LikelihoodJobSettings)
    check_run(job.run)
    from ancestral.jobs.likelihood import likelihood

    show_result(likelihood(job), as_json, lambda result: show(result.value))
    return 0


def show(result: "Likelihood") -> None:
    """What was measured, the terms as a table, and which noise they are paid at."""
    from rich import box
    from rich.table import Table

    to = console(stderr=False)
    table = Table("bits per dimension", "", box=box.SIMPLE)
    terms = {
        "total": result.total,
        f"L_T, t = {result.num_timesteps}": result.prior,
        "diffusion, t > 1": result.diffusion,
        "L_0": result.reconstruction,
    }
    for name, amount in terms.items():
        table.add_row(name, rounded(amount.value, amount.standard_error))
    to.print(heading(result), table)
    images, timesteps = result.error_from_images, result.error_from_timesteps
    tell(f"of its error {images:.2g} is the images', {timesteps:.2g} that of timesteps and noise; they add in squares")
    if result.too_few:
        tell(f"it says little: {result.too_few}")
    if result.diffusion.value > 0:
        tell(quarters(result))
    if (check := result.flow) is not None:
        measured = (check.flow, check.bound, check.difference)
        flow, bound, difference = (rounded(each.value, each.standard_error) for each in measured)
        tell(
            f"{check.num_images:,} images under the probability flow, {check.steps:,} steps: {flow}, the bound of the "
            f"same {bound}, difference {difference}"
        )


def heading(result: "Likelihood") -> str:
    """Of which images, along which chain, and of which density."""
    chain = "all" if result.steps == result.num_timesteps else f"{result.steps:,}"
    drawn = "all of them" if result.timesteps == result.steps - 1 else f"{result.timesteps:,} of them"
    variance = result.variance.replace("_", " ")
    density = "p(x | class), each image's class given" if result.given_classes else "p(x), no class given"
    return (
        f"{result.num_images:,} {result.part} images of {result.dims:,} dimensions, {chain} steps of "
        f"T = {result.num_timesteps:,}, {drawn} and L_0 for each image; {variance} variance; {density}"
    )


def quarters(result: "Likelihood") -> str:
    """The shares of the diffusion term that four equal ranges of log-SNR pay, the noisiest first."""
    middles = [stretch.log_snr for stretch in result.stretches]
    low, width = min(middles), (max(middles) - min(middles)) / 4 or 1.0
    shares = [0.0] * 4
    for stretch in result.stretches:
        shares[min(int((stretch.log_snr - low) / width), 3)] += stretch.bits / result.diffusion.value
    told = ", ".join(f"{share:.0%}" for share in shares)
    return f"the diffusion term is paid at log-SNR {low:.1f} to {max(middles):.1f}, by quarters: {told}"
