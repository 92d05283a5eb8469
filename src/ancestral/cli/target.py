"""What `ancestral train` is to do: TARGET, under a settings file, under the flags. Writes nothing, and loads no torch
unless the target is a packed data set, whose index says the size of its images.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.cli.output import say
from ancestral.errors import InputError
from ancestral.files import is_url, read_json
from ancestral.folders import check_holds_images, kind_of
from ancestral.migrations import no_choices
from ancestral.migrations import settings as migrated
from ancestral.names import meant, spelled
from ancestral.presets import PRESETS, for_folder
from ancestral.settings import Config, SamplingSettings, merged, parse, read_settings

BUDGETS = ("steps", "images", "minutes")


class RunPlan(NamedTuple):
    """The settings of a run and the folder it is written to."""

    config: Config
    out: Path


def plan(target: str | None, file: Path | None, flags: dict[str, Any], out: Path | None) -> RunPlan:
    """The resolved settings: flags override the file, the file overrides the preset. A run goes on in its folder, with
    its own settings in place of a preset's; how its images are sampled stays as it is there, unless file or flags say
    it.

    Raises:
        InputError: neither target nor file, an unknown target, a faulty file, or a faulty setting.
    """
    if target is None and file is None:
        raise InputError(f"expected a preset ({', '.join(PRESETS)}), a folder of images, a run, or --config FILE")
    if target is not None and (run := run_folder(target)) is not None:
        out, config = out or run, recorded(run)
    else:
        config = Config() if target is None else preset(target)
    if file is not None:
        tree = read_settings(file)
        for words in no_choices(tree):
            say(f"{file}: {words}")
        config = overlaid(config, migrated(tree), str(file))
    config = overlaid(config, flags, "command line")
    out = out or Path("runs") / _run_name(target or config.data.source)
    restated = "sampling" in flags or (file is not None and "sampling" in read_settings(file))
    return RunPlan(config if restated else keeping_sampling(config, out), out)


def keeping_sampling(config: Config, out: Path) -> Config:
    """`config`, sampled as the run in `out` is, for which a sweep may have found something better; as it is where there
    is no run. An analytic variance is not kept: it was measured of weights that training changes.
    """
    found = _stored_sampling(out)
    if found is None:
        return config
    variance = None if found.variance == "analytic" else found.variance
    return config.model_copy(update={"sampling": found.model_copy(update={"variance": variance})})


def _stored_sampling(out: Path) -> SamplingSettings | None:
    """That of the pipeline, of which older versions told the settings of the run nothing, or of the settings."""
    for file, *names in (
        (out / "pipeline" / "ancestral.json", "config", "sampling"),
        (out / "config.json", "sampling"),
    ):
        with suppress(InputError, KeyError, TypeError):
            tree: Any = migrated(read_json(file))
            for name in names:
                tree = tree[name]
            return parse(SamplingSettings, tree, str(file))
    return None


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
        if kind_of(folder) == "packed data set":
            return packed(source)
        check_holds_images(folder)
        return for_folder(source)
    if os.sep in target:
        raise InputError(f"expected a folder of images, got none at {target}; check the path")
    if (name := spelled(target, PRESETS)) in PRESETS:
        return PRESETS[name]()
    raise InputError(f"expected a preset or a folder of images, got {target!r}; {meant(target, PRESETS)}")


def run_folder(target: str) -> Path | None:
    """The folder of a run that a target names, or None where it names something else."""
    folder = Path(target).expanduser()
    return folder if target not in PRESETS and kind_of(folder) == "run" else None


def recorded(run: Path) -> Config:
    """The settings of a run.

    Raises:
        InputError: its config.json is damaged.
    """
    file = run / "config.json"
    return parse(Config, migrated(read_settings(file)), str(file))


def packed(source: str) -> Config:
    """The recipe for a folder, at the size and in the colours that the images at `source` were packed in.

    Raises:
        InputError: no packed data set there, or none that can be read.
    """
    from ancestral.data.shard_index import read_index
    from ancestral.data.store import remote_folder

    return merged(for_folder(source), {"data": read_index(remote_folder(source)).settings}, source)


def overlaid(base: Config, changes: dict[str, Any], where: str) -> Config:
    """`base` with `changes` laid over it; a budget among them, of whatever kind, replaces that of `base`."""
    training = changes.get("training")
    if isinstance(training, dict) and any(training.get(kind) is not None for kind in BUDGETS):
        changes = {**changes, "training": {**dict.fromkeys(BUDGETS), **training}}
    return merged(base, changes, where)


def _run_name(target: str) -> str:
    """That of a preset, however it was spelled, or of the folder."""
    name = Path(target).resolve().name or "run"
    return name if _folder(target) else spelled(name, PRESETS)


def _folder(target: str) -> Path | None:
    """A path that exists, or the folder of that name among the data sets of $ANCESTRAL_DATA."""
    places = [Path(target).expanduser()]
    if (root := os.environ.get("ANCESTRAL_DATA")) and os.sep not in target:
        places.append(Path(root).expanduser() / target)
    return next((place for place in places if place.exists()), None)
