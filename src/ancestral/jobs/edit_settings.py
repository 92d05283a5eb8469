"""What every task of `edit` is asked. Imports no torch."""

from abc import abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.events import Event
from ancestral.jobs.settings import Changes, PictureSettings, Typed, folder_typed, seeds_from
from ancestral.outputs import FILM, GENERATED, Output, claim
from ancestral.settings import NumImages, Seed

if TYPE_CHECKING:
    from ancestral.jobs.edit_plans import EditPlan, EditRequest

Planning = Generator[Event, None, "EditPlan"]
"""What is done before images are generated, and then the plan of those."""
RESULTS = "how many results"
IMAGES = "PNG, JPEG, WebP, BMP, GIF or TIFF files"
GRAIN = "noise given to images before they are inverted: 0 returns them best, 0.1 makes noise of them"


class EditSettings(PictureSettings):
    """A task of `edit`: its class says what it does, in the docstring, and how it plans its results."""

    words: ClassVar[str]
    """What is typed before the options."""
    examples: ClassVar[tuple[str, ...]]

    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of the first result; the next one's is 1 more"""
    classes: Annotated[str, Typed("LIST")] = "none"
    """names or numbers of classes, or all"""
    out: Annotated[Path | None, Typed("DIR", usual="RUN/edited; for a mere pipeline ./edited", read=folder_typed)] = (
        None
    )
    """where files go"""

    @abstractmethod
    def plan(self, request: "EditRequest") -> Planning:
        """What is to be generated.

        Raises:
            InputError: something that does not fit the pipeline.
        """

    @classmethod
    def task(cls) -> str:
        """The task's name."""
        return cls.__name__.lower()

    @property
    def result_seeds(self) -> range:
        """Of the results of each image."""
        return seeds_from(self.seed, 1)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the images given."""
        return ()

    @property
    def inputs(self) -> list[Path]:
        """All files that are read."""
        return [*self.paths]

    def changes(self, below: Changes | None = None) -> Changes:
        """As of every job; guidance needs a class, or another network, to guide."""
        changes = super().changes(below)
        guidance = str(changes.get("guidance", 1))
        if guidance not in ("0", "1", "1.0") and self.classes == "none" and changes.get("guidance_by") is None:
            raise InputError(f"expected --classes with --guidance {guidance}: without a class nothing guides")
        return changes

    def files(self, names: list[str]) -> list[Path]:
        """The files of the picture of all results, and of each result, once it is sure that they may be written.

        Args:
            names: ends of the names of the results' files.
        """
        task, folder = self.task(), self.folder("edited")
        files = [folder / f"{name}.png" for name in (task, *(f"{task}-{name}" for name in names))]
        films = [Output(self.film, FILM)] if self.film else []
        claim([*(Output(file, GENERATED) for file in files), *films], self.overwrite, self.inputs)
        return files


class ManyResults(EditSettings):
    """A task of several results, each from a noise of its own."""

    num_images: Annotated[NumImages, Typed("N"), Field(description=RESULTS)] = 4

    @property
    def result_seeds(self) -> range:
        """Of the results of each image."""
        return seeds_from(self.seed, self.num_images)


class OfImages(EditSettings):
    """A task that is given images."""

    images: Annotated[tuple[Path, ...], Typed("IMAGE", nargs="+"), Field(description=IMAGES)]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the images given."""
        return self.images


class ImageEdit(OfImages, ManyResults):
    """A task that changes images."""


class InvertingSettings(OfImages):
    """A task that goes from images to their noises and back: by one class, and without noise."""

    corrections: Annotated[int, Field(ge=0, le=10_000), Typed("N")] = 1
    """more network calls a step up, for a truer way"""
    grain: Annotated[float, Typed("SIGMA"), Field(description=GRAIN)] = 0.0

    def changes(self, below: Changes | None = None) -> Changes:
        """As of every task, by a sampler that adds no noise unless another was asked for.

        Raises:
            InputError: several classes.
        """
        if self.classes == "all" or "," in self.classes:
            raise InputError(
                f"expected one class for {self.task()}, got {self.classes!r}: both ways are by the same one"
            )
        return {"sampler": "ddim", **super().changes(below)}
