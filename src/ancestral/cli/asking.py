"""What several verbs ask in the same words: how to draw, how to compute, every setting of a run."""

from typing import Any

from ancestral.cli.options import Fields, Options, leaves
from ancestral.config import ComputeSettings, Config, SamplingSettings, parse

Given = dict[str, Any]
"""Settings that were typed, nested."""


def add_drawing(options: Options) -> None:
    """A flag for every setting of sampling, whose values the pipeline has, and of computing."""
    fields = [(name, field, "as the pipeline says") for name, field, _ in leaves(SamplingSettings())]
    options.settings("how to draw", fields)
    options.settings("how to compute", leaves(ComputeSettings(), "compute."))


def drawing_fields() -> Fields:
    """The settings behind those flags."""
    return [*leaves(SamplingSettings()), *leaves(ComputeSettings(), "compute.")]


def add_config(options: Options, defaults: Config) -> None:
    """A flag for every setting of a run, in groups; their help states the values of `defaults`."""
    for name in Config.model_fields:
        mine = [leaf for leaf in leaves(defaults) if leaf[0] == name or leaf[0].startswith(f"{name}.")]
        options.settings("settings of the run" if name == "seed" else f"settings: {name}", mine)


def sampling(config: Config, given: Given) -> SamplingSettings:
    """The pipeline's settings with the given ones laid over them; what belongs to its sampler goes with it.

    Raises:
        InputError: a faulty setting, or settings that do not go together.
    """
    base = config.sampling.model_dump()
    if given.get("sampler", base["sampler"]) != base["sampler"]:
        base["eta"] = base["variance"] = base["grid"] = None
    asked = {name: value for name, value in given.items() if name != "compute"}
    return parse(SamplingSettings, {**base, **asked}, "command line")


def computing(given: Given) -> ComputeSettings:
    """The given settings of how to compute.

    Raises:
        InputError: a faulty setting.
    """
    return parse(ComputeSettings, given.get("compute", {}), "command line: compute")
