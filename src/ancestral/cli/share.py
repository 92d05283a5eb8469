"""`ancestral share`: the words of the command; the work is in jobs/share.py."""

from collections.abc import Sequence

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.view import show_files
from ancestral.jobs.share import ShareSettings, share

ABOUT = """\
Write the model of RUN as one HTML file that generates in a browser: it opens from disk, asks the network for nothing,
and generates for a seed what torch generates. The page offers seeds, classes or prompts, samplers and steps, shows x_t
and x_0 of every step, fills what is painted over, and saves images and films.

Weights, settings and the names of classes are in the file; the folder's path and the images of training are not.
"""
EXAMPLES = (
    "ancestral share runs/digits",
    "ancestral share runs/digits --out digits.html --weights 8 --samplers all",
    'ancestral share runs/shapes --guidance 3 --prompt "a red circle above a blue square" --name "Two shapes"',
)


def run(argv: Sequence[str]) -> None:
    found = job_options("ancestral share", "RUN", ABOUT, EXAMPLES, ShareSettings).words(argv)
    show_files(share(job_settings(found, ShareSettings)), found.json)
