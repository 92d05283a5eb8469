"""A job's settings as the words of a command line, which `cli.job_options` reads back. Imports no torch."""

import shlex
import types
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from ancestral.contracts import accepts
from ancestral.errors import InputError
from ancestral.jobs.settings import Typed
from ancestral.models import models, resolved
from ancestral.settings import (
    CodecConfig,
    ComputeSettings,
    Config,
    DataSettings,
    SamplingSettings,
    Settings,
    flat,
    leaves,
)

LAST = ("null_class", "out", "overwrite", "film", "device", "yes", "weaker", "classifier")
"""Fields that stand at the end of the help, after what the verb alone is asked."""


def command(verb: str, settings: Settings) -> str:
    """The command that asks a verb for exactly these settings."""
    return shlex.join(["ancestral", *verb.split()]) + "".join(f" {_quoted(word)}" for word in words(settings))


def words(settings: Settings) -> list[str]:
    """What is typed after the verb: positionals, then what differs from what is usual."""
    positionals, options = list[str](), list[str]()
    for name, field in typed_fields(type(settings)).items():
        value, typed = getattr(settings, name), typed_as(field)
        if typed.nargs:
            several = value if isinstance(value, tuple) else [value] if value else []
            positionals += [f"./{word}" if word.startswith("-") else word for word in map(_word, several)]
        elif field.is_required() or value != field.default or (typed.none and name in settings.model_fields_set):
            options += _option_words(option_of(name, field), typed, value)
    for name, field in type(settings).model_fields.items():
        if accepts(field.annotation, dict):
            options += [word for leaf, value in flat(getattr(settings, name)) for word in _flag(leaf, value)]
    compute = getattr(settings, "compute", None)
    if isinstance(compute, ComputeSettings):
        usual = dict(leaves_of(ComputeSettings()))
        options += [
            word
            for name, value in leaves_of(compute)
            if value != usual[name]
            for word in _flag(f"compute.{name}", value)
        ]
    return positionals + options


def leaves_of(settings: Settings) -> list[tuple[str, Any]]:
    """(dotted name, value) of every setting."""
    return [(name, value) for name, _, value in leaves(settings)]


def typed_fields(kind: type[Settings]) -> dict[str, FieldInfo]:
    """The fields that are an option or a positional, in the order of the help."""
    own = {
        name: field
        for name, field in kind.model_fields.items()  # what is settings itself has a flag for each of them
        if not accepts(field.annotation, dict) and field.annotation is not ComputeSettings
    }
    return dict(sorted(own.items(), key=lambda item: LAST.index(item[0]) if item[0] in LAST else -1))


def typed_as(field: FieldInfo) -> Typed:
    """How a field is typed."""
    return next((about for about in field.metadata if isinstance(about, Typed)), Typed())


def option_of(name: str, field: FieldInfo) -> str:
    """The option that a field is, or the name of its positional."""
    typed = typed_as(field)
    return name if typed.nargs else f"--{typed.option or name.replace('_', '-')}"


@cache
def flags() -> tuple[tuple[str, FieldInfo, Any], ...]:
    """(dotted name, field, usual value) of all settings that have a flag."""
    of_runs = [*leaves(Config(), every=True), *leaves(CodecConfig(), every=True)]
    return (*of_runs, *leaves(DataSettings()), *leaves(SamplingSettings()))


def _option_words(option: str, typed: Typed, value: Any) -> list[str]:
    """An option with its value."""
    if value is True:
        return [option]
    if value is None:
        if not (typed.bare or typed.none):
            raise InputError(f"expected a value for {option}, got none, which cannot be typed; leave it out")
        return [option, *([typed.none] if typed.none else [])]
    if typed.repeated:
        return [word for each in value for word in _valued(option, [_word(each)])]
    if typed.such_as:  # TOP,LEFT or HEIGHTxWIDTH
        return _valued(option, [("x" if "x" in str(typed.metavar) else ",").join(map(str, value))])
    return _valued(option, [*map(_word, value)] if isinstance(value, tuple) else [_word(value)])


def _flag(name: str, value: Any) -> list[str]:
    """The flag of a setting with its value."""
    if isinstance(value, bool):
        above, dot, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{above}{dot}no_{last}"]
    fields = [field for flag, field, _ in flags() if flag == name]
    if isinstance(value, str) and value.lower() == "none" and accepts(fields[-1].annotation, types.NoneType):
        raise InputError(f"expected another {name} than {value!r}, by which a command line means that there is none")
    several = value if isinstance(value, list | tuple) else [value]
    return _valued(f"--{name}", ["none" if each is None else str(each) for each in several])


def _valued(option: str, values: Sequence[str]) -> list[str]:
    """An option and its values; one that looks like an option is bound to it."""
    if len(values) == 1 and values[0].startswith("-"):
        return [f"{option}={values[0]}"]
    return [option, *values]


def _word(value: Any) -> str:
    """A value as it is typed: the folder of a model that comes along by its name."""
    if isinstance(value, Path):
        named = (name for name, folder in models().items() if folder == value and resolved(name) == value)
        return next(named, str(value))
    return str(value)


def _quoted(word: str) -> str:
    """A word for a shell; some replace what begins with = by the place of a program."""
    return f"'{word}'" if word.startswith("=") and shlex.quote(word) == word else shlex.quote(word)
