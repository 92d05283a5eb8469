"""What `train-codec` is asked: FOLDER, under a settings file, under settings by name.

Writes nothing, and loads no torch unless FOLDER is a packed data set.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ancestral.errors import InputError
from ancestral.files import is_url
from ancestral.folders import CODEC_FILE, check_holds_images, kind_of
from ancestral.jobs.settings import Changes, ComputingSettings, Typed
from ancestral.jobs.target import overlaid, packed_settings, path_typed, place_of
from ancestral.names import meant
from ancestral.presets import LATENT_SIDE, for_codec
from ancestral.settings import CodecConfig, merged, parse, read_settings
from ancestral.settings.data import DATA_SETS


class CodecPlan(NamedTuple):
    """The settings of a run that trains an autoencoder, and the folder it is written to."""

    config: CodecConfig
    out: Path


class TrainCodecSettings(ComputingSettings):
    """An autoencoder is trained."""

    target: Annotated[str | None, Typed("FOLDER", nargs="?")] = None
    """a folder of images, a packed data set, the name of a data set, or a run of this verb; may be left out with
    --config"""
    config: Annotated[Path | None, Typed("FILE", read=path_typed)] = None
    """settings, .toml or .json; the codec.json of any such run is one"""
    out: Annotated[Path | None, Typed("DIR", usual="runs/<name of FOLDER>-codec", read=path_typed)] = None
    """folder of the run"""
    tensorboard: bool = False
    """write curves for TensorBoard too (extra `track`)"""
    settings: Annotated[Changes, Field(default_factory=dict)]
    """By name, nested as in a file: laid over those of target and file."""

    @cached_property
    def plan(self) -> CodecPlan:
        """What is trained, and where it is written."""
        return codec_plan(self.target, self.config, self.settings, self.out)


def codec_plan(target: str | None, file: Path | None, flags: dict[str, Any], out: Path | None) -> CodecPlan:
    """The resolved settings: flags override the file, the file overrides the recipe. A run goes on in its folder, with
    its own settings in place of the recipe's."""
    if target is None and file is None:
        raise InputError(
            f"expected a folder of images, a data set ({', '.join(DATA_SETS)}), a run, or --config FILE; name one"
        )
    config = CodecConfig() if target is None else codec_settings_of(target)
    tree = {} if file is None else read_settings(file)
    config = overlaid(overlaid(config, tree, str(file)), flags, "command line")
    name = Path(target or config.data.source).expanduser().resolve().name or "run"
    return CodecPlan(config, out or (None if target is None else _run(target)) or Path("runs") / f"{name}-codec")


def codec_settings_of(target: str) -> CodecConfig:
    """Those of a run that goes on, or what a data set, a folder of images or a packed data set stands for."""
    if (run := _run(target)) is not None:
        return parse(CodecConfig, read_settings(run / CODEC_FILE), str(run / CODEC_FILE))
    if target in DATA_SETS:
        return for_codec(target)
    if is_url(target):
        return merged(for_codec(target), {"data": packed_settings(target)}, target)
    folder = place_of(target)
    if folder is None and os.sep in target:
        raise InputError(f"expected a folder of images, got none at {target}; check the path")
    if folder is None:
        raise InputError(f"expected a folder of images or a data set, got {target!r}; {meant(target, DATA_SETS)}")
    source = str(folder.resolve())
    if kind_of(folder) == "packed data set":
        return merged(for_codec(source), {"data": packed_settings(source)}, source)
    check_holds_images(folder)
    return for_codec(source, LATENT_SIDE)


def _run(target: str) -> Path | None:
    """The folder of a run that a target names, or None where it names something else."""
    folder = Path(target).expanduser()
    return folder if target not in DATA_SETS and kind_of(folder) == "codec run" else None
