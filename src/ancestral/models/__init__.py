"""The models that come along: pipeline folders in this package and in `ancestral_models`, each known by a name.

A word is such a name only where no file or folder of that name is in the place. Beside the folders lies a table of the
SHA-256 of every file in them, in the form of `sha256sum`, which is looked at when a model is loaded. `ancestral_models`
holds data alone; it is found and never imported. Nothing is ever written into either.
"""

import os
from contextlib import suppress
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path

from ancestral.errors import InputError
from ancestral.files import LEFT_BY_SYSTEM, as_path, open_regular, read_text

TABLE = "SHA256SUMS"
CARD = "README.md"  # of a model; its first line is "# name: what it generates"
OTHERS = "ancestral_models"  # the package of those that are not in this one


def models() -> dict[str, Path]:
    """The folder of every model that is there, by its name; of two of one name that of this package."""
    found: dict[str, Path] = {}
    for root in _roots():
        for name in sorted({*map(_model_of, _table(root))}):
            found.setdefault(name, root / name)
    return found


def resolved(given: Path | str) -> Path:
    """The folder that a word means where a run or a pipeline is wanted: a path, or where nothing bears that name the
    model that does. `./name` is always a path."""
    path, word = as_path(given), os.fspath(given)
    if os.path.lexists(path) or str(path) not in (known := models()):
        return path
    return known[word] if word in known else path.absolute()


def comes_along(folder: Path) -> bool:
    """Whether a folder is that of such a model, which stays as it is."""
    return folder.resolve() in {each.resolve() for each in models().values()}


def check_unchanged(folder: Path) -> None:
    """That the files in the folder of such a model are those of its table; of any other folder nothing is asked."""
    if not comes_along(folder):
        return
    root, name = folder.resolve().parent, folder.resolve().name
    remedy = f"install {'ancestral-models' if root.name == OTHERS else 'ancestral'} again"
    told = {file: digest for file, digest in _table(root).items() if _model_of(file) == name}
    files = (path for path in (root / name).rglob("*") if not path.is_dir() and not LEFT_BY_SYSTEM.fullmatch(path.name))
    there = {path.relative_to(root).as_posix() for path in files}
    for file in sorted(told.keys() ^ there):
        got = "none" if file in told else "a file that its table lacks"
        raise InputError(f"expected the model {name} as its {TABLE} says, got {got} at {root / file}; {remedy}")
    for file, digest in sorted(told.items()):
        with open_regular(root / file) as opened:
            if file_digest(opened, "sha256").hexdigest() != digest:
                raise InputError(f"expected {root / file} with the SHA-256 in its {TABLE}, got another; {remedy}")


def about() -> dict[str, str]:
    """What each model generates, in a few words."""
    return {name: _first_line(folder / CARD).partition(": ")[2] for name, folder in models().items()}


def in_words() -> str:
    """The names, as the end of a sentence on what may stand where a run is wanted."""
    return ", ".join(models()) or "none"


def model_remedy() -> str:
    """What helps who named a run or a model that is not there."""
    others = "" if len(_roots()) > 1 else "; the package ancestral-models brings others"
    return f"name a model that comes along: {in_words()}{others}"


def _roots() -> list[Path]:
    """The folders that models lie in, this package's first."""
    found = None
    with suppress(ValueError):  # of a module without a specification
        found = find_spec(OTHERS)
    others = found.submodule_search_locations if found else None
    return [Path(__file__).parent, *([Path(next(iter(others)))] if others else [])]


def _table(root: Path) -> dict[str, str]:
    """SHA-256 by the name of a file below `root`, with / between its parts; empty where there is no table."""
    if not (root / TABLE).is_file():
        return {}
    rows = (line.split("  ", 1) for line in read_text(root / TABLE).splitlines() if line)
    return {row[-1]: row[0] for row in rows if "/" in row[-1]}


def _model_of(file: str) -> str:
    return file.partition("/")[0]


def _first_line(path: Path) -> str:
    return (read_text(path).splitlines() or [""])[0] if path.is_file() else ""
