"""What jobs are asked, as typed and frozen settings, and how each field is typed on a command line. Imports no torch.

The text beneath a field is its help; its type, bounds and default are those of the option.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ancestral.errors import InputError
from ancestral.files import read_text
from ancestral.models import in_words, resolved
from ancestral.outputs import folder_named
from ancestral.prompts import Prompts
from ancestral.settings import MOST_CLASS_EMBEDS, MOST_SEED, ComputeSettings, Settings

Changes = dict[str, Any]  # settings by name, to be laid over those of a pipeline


@dataclass(frozen=True)
class Typed:
    """How a field is typed on a command line, where its name and type do not say it."""

    metavar: str | None = None  # what stands for its value in the help
    option: str | None = None  # its name
    also: str | None = None  # another name of it
    usual: str | None = None  # what the help says is taken where none is given; None: the default
    repeated: bool = False  # whether it may be typed several times, and gathers what is typed
    such_as: str = ""  # an example, where a value is several numbers with the same sign between them as in `metavar`
    nargs: str | int = ""  # how many values a positional has, as argparse says it; "": it is an option
    bare: bool = False  # whether the option may stand without a value, which is read as ""
    none: str | None = None  # the word for None, if any
    read: Callable[[Any, str], Any] | None = None  # a word, or the list of several, and the option's name -> the value
    names: Callable[[], str] | None = None  # what the help says at last, as it is when it is asked for


RunOrModel = Annotated[Path, BeforeValidator(resolved)]
"""The folder of a run or of a pipeline, or of the model that a word names."""
RUN = Typed("RUN", nargs=1, names=in_words)
"""How a `RunOrModel` is typed."""


class WritingSettings(Settings):
    """What every job is asked that writes files where they were not before."""

    overwrite: bool = False
    """replace files that are no results of this kind, too"""


class ComputingSettings(Settings):
    """What every job is asked that computes on a device."""

    device: Annotated[Literal["cpu", "cuda"] | None, Typed(usual="cuda where there is one")] = None
    """where to compute"""


class JobSettings(WritingSettings, ComputingSettings):
    """What every job on a run or a pipeline is asked."""

    run: Annotated[RunOrModel, RUN]
    """folder of a run or a pipeline, or the name of a model that comes along"""


class CostlySettings(ComputingSettings):
    """What a job is asked whose price is told before it begins."""

    yes: bool = False
    """do it though it takes more than an hour, half of the free memory or a tenth of the free disk"""


class GeneratingSettings(JobSettings, CostlySettings):
    """What every job that generates images is asked."""

    weaker: Annotated[RunOrModel | None, Typed("FOLDER")] = None
    """a run, pipeline or RUN/checkpoints/step-... to move away from (guidance_by autoguidance)"""
    classifier: Annotated[Path | None, Typed("FILE", usual="RUN/classifier.safetensors")] = None
    """of noisy images, by `train-classifier` (guidance_by classifier)"""
    sampling: Annotated[Changes, Field(default_factory=dict)]
    """How to generate, where it is not as the pipeline says."""
    compute: ComputeSettings = ComputeSettings()

    def changes(self, below: Changes | None = None) -> Changes:
        """What is to be laid over a pipeline's settings and over `below`; the networks named say the guidance_by."""
        changes = {**(below or {}), **self.sampling}
        if self.weaker and self.classifier:
            raise InputError("expected --weaker or --classifier, got both; a chain is guided by one of them")
        if not (self.weaker or self.classifier):
            return changes
        name, by = ("weaker", "autoguidance") if self.weaker else ("classifier", "classifier")
        if (got := changes.get("guidance_by", by)) != by:
            raise InputError(f"expected guidance_by {by} with --{name}, got {got}; leave out one of the two")
        return {**changes, "guidance_by": by}


def whole_typed(word: str, option: str) -> int | str:
    """A number that was typed; other words as they are."""
    return int(word) if word.isdecimal() else word


def folder_typed(word: str, option: str) -> Path | None:
    """The folder that was typed; None: nothing was."""
    return folder_named(word, option) if word else None


class PictureSettings(GeneratingSettings):
    """What jobs that write pictures of images are asked."""

    prompt: Annotated[tuple[str, ...], Typed("TEXT", repeated=True)] = ()
    """what to show, in words, of a network that reads texts; several times: of the images in turn"""
    prompts: Annotated[Path | None, Typed("FILE")] = None
    """the same, the lines of a text file"""
    blend: Annotated[str | None, Typed("SHARES")] = None
    """all images show a mix of the prompts, by shares such as 0.7,0.3"""
    between: bool = False
    """images lie evenly on the way from the first prompt to the last"""
    null_class: Annotated[Annotated[int, Field(ge=0, le=MOST_CLASS_EMBEDS - 1)] | None, Typed("N")] = None
    """index of the class that stands for no class, in a folder that diffusers wrote, which does not say"""
    out: Annotated[Path | None, Typed("DIR", read=folder_typed)] = None
    """where files go"""
    film: Annotated[Path | None, Typed("FILE")] = None
    """how they were generated, x_t beside x0 estimates: .gif, .webp, .mp4, .png"""

    @cached_property
    def asked_in_words(self) -> Prompts:
        """The prompts; an InputError where they mean nothing."""
        texts = self.prompt
        if self.prompts is not None:
            if texts:
                raise InputError("expected --prompt or --prompts, got both; leave one of them out")
            texts = tuple(line.strip() for line in read_text(self.prompts).splitlines() if line.strip())
            if not texts:
                raise InputError(f"expected a prompt on each line of {self.prompts}, got none; write some into it")
        if not texts and (self.blend is not None or self.between):
            name = "between" if self.between else "blend"
            raise InputError(f"expected --prompt with --{name}, got none; name the texts that are mixed")
        try:
            shares = None if self.blend is None else tuple(map(float, self.blend.split(",")))
        except ValueError:
            raise InputError(f"expected numbers with commas between for --blend, got {self.blend!r}") from None
        return Prompts(texts, shares, self.between).checked()

    def folder(self, name: str) -> Path:
        """Where pictures go: as asked, or into the run; a folder that is only a pipeline is left as it is."""
        return self.out or (self.run / name if (self.run / "pipeline").is_dir() else Path(name))

    def check_film(self) -> None:
        """Before anything is generated, that a film of this kind can be made here."""
        if self.film is not None:
            from ancestral.viz.films import check_film

            check_film(self.film.suffix.lower())


def seeds_from(first: int, count: int) -> range:
    """The seeds of so many images, of at most 63 bits."""
    if first + count > MOST_SEED + 1:
        raise InputError(f"expected --seed of at most {MOST_SEED + 1 - count}, got {first}")
    return range(first, first + count)
