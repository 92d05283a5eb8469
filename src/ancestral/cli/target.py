"""What `ancestral train` is to do: TARGET, under a settings file, under the flags. Writes nothing, and loads no torch
unless the target is a packed data set, whose index says the size of its images.
"""

import difflib
import os
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.config import Config, merged, read_settings
from ancestral.errors import InputError
from ancestral.files import is_packed, is_url
from ancestral.presets import PRESETS, for_folder

BUDGETS = ("steps", "images", "minutes")


class Plan(NamedTuple):
    """The settings of a run and the folder it is written to."""

    config: Config
    out: Path


def plan(target: str | None, file: Path | None, flags: dict[str, Any], out: Path | None) -> Plan:
    """The resolved settings: flags override the file, the file overrides the preset.

    Raises:
        InputError: neither target nor file, an unknown target, a faulty file, or a faulty setting.
    """
    if target is None and file is None:
        raise InputError(f"expected a preset ({', '.join(PRESETS)}), a folder of images, or --config FILE")
    config = Config() if target is None else preset(target)
    if file is not None:
        config = overlaid(config, read_settings(file), str(file))
    config = overlaid(config, flags, "command line")
    return Plan(config, out or Path("runs") / (Path(target or config.data.source).resolve().name or "run"))


def preset(target: str) -> Config:
    """The settings that a preset's name, a folder of images, or a packed data set stands for.

    Raises:
        InputError: none of them; the nearest preset is suggested. A packed set that is out of reach.
    """
    if target in PRESETS:
        return PRESETS[target]()
    if is_url(target):
        return packed(target)
    if (folder := _folder(target)) is not None:
        source = str(folder.resolve())
        return packed(source) if is_packed(folder) else for_folder(source)
    if os.sep in target:
        raise InputError(f"expected a folder of images, got none at {target}; check the path")
    near = difflib.get_close_matches(target, PRESETS, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"presets are {', '.join(PRESETS)}"
    raise InputError(f"expected a preset or a folder of images, got {target!r}; {remedy}")


def packed(source: str) -> Config:
    """The recipe for a folder, at the size and in the colours that the images at `source` were packed in.

    Raises:
        InputError: no packed data set there, or none that can be read.
    """
    from ancestral.data.shard_index import read_index
    from ancestral.data.store import place_at

    return merged(for_folder(source), {"data": read_index(place_at(source)).settings}, source)


def overlaid(base: Config, changes: dict[str, Any], where: str) -> Config:
    """`base` with `changes` laid over it; a budget among them, of whatever kind, replaces that of `base`."""
    training = changes.get("training")
    if isinstance(training, dict) and any(training.get(kind) is not None for kind in BUDGETS):
        changes = {**changes, "training": {**dict.fromkeys(BUDGETS), **training}}
    return merged(base, changes, where)


def check_writable(out: Path) -> None:
    """Before any work is done for it: whether the folder could be made, and written to.

    Raises:
        InputError: it could not.
    """
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError(f"cannot write to {out}: {there} is no folder; choose another with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {out}: {there} is read-only; choose another with --out")


def _folder(target: str) -> Path | None:
    """A path that exists, or the folder of that name among the data sets of $ANCESTRAL_DATA."""
    places = [Path(target).expanduser()]
    if (root := os.environ.get("ANCESTRAL_DATA")) and os.sep not in target:
        places.append(Path(root).expanduser() / target)
    return next((place for place in places if place.exists()), None)
