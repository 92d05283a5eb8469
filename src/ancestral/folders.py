"""The folders that ancestral and diffusers write, recognised by the names in them, and what they are for."""

from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ancestral.errors import InputError
from ancestral.files import INDEX, is_packed
from ancestral.text import printable

FolderKind = Literal["run", "pipeline", "checkpoint", "packed data set"]
PACKING = "packing.json"
"""What a packed data set has until it is whole."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
OF_A_RUN = ("lock", "log.jsonl", "checkpoints", "pipeline")
"""Beside config.json."""
OF_A_PIPELINE = ("model_index.json", "ancestral.json")
"""Either of them."""
USES: dict[FolderKind, str] = {
    "run": "ancestral train {} goes on with it, ancestral sample {} draws with it",
    "pipeline": "ancestral sample {} draws with it",
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
    if "config.json" in names and any(name in names for name in OF_A_RUN):
        return "run"
    if any(name in names for name in OF_A_PIPELINE) or {"config.json", "diffusion_pytorch_model.safetensors"} <= names:
        return "pipeline"
    if "manifest.json" in names and "state.json" in names:
        return "checkpoint"
    if PACKING in names or (INDEX in names and is_packed(folder)):
        return "packed data set"
    return None


def check_holds_images(folder: Path) -> None:
    """That a path that exists is a folder, and none of ours, from which no images are read.

    Raises:
        InputError: it is not; what to do with it is named.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of images, got a file: {printable(folder)}; {_of_a_file(folder)}")
    if (kind := kind_of(folder)) is not None:
        raise InputError(f"expected a folder of images, got a {kind}: {printable(folder)}; {use_of(folder, kind)}")


def use_of(folder: Path, kind: FolderKind) -> str:
    """The verbs that a folder of ours is for, in words."""
    return USES[kind].replace("{}", printable(folder))


def _of_a_file(path: Path) -> str:
    """What to do with a file where a folder of images is wanted."""
    if path.suffix.lower() in (".json", ".toml"):
        return f"settings are given by --config {printable(path)}"
    return "unpack it first" if path.suffix.lower() in ARCHIVES else "name the folder it lies in"
