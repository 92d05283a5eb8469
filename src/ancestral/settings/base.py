"""What all settings have in common: they are frozen, refuse unknown keys, and answer in one line. Bounds of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ancestral.contracts import described, in_known_spelling
from ancestral.errors import InputError

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
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: in_known_spelling(value, kinds.get(name), name) for name, value in values.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        raise InputError(f"expected {name} to stay as it is, since settings are frozen; make others with model_copy")


S = TypeVar("S", bound=Settings)


def field_names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Dotted names of every setting under `kind`."""
    names = []
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += field_names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
