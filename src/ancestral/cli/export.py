"""`ancestral export`: the words of the command; the work is in jobs/export.py."""

from collections.abc import Sequence

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.view import show_files
from ancestral.jobs.export import ExportSettings, export

ABOUT = """\
Write the model of RUN as ONNX, with all that generating takes: how it samples, its classes, attributes, tokenizer. What
runs it needs neither torch nor this package:

  python -m ancestral_lite model.onnx --seed 0 --num-images 16 --out grid.png

The sampler, its steps and the rest of how to generate are settled here; guidance may be changed when it is run.
"""
EXAMPLES = (
    "ancestral export runs/digits --onnx",
    "ancestral export runs/digits --onnx digits.onnx --weights 16 --sampler dpm++2m --steps 10",
    "ancestral export runs/emoji-64 --onnx emoji --guidance 2",
)


def run(argv: Sequence[str]) -> None:
    found = job_options("ancestral export", "RUN --onnx [FILE_OR_FOLDER]", ABOUT, EXAMPLES, ExportSettings).words(argv)
    show_files(export(job_settings(found, ExportSettings)), found.json)
