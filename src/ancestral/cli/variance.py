"""`ancestral variance`: the words of the command; the work is in estimating.py."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.options import Options, whole
from ancestral.errors import InputError

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
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    images, timesteps = whole(found.images, "--images"), whole(found.timesteps, "--timesteps")
    seed = whole(found.seed, "--seed")
    if images < 2 or timesteps < 1 or seed < 0:
        raise InputError(
            "expected --images of at least 2, --timesteps of at least 1 and --seed of at least 0, "
            f"got {images}, {timesteps} and {seed}"
        )
    from ancestral.cli.estimating import estimate_variance

    return estimate_variance(Path(found.run), images, timesteps, seed, found.device)
