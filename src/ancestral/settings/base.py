"""What all settings have in common: they are frozen, refuse unknown keys, and answer in one line. Bounds of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ancestral.contracts import described, in_known_spelling
from ancestral.errors import InputError
from ancestral.names import SAME, spelled

MOST_TIMESTEPS = 100_000
MOST_IMAGES = 1_000_000  # computed, generated or measured at once
MOST_CLASS_EMBEDS = 1_000_000
MOST_SEED = 2**63 - 1
PositiveInt = Annotated[int, Field(ge=1, le=2**53)]
NumTimesteps = Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
NumImages = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Side = Annotated[int, Field(ge=1, le=2**14)]  # of an image, px
Width = Annotated[int, Field(ge=1, le=2**14)]  # channels
Depth = Annotated[int, Field(ge=1, le=100)]  # blocks one after another
Threads = Annotated[int, Field(ge=1, le=4096)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # which has no public name


class _InOneLine(ModelMetaclass):
    """Settings that are made in Python answer as those of a file: in one line."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            names = field_names(cast(type[Settings], cls))
            raise InputError(f"{cls.__name__}: {described(error.errors(), names)}") from None


class Settings(BaseModel, metaclass=_InOneLine):
    """Frozen, no unknown keys, no NaN or infinity; field docstrings are the help. Names are taken in any spelling."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _names_in_any_spelling(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: _in_known_spelling(value, cls.model_fields.get(name), name) for name, value in values.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        raise InputError(f"expected {name} to stay as it is, since settings are frozen; make others with model_copy")


S = TypeVar("S", bound=Settings)


def choices(field: FieldInfo) -> dict[str, type[Settings]]:
    """What a branch may be, by the only value of its setting `name`; empty: the field is no such union of settings."""
    kinds = get_args(field.annotation) if field.discriminator == "name" else ()
    return {kind.model_fields["name"].default: kind for kind in kinds}


def _in_known_spelling(value: Any, field: FieldInfo | None, name: str) -> Any:
    """`value` with its words as the settings spell them; a branch of several choices says which it is."""
    if field is None or not isinstance(value, dict) or not (kinds := choices(field)):
        return in_known_spelling(value, field and field.annotation, name)
    chosen = value.get("name", field.default.name)
    return {**value, "name": spelled(chosen, kinds, SAME["name"]) if isinstance(chosen, str) else chosen}


def field_names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Dotted names of every setting under `kind`, whatever its branches are."""
    names = []
    for name, field in kind.model_fields.items():
        own = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        branches = [field.annotation] if own else choices(field).values()
        below = [each for branch in branches for each in field_names(cast(type[Settings], branch), f"{prefix}{name}.")]
        names += below or [prefix + name]
    return [*dict.fromkeys(names)]
