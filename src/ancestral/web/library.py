"""What the studio may touch, by ids: runs, pipelines and data folders below the folders that were named at its start.

An id is looked up in what was found there and is never read as a path, so no request can name a place. What is opened
is resolved first, through links, and has to lie within the run, pipeline or data folder that was found.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from ancestral.errors import InputError
from ancestral.folders import PICTURES, FolderKind, kind_by_names
from ancestral.models import models

DEPTH = 3  # folders below one that was named, in which runs and data are looked for
MOST_LOOKED_AT = 2000  # files of a folder, until it is taken for one without images
KINDS: dict[FolderKind, Literal["run", "autoencoder", "pipeline"]] = {
    "run": "run",
    "codec run": "autoencoder",
    "pipeline": "pipeline",
}


class UnknownId(LookupError):
    """Nothing was found that bears an id, or it has no such part."""


class Found(NamedTuple):
    """A run, a pipeline or a model that comes along; `place`: its path below the studio's folder."""

    id: str
    path: Path
    kind: Literal["run", "autoencoder", "pipeline", "model"]
    place: str

    def inside(self, *parts: str) -> Path:
        """A file or folder within it; UnknownId where it leads out or is not there."""
        return within(self.path, *parts)


class ScannedFolder(NamedTuple):
    """A folder as it was when its time of change was this: what it is, and the folders in it."""

    changed: int
    kind: FolderKind | None
    folders: tuple[str, ...]


class Library:
    """Looks again at each folder only when it has changed."""

    def __init__(self, folder: Path, data: Sequence[Path]) -> None:
        self.folder, self.roots = folder, tuple(data)
        self.listings: dict[Path, ScannedFolder] = {}
        self.runs: dict[str, Found] = {}
        self.models = {f"model:{name}": Found(f"model:{name}", path, "model", name) for name, path in models().items()}
        self.scan()

    def scan(self) -> dict[str, Found]:
        """What there is now, by id, but for models."""
        found: dict[str, Found] = {}
        for path, kind in self._below(self.folder, DEPTH):
            if kind in KINDS:
                place = path.relative_to(self.folder).as_posix()
                place = path.resolve().name if place == "." else place
                found[id_of(place)] = Found(id_of(place), path, KINDS[kind], place)
        self.runs = found
        return found

    def found(self, id: str) -> Found:
        """The run, pipeline or model that bears an id."""
        if (found := self.runs.get(id) or self.models.get(id)) is None:
            raise UnknownId(id)
        return found

    def run(self, id: str) -> Path:
        """The folder of the run, pipeline or model that bears an id."""
        return self.found(id).inside()

    def new_run(self, name: str) -> Found:
        """A run of that name, which is still to be made; InputError where something bears the name."""
        path = self.folder / name
        if os.path.lexists(path) and not (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
            raise InputError(f"expected a new name, got {name}, which there is already; choose another")
        return Found(id_of(name), path, "run", name)

    def data(self) -> dict[str, Path]:
        """The folders to train on, by id: those that were named and those in them that hold images or packed ones."""
        found: dict[str, Path] = {}
        for root in self.roots:
            for path, kind in self._below(root, 1):
                if kind == "packed data set" or (kind is None and holds_images(path)):
                    found.setdefault(id_of((Path(root.resolve().name) / path.relative_to(root)).as_posix()), path)
        return found

    def data_folder(self, id: str) -> Path:
        """The data folder that bears an id."""
        if (path := self.data().get(id)) is None:
            raise UnknownId(id)
        return within(path)

    def _below(self, folder: Path, depth: int) -> Iterator[tuple[Path, FolderKind | None]]:
        """A folder and those below it, none within what this package wrote; links and hidden ones are left out."""
        if (listing := self._listing(folder)) is None:
            return
        yield folder, listing.kind
        if listing.kind is None and depth:
            for name in listing.folders:
                yield from self._below(folder / name, depth - 1)

    def _listing(self, folder: Path) -> ScannedFolder | None:
        """What lies in a folder; None: it cannot be read."""
        try:
            changed = folder.stat().st_mtime_ns
            known = self.listings.get(folder)
            if known is not None and known.changed == changed:
                return known
            with os.scandir(folder) as entries:
                seen = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
        except OSError:
            return None
        folders = sorted(name for name, is_folder in seen if is_folder and not name.startswith("."))
        made = ScannedFolder(changed, kind_by_names(folder, {name for name, _ in seen}), tuple(folders))
        if time.time_ns() - changed > 1e9:  # else it may change again at what the clock calls the same time
            self.listings[folder] = made
        return made


def within(folder: Path, *parts: str) -> Path:
    """A path below a folder, without links; UnknownId where it leads out of the folder, or to nothing."""
    path, root = folder.joinpath(*parts).resolve(), folder.resolve()
    if not path.is_relative_to(root) or not path.exists():
        raise UnknownId("/".join(parts))
    return path


def id_of(place: str) -> str:
    """A name for addresses, the same at every start; a digest is added where the place has other signs in it."""
    part = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
    if re.fullmatch(f"{part}(/{part})*", place):
        return place.replace("/", "~")
    return f"{re.sub('[^A-Za-z0-9_-]+', '-', place).strip('-')}-{sha256(os.fsencode(place)).hexdigest()[:8]}"


def holds_images(folder: Path) -> bool:
    """Whether a picture lies in a folder or below it, as far as one looks."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    return any(name.lower().endswith(PICTURES) for name in islice(files, MOST_LOOKED_AT))
