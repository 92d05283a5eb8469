"""What `train` and `tune` are asked: TARGET, under a settings file, under settings by name.

Writes nothing, and loads no torch unless the target is a packed data set, whose index says the size of its images.
"""

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from ancestral.errors import InputError
from ancestral.files import is_url, read_json
from ancestral.folders import check_holds_images, kind_of
from ancestral.jobs.settings import Changes, ComputingSettings, CostlySettings, Typed
from ancestral.migrations import no_choices
from ancestral.migrations import settings as migrated
from ancestral.names import meant, spelled
from ancestral.presets import PRESETS, for_folder, in_latents
from ancestral.settings import (
    AnyConfig,
    ComputeSettings,
    Config,
    PositiveFloat,
    SamplingSettings,
    merged,
    parse,
    read_settings,
)
from ancestral.settings.data import NUM_THINGS

BUDGETS = ("steps", "images", "minutes")
C = TypeVar("C", bound=AnyConfig)


class RunPlan(NamedTuple):
    """The settings of a run, the folder it is written to, and what there is to say of the settings file."""

    config: Config
    out: Path
    notes: tuple[str, ...]


def path_typed(word: str, option: str) -> Path | None:
    """What was typed; None: nothing was."""
    return Path(word) if word else None


class TargetSettings(ComputingSettings):
    """What a job is asked that needs all settings of a run."""

    target: Annotated[str | None, Typed("TARGET", nargs="?")] = None
    """a preset, a folder of images or a run; may be left out with --config"""
    config: Annotated[Path | None, Typed("FILE", read=path_typed)] = None
    """settings, .toml or .json; the config.json of any run is one"""
    settings: Annotated[Changes, Field(default_factory=dict)]
    """By name, nested as in a file: laid over those of target and file."""


class TrainSettings(TargetSettings, CostlySettings):
    """A network is trained."""

    out: Annotated[Path | None, Typed("DIR", usual="runs/<name of the target>", read=path_typed)] = None
    """folder of the run"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """of several processes, whether each holds all weights or some rows of each"""
    tensorboard: bool = False
    """write curves for TensorBoard too (extra `track`)"""

    @cached_property
    def plan(self) -> RunPlan:
        """What is trained, and where it is written."""
        return plan(self.target, self.config, self.settings, self.out)


class TuneSettings(TargetSettings):
    """The fastest way of computing on this machine is measured, for one network."""

    minutes: Annotated[PositiveFloat | None, Typed("NUMBER", usual="1")] = None
    """how long to measure; what is begun is finished"""
    compile: bool = False
    """try compiled networks on a CPU too: takes minutes"""
    dry_run: bool = False
    """measure, and store nothing"""

    @cached_property
    def source(self) -> Path | RunPlan:
        """The folder whose pipeline is measured, or the plan of a new one."""
        folder = Path(self.target or "").expanduser()
        if not self.target or self.config or self.target in PRESETS or kind_of(folder) not in ("run", "pipeline"):
            return plan(self.target, self.config, self.settings, None)
        if others := [name for name in self.settings if name != "compute"]:
            own = f"{folder}, which has its own {others[0]}"
            raise InputError(f"expected only --compute settings with {own}; leave it out")
        self.compute()
        return folder

    def compute(self) -> ComputeSettings:
        """Those of the settings that say how to compute."""
        return parse(ComputeSettings, self.settings.get("compute", {}), "command line: compute")


def plan(target: str | None, file: Path | None, flags: dict[str, Any], out: Path | None) -> RunPlan:
    """The resolved settings: flags override the file, the file overrides the preset. A run goes on in its folder, with
    its own settings in place of a preset's; how it samples stays as it is there, unless file or flags say it.
    """
    if target is None and file is None:
        raise InputError(f"expected a preset ({', '.join(PRESETS)}), a folder of images, a run, or --config FILE")
    tree = {} if file is None else read_settings(file)
    config = Config() if target is None else settings_of(target, _choice("text", "none", tree, flags) != "none")
    if _choice("codec", config.codec.name, tree, flags) != "pixels" and config.codec.name == "pixels":
        config = in_latents(config)
    out = out or (None if target is None else _run_folder(target))
    config = overlaid(overlaid(config, migrated(tree), str(file)), flags, "command line")
    out = out or Path("runs") / _run_name(target or config.data.source)
    if "sampling" not in {*flags, *tree} and (stored := stored_sampling(out)) is not None:
        config = config.model_copy(update={"sampling": stored})
    said = {*tree.get("data", {}), *flags.get("data", {})}
    if told := {name: value for name, value in _stored_readings(out).items() if name not in said}:
        config = merged(config, {"data": told}, str(out))
    return RunPlan(config, out, tuple(f"{file}: {words}" for words in no_choices(tree)))


def _choice(branch: str, usual: str, *trees: dict[str, Any]) -> str:
    """The name that a branch of settings has by the last of these that says one, or else as usual."""
    said = [tree[branch].get("name") for tree in trees if isinstance(tree.get(branch), dict)]
    return next((str(name) for name in reversed(said) if name), usual)


def settings_of(target: str, captioned: bool = False) -> Config:
    """Those of a run that goes on, or what a preset, a folder of images or a packed data set stands for;
    `captioned`: of images of the user's own, whose captions are read."""
    if (run := _run_folder(target)) is not None:
        file = run / "config.json"
        return parse(Config, migrated(read_settings(file)), str(file))
    if target in PRESETS:
        return PRESETS[target]()
    if target in NUM_THINGS:
        return for_folder(target, captioned=captioned)
    folder = None if is_url(target) else place_of(target)
    if is_url(target) or (folder is not None and kind_of(folder) == "packed data set"):
        source = target if folder is None else str(folder.resolve())
        return merged(for_folder(source, captioned=captioned), {"data": packed_settings(source)}, source)
    if folder is not None:
        check_holds_images(folder)
        return for_folder(str(folder.resolve()), captioned=captioned)
    if os.sep in target:
        raise InputError(f"expected a folder of images, got none at {target}; check the path")
    if (name := spelled(target, PRESETS)) in PRESETS:
        return PRESETS[name]()
    raise InputError(f"expected a preset or a folder of images, got {target!r}; {meant(target, PRESETS)}")


