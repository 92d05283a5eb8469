"""What is asked where one step of training, or of sampling, is shown with all its numbers. Imports no torch."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ancestral.jobs.settings import GeneratingSettings, JobSettings, Typed, folder_typed
from ancestral.prompts import Prompts
from ancestral.settings import MOST_IMAGES, ComputeSettings, NumTimesteps, Seed

PIXELS = 2**14  # of a side
Place = Annotated[int, Field(ge=0, le=PIXELS)]


class StepSettings(JobSettings):
    """What every step is asked."""

    pictures: ClassVar[tuple[str, ...]]  # names of those that `out` is for

    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of the noise"""
    classes: Annotated[str | None, Typed("NAME", usual="as the image's, or as sample has it")] = None
    """name or number of the class that the network is told, or none"""
    attributes: Annotated[str | None, Typed("LIST")] = None
    """numbers by name, age=0.3,smiling=1; what is left out is not told"""
    prompt: Annotated[str | None, Typed("TEXT")] = None
    """what to show, in words, of a network that reads texts"""
    pixel: Annotated[tuple[Place, Place] | None, Typed("ROW,COLUMN", such_as="3,4", usual="the middle")] = None
    """whose numbers are shown, of latents one of theirs"""
    out: Annotated[Path | None, Typed("DIR", read=folder_typed)] = None
    """also write what the step works on as pictures into this folder"""
    compute: ComputeSettings = ComputeSettings()

    def in_words(self) -> Prompts:
        """The prompt, if any."""
        return Prompts(() if self.prompt is None else (self.prompt,)).checked()


class TrainingStepSettings(StepSettings):
    """What `show training-step` is asked."""

    pictures = ("x0", "eps", "x_t", "output", "target", "x0_estimate", "eps_estimate", "squared_error")

    t: Annotated[NumTimesteps | None, Typed("T", usual="the middle")] = None
    """the timestep"""
    image: Annotated[Path | None, Typed("FILE")] = None
    """an image of one's own, fitted to the network's size"""
    held_out: Annotated[Annotated[int, Field(ge=0, le=MOST_IMAGES)] | None, Typed("N")] = None
    """or: which of the images that the run was not trained on, from 0"""
    generated: Annotated[Seed | None, Typed("INT", usual="0")] = None
    """or: the image that the network generates from this seed"""

    @model_validator(mode="after")
    def _one_image(self) -> "TrainingStepSettings":
        named = [name for name in ("image", "held_out", "generated") if getattr(self, name) is not None]
        if len(named) > 1:
            first, second = (f"--{name.replace('_', '-')}" for name in named[:2])
            raise ValueError(f"expected one image, got {first} and {second}; leave one of them out")
        return self


class SamplingStepSettings(StepSettings, GeneratingSettings):
    """What `show sampling-step` is asked."""

    pictures = ("x_t", "x0", "eps", "x_s")

    step: Annotated[NumTimesteps, Typed("K")] = 1
    """which step of the chain, from 1"""


STEPS: dict[str, type[TrainingStepSettings | SamplingStepSettings]] = {
    "training-step": TrainingStepSettings,
    "sampling-step": SamplingStepSettings,
}
"""By what they are called after `show`."""
