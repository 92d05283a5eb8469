"""What the jobs that measure a run are asked. Imports no torch."""

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ancestral.errors import InputError
from ancestral.evaluation.settings import GRIDS, SAMPLERS, LikelihoodSettings, SweepSettings
from ancestral.jobs.settings import CostlySettings, GeneratingSettings, JobSettings, Typed
from ancestral.names import SAME, meant, spelled
from ancestral.outputs import file_named
from ancestral.settings import MOST_IMAGES, ComputeSettings, NumImages, NumTimesteps, PositiveFloat, Seed

SeveralImages = Annotated[int, Field(ge=2, le=MOST_IMAGES)]


class RunSettings(JobSettings):
    """What a job is asked that needs a run, and not only its pipeline."""

    run: Annotated[Path, Typed("RUN", nargs=1)]
    """folder of a run"""


class EvaluateSettings(RunSettings, GeneratingSettings):
    """Generated images are measured against held-out ones."""

    num_images: Annotated[NumImages, Typed("N", option="images")] = 1000
    """how many to generate, as many of each class"""
    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of everything that is drawn at random"""
    inception: Annotated[Path | None, Typed("FILE")] = None
    """weights of Inception-v3: measure in its features (extra `fid`)"""


class LikelihoodJobSettings(LikelihoodSettings, RunSettings, CostlySettings):
    """The bound on bits per dimension of test images is measured; where nothing says of how many, of 1000 or all."""

    num_images: Annotated[SeveralImages | None, Typed("N", "images", usual="1000 where there are", none="all")] = None
    """how many test images, or all"""
    timesteps: Annotated[NumTimesteps | None, Typed("K", none="all")] = 32
    """terms drawn for each image, or all"""
    chain: Annotated[NumTimesteps | None, Typed("N", usual="all T")] = None
    """steps of the chain, even in log-SNR"""
    num_timesteps: Annotated[Annotated[NumTimesteps, Field(ge=2)] | None, Typed("T", usual="its own")] = None
    """another T between the same ends, for a network that is told the log-SNR"""
    flow: Annotated[SeveralImages | None, Typed("N", usual="none")] = None
    """check the bound against the probability flow on so many of the images; slow"""
    compute: ComputeSettings = ComputeSettings()


class VarianceSettings(RunSettings, CostlySettings):
    """The best variance of a network's reverse steps is measured."""

    images: Annotated[SeveralImages, Typed("N")] = 256
    """how many to measure the errors on"""
    timesteps: Annotated[NumTimesteps, Typed("N")] = 50
    """how many, even in log-SNR"""
    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of the noise"""


class TrainClassifierSettings(RunSettings):
    """A classifier of noisy images is trained."""

    minutes: Annotated[PositiveFloat | None, Typed("NUMBER", usual="2, unless --steps says how far")] = None
    """how long to train"""
    steps: Annotated[Annotated[int, Field(ge=1, le=10**9)] | None, Typed("N", usual="any")] = None
    """how many steps to train; the first limit that is reached counts"""
    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of everything that is random"""
    out: Annotated[
        Path | None,
        Typed("FILE", usual="RUN/classifier.safetensors", read=partial(file_named, suffixes=(".safetensors",))),
    ] = None
    """where it is kept"""


def _known(names: tuple[str, ...], words: list[str], option: str) -> list[str]:
    """The words as the names that they spell."""
    same = SAME.get(option.removeprefix("--").removesuffix("s"))
    found = [spelled(word, names, same) for word in words]
    for word, name in zip(words, found, strict=True):
        if name not in names:
            raise InputError(f"expected {option} out of {', '.join(names)}, got {word!r}; {meant(word, names)}")
    return found


class SweepJobSettings(SweepSettings, GeneratingSettings):
    """Samplers are measured against network calls, and the best may become how the pipeline generates."""

    run: Annotated[Path, Typed("RUN", nargs=1)]
    """folder of a run, or of a pipeline that was copied from one"""
    calls: Annotated[tuple[NumTimesteps, ...], Typed("N")] = (5, 10, 20)
    """network calls for an image, at most"""
    samplers: Annotated[tuple[str, ...], Typed("NAME", usual="all", read=partial(_known, SAMPLERS))] = SAMPLERS
    """out of those of --sampler"""
    grids: Annotated[tuple[str, ...], Typed("NAME", usual="all", read=partial(_known, GRIDS))] = GRIDS
    """out of those of --grid"""
    keep: Annotated[bool, Typed(also="dry-run")] = False
    """measure, and keep how RUN generates, whatever is best"""
