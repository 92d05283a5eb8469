"""What several verbs ask in the same words: how to generate, how to compute, every setting of a run."""

from typing import Any

from ancestral.cli.options import Fields, Options, leaves
from ancestral.settings import ComputeSettings, Config, SamplingSettings, parse

Given = dict[str, Any]
"""Settings that were typed, nested."""


def add_yes(options: Options) -> None:
    """The flag that lets work take more than is usual."""
    about = "do it though it takes more than an hour, half of the free memory or a tenth of the free disk"
    options.option("--yes", action="store_true", help=about)


def add_sampling(options: Options) -> None:
    """A flag for every setting of sampling, whose values the pipeline has, and of computing."""
    fields = [(name, field, "as the pipeline says") for name, field, _ in leaves(SamplingSettings())]
    options.settings("how to generate", fields)
    add_computing(options)


def add_computing(options: Options) -> None:
    """A flag for every setting of computing."""
    options.settings("how to compute", leaves(ComputeSettings(), "compute."))


def sampling_fields() -> Fields:
    """The settings behind those flags."""
    return [*leaves(SamplingSettings()), *leaves(ComputeSettings(), "compute.")]


def add_config(options: Options, defaults: Config) -> None:
    """A flag for every setting of a run, in groups; their help states the values of `defaults`."""
    for name in Config.model_fields:
        mine = [leaf for leaf in leaves(defaults) if leaf[0] == name or leaf[0].startswith(f"{name}.")]
        options.settings("settings of the run" if name == "seed" else f"settings: {name}", mine)


def add_overwrite(options: Options) -> None:
    """The flag that lets a result take the place of a file of the user's, or of a larger measurement."""
    options.option("--overwrite", action="store_true", help="replace files that are no results of this kind, too")


def computing(given: Given) -> ComputeSettings:
    """The given settings of how to compute.

    Raises:
        InputError: a faulty setting.
    """
    return parse(ComputeSettings, given.get("compute", {}), "command line: compute")
