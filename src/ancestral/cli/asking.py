"""How to draw, asked in the same words by `sample` and `evaluate`."""

from typing import Any

from ancestral.cli.options import Options, leaves
from ancestral.config import Config, SamplingSettings, parse


def add_sampling(options: Options) -> None:
    """A flag for every setting of sampling; what the pipeline says counts where none is given."""
    fields = [(name, field, "as the pipeline says") for name, field, _ in leaves(SamplingSettings())]
    options.settings("how to draw", fields)


def sampling(config: Config, given: dict[str, Any]) -> SamplingSettings:
    """The pipeline's settings with the given ones laid over them; its eta goes with its sampler.

    Raises:
        InputError: a faulty setting, or settings that do not go together.
    """
    base = config.sampling.model_dump()
    if given.get("sampler", base["sampler"]) != base["sampler"]:
        base["eta"] = None
    return parse(SamplingSettings, {**base, **given}, "command line")