def packed_settings(source: str) -> dict[str, Any]:
    """Those of the data that a packed data set says of itself."""
    from ancestral.data.shard_index import read_index
    from ancestral.data.store import remote_folder

    return read_index(remote_folder(source)).settings


def stored_sampling(out: Path) -> SamplingSettings | None:
    """How the run or pipeline in `out` samples, as its pipeline says (older versions told the run's settings nothing of
    a sweep) or its settings; None: neither. An analytic variance is not kept: it was measured of weights that
    training changes.
    """
    for file in (out / "pipeline" / "ancestral.json", out / "ancestral.json", out / "config.json"):
        with suppress(InputError, KeyError, TypeError):
            tree: Any = migrated(read_json(file))
            config = tree["config"] if file.name == "ancestral.json" else tree
            found = parse(SamplingSettings, config["sampling"], str(file))
            return found.model_copy(update={"variance": None}) if found.variance == "analytic" else found
    return None


def _stored_readings(out: Path) -> dict[str, Any]:
    """Which attributes and captions the run in `out` reads, older than they are or not; empty where there is no run."""
    with suppress(InputError, KeyError, TypeError):
        stored = migrated(read_json(out / "config.json"))["data"]
        return {name: stored[name] for name in ("attributes", "captions")}
    return {}


def _run_folder(target: str) -> Path | None:
    """The folder of a run that a target names, or None where it names something else."""
    folder = Path(target).expanduser()
    return folder if target not in PRESETS and kind_of(folder) == "run" else None


def extends(settings: dict[str, Any]) -> bool:
    """Whether the learning rate may rise again where a run goes on with a larger budget: its schedule is repeated among
    the settings that were typed."""
    return "lr_schedule" in settings.get("training", {})


def overlaid(base: C, changes: dict[str, Any], where: str) -> C:
    """`base` with `changes` laid over it; a budget among them, of whatever kind, replaces that of `base`."""
    training = changes.get("training")
    if isinstance(training, dict) and any(training.get(kind) is not None for kind in BUDGETS):
        changes = {**changes, "training": {**dict.fromkeys(BUDGETS), **training}}
    return merged(base, changes, where)


def _run_name(target: str) -> str:
    """That of a preset, however it was spelled, or of the folder."""
    name = Path(target).resolve().name or "run"
    return name if place_of(target) else spelled(name, PRESETS)


def place_of(target: str) -> Path | None:
    """A path that exists, or the folder of that name among the data sets of $ANCESTRAL_DATA."""
    places = [Path(target).expanduser()]
    if (root := os.environ.get("ANCESTRAL_DATA")) and os.sep not in target:
        places.append(Path(root).expanduser() / target)
    return next((place for place in places if place.exists()), None)
