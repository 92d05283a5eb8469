"""`ancestral show`: the words of three commands that make pictures; the work is in showing.py."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ancestral.cli.options import Options, changes, leaves, whole
from ancestral.cli.output import tell, tell_json
from ancestral.config import DataSettings, ScheduleSettings, parse
from ancestral.errors import InputError

ABOUT = """\
usage: ancestral show {schedule,forward,data} [--help] ...

Pictures that need no training.

  schedule  beta_t, alpha_bar_t and log-SNR of noise schedules
  forward   an image on its way to noise, under several schedules
  data      a contact sheet of a data set or a folder, with its classes

examples:
  ancestral show schedule linear cosine sigmoid
  ancestral show forward photos --size 64
  ancestral show data ~/Pictures/birds --size 64 --fit pad
"""
SCHEDULES = tuple(name for name in get_args(ScheduleSettings.model_fields["name"].annotation) if name != "betas")

PHOTO_SIZE = 64
"""Of the photograph that `show forward` shows unless told otherwise."""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    parts = {"schedule": schedule, "forward": forward, "data": data}
    if not argv or argv[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    if argv[0] not in parts:
        raise InputError(f"expected ancestral show {', '.join(parts)}, got {argv[0]!r}")
    return parts[argv[0]](argv[1:])


def schedule(argv: Sequence[str]) -> int:
    """`ancestral show schedule`."""
    options = Options("ancestral show schedule", "[NAME ...]", "Curves of beta_t, alpha_bar_t and log-SNR over t.")
    options.option("names", nargs="*", metavar="NAME", help=f"out of {', '.join(SCHEDULES)} [linear cosine]")
    options.option("--timesteps", default="1000", metavar="T", help="T, the number of noising steps [1000]")
    options.option("--out", metavar="FILE", help="where the picture goes [schedule.png]")
    options.option("--json", action="store_true", help="print the tables as JSON; no picture unless --out is given")
    found = options.words(argv)
    settings = [_schedule(name, found.timesteps) for name in found.names or ("linear", "cosine")]
    from ancestral.cli import showing

    tables = showing.tables(settings)
    out = Path(found.out or "schedule.png")
    if found.out or not found.json:
        showing.write_curves(tables, out)
    if found.json:
        tell_json({"file": found.out, "schedules": showing.numbers(tables)})
    else:
        tell(str(out))
    return 0


def forward(argv: Sequence[str]) -> int:
    """`ancestral show forward`."""
    options = Options(
        "ancestral show forward",
        "[DATASET_OR_FOLDER]",
        "One image and one noise under several schedules, from t = 0 to t = T.",
    )
    _data_options(options, "photos", "forward.png")
    options.option("--schedules", nargs="+", default=["linear", "cosine"], metavar="NAME", help="[linear cosine]")
    options.option("--timesteps", default="1000", metavar="T", help="T, the number of noising steps [1000]")
    options.option("--image", default="0", metavar="N", help="which training image, from 0 [0]")
    options.option("--seed", default="0", metavar="INT", help="seed of the noise [0]")
    found = options.words(argv)
    settings = [_schedule(name, found.timesteps) for name in found.schedules]
    larger = {} if found.source else {"size": PHOTO_SIZE}
    images = _data(found.source or "photos", larger | changes(found, leaves(DataSettings())))
    number, seed = whole(found.image, "--image"), whole(found.seed, "--seed")
    from ancestral.cli import showing

    return _done(showing.write_forward(images, settings, number, seed, Path(found.out or "forward.png")), found.json)


def data(argv: Sequence[str]) -> int:
    """`ancestral show data`."""
    options = Options(
        "ancestral show data",
        "[DATASET_OR_FOLDER]",
        "A contact sheet of training images, fitted as for training, with classes.",
    )
    _data_options(options, "digits", "data.png")
    options.option("--num-images", default="64", metavar="N", help="how many, at most [64]")
    found = options.words(argv)
    images = _data(found.source or "digits", changes(found, leaves(DataSettings())))
    count = whole(found.num_images, "--num-images")
    if count < 1:
        raise InputError(f"expected --num-images of at least 1, got {count}")
    from ancestral.cli import showing

    return _done(showing.write_contact_sheet(images, count, Path(found.out or "data.png")), found.json)


def _data_options(options: Options, source: str, out: str) -> None:
    options.option("source", nargs="?", metavar="DATASET_OR_FOLDER", help=f"what to show [{source}]")
    options.option("--out", metavar="FILE", help=f"where the picture goes [{out}]")
    options.option("--json", action="store_true", help="print the file written as JSON")
    add_data(options)


def add_data(options: Options) -> None:
    """A flag for every setting of the images but where they come from."""
    options.settings("how images are read", [leaf for leaf in leaves(DataSettings()) if leaf[0] != "source"], "data")


def _data(source: str, given: dict[str, object]) -> DataSettings:
    return parse(DataSettings, {"source": source, **given}, "command line")


def _schedule(name: str, timesteps: str) -> ScheduleSettings:
    if name not in SCHEDULES:
        near = difflib.get_close_matches(name, SCHEDULES, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(SCHEDULES)}"
        raise InputError(f"expected the name of a schedule, got {name!r}; {remedy}")
    return parse(ScheduleSettings, {"name": name, "num_timesteps": timesteps}, "command line")


def _done(file: Path, as_json: bool) -> int:
    if as_json:
        tell_json({"file": str(file)})
    else:
        tell(str(file))
    return 0
