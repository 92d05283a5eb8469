"""`ancestral sample`: the words of the command; the work is in jobs/sample.py."""

from collections.abc import Sequence

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.view import show_files
from ancestral.jobs.sample import SampleSettings, sample

ABOUT = """\
Generate images with RUN: the folder of a run, its pipeline, a folder that diffusers wrote, or a model that comes along,
by its name.

Image i has the seed --seed + i, and the same seed gives the same image in any batch. A PNG file tells in its
metadata how it was generated, and --from FILE generates it again. A pipeline with classes generates all of them in
turn, unless --classes says which.
"""
EXAMPLES = (
    "ancestral sample digits",
    "ancestral sample runs/digits --classes 3,7 --num-images 20 --guidance 2",
    "ancestral sample runs/digits --film film.gif --strip",
    "ancestral sample runs/digits --guidance 2 --weaker runs/digits/checkpoints/step-00001000",
    "ancestral sample runs/digits --from runs/digits/generated/seed-17.png",
    "ancestral sample runs/digits --sampler ancestral --steps 1000 --arrays chain.npz",
)


def run(argv: Sequence[str]) -> None:
    found = job_options("ancestral sample", "RUN", ABOUT, EXAMPLES, SampleSettings).words(argv)
    show_files(sample(job_settings(found, SampleSettings)), found.json)
