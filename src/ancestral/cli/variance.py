"""`ancestral variance`: the words of the command; the work is in estimating.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_overwrite, add_yes
from ancestral.cli.options import Options, whole
from ancestral.config import MOST_IMAGES, MOST_SEED, MOST_TIMESTEPS
from ancestral.folders import check_run

ABOUT = """\
Measure the best variance of RUN's reverse steps, from the errors its network makes on images it was not trained on.

It depends on the timestep alone, serves every number of steps, and is kept in RUN/pipeline: `--variance analytic` of
`ancestral sample` and `ancestral evaluate` takes it from there. It belongs to the weights it was measured with.
"""
EXAMPLES = ("ancestral variance runs/mnist", "ancestral sample runs/mnist --sampler ancestral --variance analytic")


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral variance", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run")
    options.option("--images", default="256", metavar="N", help="how many to measure the errors on [256]")
    options.option("--timesteps", default="50", metavar="N", help="how many, even in log-SNR [50]")
    options.option("--seed", default="0", metavar="INT", help="seed of the noise [0]")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    add_overwrite(options)
    add_yes(options)
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    images = whole(found.images, "--images", 2, MOST_IMAGES)
    timesteps, seed = (
        whole(found.timesteps, "--timesteps", 1, MOST_TIMESTEPS),
        whole(found.seed, "--seed", 0, MOST_SEED),
    )
    check_run(Path(found.run))
    from ancestral.cli.estimating import estimate_variance

    return estimate_variance(Path(found.run), images, timesteps, seed, found.device, found.overwrite, found.yes)
