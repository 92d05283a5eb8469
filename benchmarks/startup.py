"""How long one waits: whole processes, from the start of Python to its end."""

import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from benchmarks import ours
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.peers.diffusers import SCRIPT
from benchmarks.workloads import small

PYTHON = "python itself"
NETWORK = "import ancestral.pipeline"
DIFFUSERS_NETWORK = "from diffusers import UNet2DModel"
DIFFUSERS_SAMPLE = """
import sys
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
unet = UNet2DModel.from_pretrained(sys.argv[1] + "/unet", low_cpu_mem_usage=False)
DDIMPipeline(unet, DDIMScheduler())(batch_size=1, num_inference_steps=int(sys.argv[2])).images[0].save(sys.argv[3])
"""


def startup(quick: bool) -> Cases:
    """Seconds of processes."""
    yield Case(
        "ancestral --help",
        [_process(ours.NAME, "-m", "ancestral", "--help"), _process(PYTHON, "-c", "pass")],
        at_most=0.5,
    )
    yield Case("import ancestral", [_process(ours.NAME, "-c", "import ancestral"), _process(PYTHON, "-c", "pass")])
    yield Case(
        "import a network",
        [_process(ours.NAME, "-c", NETWORK), _process(SCRIPT.name, "-c", DIFFUSERS_NETWORK)],
        goals={SCRIPT.name: 1.0},
    )
    yield from _first_image(quick)
    yield from _first_step()


def _first_image(quick: bool) -> Cases:
    """From nothing to a picture on disk, by as many steps of DDIM."""
    work = small(quick)
    steps = 2 if quick else work.config.sampling.steps
    with tempfile.TemporaryDirectory() as folder:
        pipeline, out = Path(folder) / "pipeline", Path(folder) / "drawn"
        work.pipeline().save(pipeline)
        mine = ("sample", pipeline, "--num-images", "1", "--steps", str(steps), "--out", out)
        yield Case(
            f"one image on disk, {steps} steps",
            [
                _process(ours.NAME, "-m", "ancestral", *mine),
                _process(SCRIPT.name, "-c", DIFFUSERS_SAMPLE, pipeline, str(steps), Path(folder) / "theirs.png"),
            ],
            goals={SCRIPT.name: 1.0},
            at_most=1.5,
        )


def _first_step() -> Cases:
    """From nothing through one step and what ends a run: validation, a checkpoint, the pipeline."""
    words = ("-m", "ancestral", "train", "digits", "--training.steps", "1", "--out")
    with tempfile.TemporaryDirectory() as folder:
        runs = (Path(folder) / f"run-{number}" for number in count())
        mine = timed(lambda: subprocess.run([sys.executable, *words, next(runs)], check=True, capture_output=True))
        yield Case("train digits, one step, to its end", [Contestant(ours.NAME, mine)], at_most=3.0)


def _process(name: str, *words: str | Path) -> Contestant:
    command = [sys.executable, *map(str, words)]
    return Contestant(name, timed(lambda: subprocess.run(command, check=True, capture_output=True)))
