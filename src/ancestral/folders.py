"""The folders that ancestral and diffusers write, recognised by the names in them, and what they are for."""

import os
from collections.abc import Set
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from ancestral.errors import InputError
from ancestral.files import INDEX, half_of, is_packed
from ancestral.models import model_remedy
from ancestral.text import printable

FolderKind = Literal["run", "codec run", "pipeline", "checkpoint", "packed data set"]
OWN_FILE = "ancestral.json"  # in every pipeline that this package wrote
CODEC, CODEC_FILE = "codec", "codec.json"  # what the run of an autoencoder makes, and its settings
AUTOENCODER = "autoencoder"  # the run inside a run of diffusion in latents
AUTOENCODERS = ("vae", "vqvae")  # names that a pipeline has for the part that makes latents
PACKING = "packing.json"  # what a packed data set has until it is whole
PARTS = {
    *(OWN_FILE, "model_index.json", "network.json", "network.safetensors", "scheduler", "variance.json"),
    *("unet", "transformer", "network", "text_encoder", "tokenizer", *AUTOENCODERS),
}
"""Of a pipeline."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
USES: dict[FolderKind, str] = {
    "run": "ancestral train {} goes on with it, ancestral sample {} generates with it",
    "codec run": "ancestral train-codec {} goes on with it, ancestral rate {} measures it",
    "pipeline": "ancestral sample {} generates with it",
    "checkpoint": "ancestral train goes on with the run that it belongs to",
    "packed data set": "ancestral train {} trains on it",
}


def kind_of(folder: Path) -> FolderKind | None:
    """What was written into `folder`; None where it is none of ours, such as a folder of images."""
    with suppress(OSError):
        return kind_by_names(folder, {path.name for path in folder.iterdir()})
    return None


def kind_by_names(folder: Path, names: Set[str]) -> FolderKind | None:
    """The same, with the names of what lies in it."""
    if "config.json" in names and names & {"lock", "log.jsonl", "checkpoints", "pipeline"}:
        return "run"
    if CODEC_FILE in names and names & {"lock", "log.jsonl", "checkpoints", CODEC}:
        return "codec run"
    if names & {"model_index.json", OWN_FILE} or {"config.json", "diffusion_pytorch_model.safetensors"} <= names:
        return "pipeline"
    if {"manifest.json", "state.json"} <= names:
        return "checkpoint"
    if PACKING in names or (INDEX in names and is_packed(folder)):
        return "packed data set"
    return None


def check_holds_images(folder: Path) -> None:
    """That a path that exists is a folder, and none of ours, from which no images are read."""
    name, suffix = printable(folder), folder.suffix.lower()
    if not folder.is_dir():
        remedy = "unpack it first" if suffix in ARCHIVES else "name the folder it lies in"
        if suffix in (".json", ".toml"):
            remedy = f"settings are given by --config {name}"
        raise InputError(f"expected a folder of images, got a file: {name}; {remedy}")
    if (kind := kind_of(folder)) is not None:
        raise InputError(f"expected a folder of images, got a {kind}: {name}; {use_of(folder, kind)}")


def check_takes_pipeline(folder: Path) -> None:
    """That a pipeline may be written as `folder`, whose content it replaces: only a pipeline of this package's is."""
    if not os.path.lexists(folder):
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    in_its_run = folder.name == "pipeline" and kind_of(folder.parent) == "run"
    if names and OWN_FILE not in names and not in_its_run:
        what = f"a {kind_of(folder) or 'folder of other files'}" if folder.is_dir() else "a file"
        raise InputError(
            f"expected a new folder, or a pipeline that ancestral wrote, to save to, got {what}: {printable(folder)}; "
            "choose another"
        )


def autoencoder_in(folder: Path) -> Path | None:
    """The part of a pipeline that makes latents; None: there is none."""
    return next((folder / name for name in AUTOENCODERS if (folder / name).is_dir()), None)


def is_pipeline_part(name: str) -> bool:
    """Whether a pipeline folder consists of what has that name, be it half written."""
    return (half_of(name) or name) in PARTS


def check_run(folder: Path, *others: FolderKind) -> None:
    """That a folder is a run's, or of another kind where that is enough."""
    kind = kind_of(folder)
    is_run = kind == "run" or (kind is None and (folder / "config.json").is_file())
    if not is_run and kind not in others:
        named = f", or {model_remedy()}" if "pipeline" in others and kind is None else ""
        raise InputError(f"expected a run folder with a config.json, got {what_is(folder)}{named}")


def check_codec(folder: Path) -> None:
    """That a folder is the run of an autoencoder, or may hold one in the form of diffusers."""
    kind = kind_of(folder)
    alone = kind == "pipeline" and not any((folder / name).exists() for name in (OWN_FILE, "model_index.json"))
    if kind != "codec run" and not alone and not (kind is None and (folder / "config.json").is_file()):
        expected = "the run of an autoencoder, or a folder of an AutoencoderKL or VQModel"
        raise InputError(f"expected {expected}, got {what_is(folder, 'codec run')}")


def what_is(folder: Path, wanted: Literal["run", "codec run"] = "run") -> str:
    """What lies at a path where such a run is wanted, and what to do with it, in words."""
    name, kind, verb = printable(folder), kind_of(folder), "train" if wanted == "run" else "train-codec"
    if kind is not None:
        return f"a {kind}: {name}; {use_of(folder, kind)}"
    if not folder.is_dir():
        return f"{name}, which is no folder; `ancestral {verb}` makes a run"
    inside = [*islice(folder.rglob("*"), 1000)]
    if runs := [path for path in inside if path.is_dir() and kind_of(path) == wanted]:
        return f"{name}; name a run in it, such as {printable(min(runs))}"
    if any(path.suffix.lower() in PICTURES for path in inside):
        return f"a folder of images: {name}; ancestral {verb} {name} makes a run of it"
    return f"{name}; `ancestral {verb}` makes a run"


def use_of(folder: Path, kind: FolderKind) -> str:
    """The verbs that a folder of ours is for, in words."""
    return USES[kind].replace("{}", printable(folder))
