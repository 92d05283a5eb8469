"""A JSON file of another project as typed keys: a key that is not listed is refused, since it may change the others."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ancestral.contracts import described
from ancestral.errors import InputError
from ancestral.files import read_json

DIFFUSERS_VERSION = "0.36.0"  # version whose keys we write
Json = dict[str, Any]


class Keys(BaseModel):
    """The keys of a file, each with what it may be and what it means where it is missing; no value changes its type."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


K = TypeVar("K", bound=Keys)


def keys_of(kind: type[K], values: Json, path: Path, unheeded: AbstractSet[str] = frozenset()) -> K:
    """`values`, read from `path`, as keys, but for those that begin with _ and the `unheeded`."""
    heeded = {key: value for key, value in values.items() if not key.startswith("_") and key not in unheeded}
    if unknown := sorted(heeded.keys() - kind.model_fields.keys()):
        raise InputError(f"expected only keys that can be honoured in {path}, got {unknown[0]}")
    try:
        return kind.model_validate(heeded)
    except ValidationError as error:
        raise InputError(f"{path}: {described(error.errors(), kind.model_fields)}") from None


def read_named(path: Path, names: tuple[str, ...]) -> tuple[str, Json]:
    """The class that a file is of, one of `names`, and all its keys."""
    values = read_json(path, infinite=True)
    if (name := values.get("_class_name")) not in names:
        raise InputError(f"expected _class_name in {path} to be one of {', '.join(names)}, got {name!r:.60}")
    return str(name), values
