"""Checkpoints of other programs: which wrote a file, by the names of its tensors, and why it may not be had."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ancestral.errors import InputError
from ancestral.folders import kind_of, use_of
from ancestral.hub.lucidrains import is_milestone
from ancestral.hub.openai import is_openai
from ancestral.hub.published import read_checkpoint

READ = "a .pt or .safetensors file of improved-diffusion, guided-diffusion or denoising-diffusion-pytorch"
ELSEWHERE = "generate with that program, or train on its images by `ancestral train FOLDER`"


class _Foreign(NamedTuple):
    is_this: Callable[[Collection[str]], bool]  # by the names of the tensors
    what: str
    why: str
    remedy: str = ELSEWHERE


def _some(*ends: str) -> Callable[[Collection[str]], bool]:
    return lambda names: any(name.endswith(ends) for name in names)


FOREIGN = (
    _Foreign(
        _some("timestep_embed.weight", "time_emb.weight"),
        "a network of k-diffusion",
        "which hears the noise in every normalisation and sees images scaled by it, as none here does",
    ),
    _Foreign(
        lambda names: any("model.diffusion_model." in name for name in names),
        "a checkpoint of latent diffusion",
        "several networks in one file",
        "take its folder of diffusers, which every verb reads as it is",
    ),
    _Foreign(
        lambda names: (
            "input_blocks.0.0.weight" in names and not any(name.startswith("output_blocks.") for name in names)
        ),
        "a classifier of guided-diffusion",
        "which makes no images",
        "train one for a run by `ancestral train-classifier`",
    ),
)


def read_foreign(source: Path) -> dict[str, Tensor]:
    """The tensors of a file of `READ`. Raises InputError for any other, by name where it is known."""
    if source.is_dir():
        kind = kind_of(source)
        remedy = "name a file in it" if kind is None else use_of(source, kind)
        raise InputError(f"expected {READ}, got a {kind or 'folder'}: {source}; {remedy}")
    if source.suffix.lower() in (".pkl", ".pickle"):
        raise InputError(
            f"expected {READ}, got a pickle: {source}; reading one, such as a network of EDM, runs the code inside, so "
            f"it is left closed: {ELSEWHERE}"
        )
    tensors = read_checkpoint(source, READ)
    for foreign in FOREIGN:
        if foreign.is_this(tensors):
            raise InputError(f"expected {READ}, got {foreign.what}: {source}, {foreign.why}; {foreign.remedy}")
    if not is_openai(tensors) and not is_milestone(tensors):
        some = ", ".join([*tensors][:3]) or "none"
        raise InputError(f"expected {READ}, got a file of other tensors: {source} ({some}); {ELSEWHERE}")
    return tensors
