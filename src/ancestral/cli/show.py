"""`ancestral show`: the words of three commands that make pictures; the work is in showing.py."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ancestral.cli.asking import add_overwrite
from ancestral.cli.options import Options, changes, leaves, whole
from ancestral.cli.output import tell, tell_json
from ancestral.errors import InputError
from ancestral.names import SAME, meant, spelled
from ancestral.outputs import SHOWN, Output, claim, file_named
from ancestral.settings import MOST_IMAGES, MOST_SEED, DataSettings, ScheduleSettings, parse

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
    name = spelled(argv[0], parts)
    if name not in parts:
        raise InputError(f"expected ancestral show {', '.join(parts)}, got {argv[0]!r}; {meant(argv[0], parts)}")
    return parts[name](argv[1:])


def schedule(argv: Sequence[str]) -> int:
    """`ancestral show schedule`."""
    options = Options("ancestral show schedule", "[NAME ...]", "Curves of beta_t, alpha_bar_t and log-SNR over t.")
    options.option("names", nargs="*", metavar="NAME", help=f"out of {', '.join(SCHEDULES)} [linear cosine]")
    options.option("--timesteps", default="1000", metavar="T", help="T, the number of noising steps [1000]")
    options.option("--out", metavar="FILE", help="where the picture goes [schedule.png]")
    add_overwrite(options)
    options.option("--json", action="store_true", help="print the tables as JSON; no picture unless --out is given")
    found = options.words(argv)
    settings = [_schedule(name, found.timesteps) for name in found.names or ("linear", "cosine")]
    from ancestral.cli import showing

    out = _picture(found, "schedule.png") if found.out is not None or not found.json else None
    tables = showing.tables(settings)
    if out:
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
    out = _picture(found, "forward.png")
    number, seed = whole(found.image, "--image", 0, MOST_IMAGES), whole(found.seed, "--seed", 0, MOST_SEED)
    from ancestral.cli import showing

    return _done(showing.write_forward(images, settings, number, seed, out), found.json)


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
    out = _picture(found, "data.png")
    count = whole(found.num_images, "--num-images", 1, MOST_IMAGES)
    from ancestral.cli import showing

    return _done(showing.write_contact_sheet(images, count, out), found.json)


def _data_options(options: Options, source: str, out: str) -> None:
    options.option("source", nargs="?", metavar="DATASET_OR_FOLDER", help=f"what to show [{source}]")
    options.option("--out", metavar="FILE", help=f"where the picture goes [{out}]")
    add_overwrite(options)
    options.option("--json", action="store_true", help="print the file written as JSON")
    add_data(options)


def add_data(options: Options) -> None:
    """A flag for every setting of the images but where they come from."""
    options.settings("how images are read", [leaf for leaf in leaves(DataSettings()) if leaf[0] != "source"], "data")


def _picture(found: Namespace, usual: str) -> Path:
    """Where the picture goes, once it is sure that it may."""
    file = file_named(found.out, "--out", (".png",)) or Path(usual)
    claim([Output(file, SHOWN)], found.overwrite)
    return file


def _data(source: str, given: dict[str, object]) -> DataSettings:
    return parse(DataSettings, {"source": source, **given}, "command line")


def _schedule(name: str, timesteps: str) -> ScheduleSettings:
    known = spelled(name, SCHEDULES, SAME["name"])
    if known not in SCHEDULES:
        raise InputError(f"expected the name of a schedule, got {name!r}; {meant(name, SCHEDULES)}")
    return parse(ScheduleSettings, {"name": known, "num_timesteps": timesteps}, "command line")


def _done(file: Path, as_json: bool) -> int:
    if as_json:
        tell_json({"file": str(file)})
    else:
        tell(str(file))
    return 0
