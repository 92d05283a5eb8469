"""What the job `import` is asked. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ancestral.errors import InputError
from ancestral.jobs.settings import Typed, folder_typed
from ancestral.settings import MOST_CLASS_EMBEDS, DiffusionSettings, NumTimesteps, Settings, Side, parse
from ancestral.settings.base import Width

STEPS = 250  # of a chain, as all three programs advise
NOT_IN_MILESTONES = {"source", "folder", "size", "null_class", "data"}
"""Fields that say what a milestone of denoising-diffusion-pytorch does not."""


class ImportSettings(Settings):
    """A checkpoint becomes a pipeline; what its file does not say is as its program has it, unless told. Of a milestone
    this is the size alone."""

    source: Annotated[Path, Typed("SOURCE", nargs=1)]
    """a file of weights: .pt or .safetensors"""
    folder: Annotated[Path, Typed("FOLDER", nargs=1, read=folder_typed)]
    """where the pipeline goes, a new folder"""
    size: Annotated[Side | None, Typed("PX", usual="what the widths are usual for")] = None
    """side of the images (needed for a milestone of denoising-diffusion-pytorch)"""
    heads: Annotated[Width | None, Typed("N", usual="4")] = None
    """attention heads at every level (--num_heads there)"""
    head_width: Annotated[Width | None, Typed("CHANNELS")] = None
    """channels of a head, in place of their number (--num_head_channels there)"""
    new_attention_order: bool = False
    """its queries, keys and values lie apart, not head by head (--use_new_attention_order there)"""
    schedule: Literal["linear", "cosine"] = "linear"
    """its noise schedule (--noise_schedule there)"""
    timesteps: Annotated[NumTimesteps, Typed("T")] = 1000
    """T, the number of noising steps (--diffusion_steps there)"""
    time: Annotated[Literal["index", "thousandths"], Typed(usual="thousandths of T")] = "thousandths"
    """what it is told of time: its index, or that as thousandths of T (--rescale_timesteps there)"""
    prediction: Literal["eps", "x0"] = "eps"
    """what it predicts (x0: --predict_xstart there)"""
    variance: Annotated[Literal["beta_published", "beta_tilde"] | None, Typed(usual="beta_published")] = None
    """of a network that has not learned its own (beta_tilde: --sigma_small there)"""
    null_class: Annotated[Annotated[int, Field(ge=0, le=MOST_CLASS_EMBEDS - 1)] | None, Typed("N")] = None
    """index of the class that stands for no class, which guidance needs; no program trains one"""
    data: Annotated[str, Typed("FOLDER_OR_SET", usual="none")] = ""
    """images like those it was trained on: FOLDER becomes a run of them, which evaluate and likelihood take, too"""

    @model_validator(mode="after")
    def _of_one_kind(self) -> "ImportSettings":
        if self.heads and self.head_width:
            raise ValueError("expected --heads or --head-width, got both; one follows from the other")
        return self

    def diffusion(self, learned: bool) -> DiffusionSettings:
        """The process; `learned`: whether the network says its variance."""
        if learned and self.variance:
            raise InputError(
                f"expected no --variance with {self.source}, whose network has learned its own; leave it out"
            )
        said: dict[str, Any] = {
            "schedule": {"name": self.schedule, "num_timesteps": self.timesteps},
            "prediction": self.prediction,
            "variance": "learned" if learned else self.variance or "beta_published",
            "time": "index" if self.timesteps == 1000 else self.time,  # which are then the same
        }
        return parse(DiffusionSettings, said, "command line")
