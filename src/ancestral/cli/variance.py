"""`ancestral variance`: the words of the command; the work is `ancestral.jobs.variance`."""

from collections.abc import Sequence

from ancestral.cli.job_options import asked
from ancestral.cli.output import tell
from ancestral.cli.view import show_result
from ancestral.folders import check_run
from ancestral.jobs.measurement_settings import VarianceSettings

ABOUT = """\
Measure the best variance of RUN's reverse steps, from the errors its network makes on images it was not trained on.

It depends on the timestep alone, serves every number of steps, and is kept in RUN/pipeline: `--variance analytic` of
`ancestral sample` and `ancestral evaluate` takes it from there. It belongs to the weights it was measured with.
"""
EXAMPLES = ("ancestral variance runs/mnist", "ancestral sample runs/mnist --sampler ancestral --variance analytic")


def run(argv: Sequence[str]) -> int:
    job, as_json = asked(argv, "ancestral variance", "RUN", ABOUT, EXAMPLES, VarianceSettings)
    check_run(job.run)
    from ancestral.jobs.variance import estimate_variance

    show_result(estimate_variance(job), as_json, lambda result: tell(str(result.value)))
    return 0
