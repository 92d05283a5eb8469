"""The options of a verb out of its job's settings, and the settings out of the words that were typed."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ancestral.cli.options import Fields, Options, changes, real, shown, whole
from ancestral.errors import InputError
from ancestral.jobs.data_settings import ImagesSettings
from ancestral.jobs.settings import Typed
from ancestral.jobs.target import settings_of
from ancestral.names import meant, spelled
from ancestral.settings import ComputeSettings, Config, DataSettings, SamplingSettings, Settings, leaves, parse

J = TypeVar("J", bound=Settings)
LAST = ("null_class", "out", "overwrite", "film", "device", "yes", "weaker", "classifier")
"""Fields that stand at the end of the help, after what the verb alone is asked."""


class JobField(NamedTuple):
    """A field of a job's settings. `schema` is that of its value in JSON, which tells its type and bounds."""

    name: str
    about: str
    typed: Typed
    required: bool
    default: Any
    schema: dict[str, Any]

    @property
    def option(self) -> str:
        """What is typed for it."""
        return f"--{self.typed.option or self.name.replace('_', '-')}"

    @property
    def names(self) -> list[str]:
        """All that may be typed for it."""
        return [self.option, *([f"--{self.typed.also}"] if self.typed.also else [])]


def job_options(
    command: str,
    words: str,
    about: str,
    examples: Sequence[str],
    kind: type[Settings],
    about_json: str = "print the result as JSON",
) -> Options:
    """The options of a job of this kind, with --json and --debug."""
    options = Options(command, words, about, examples)
    for field in fields_of(kind):
        add_field(options, field)
    options.option("--json", action="store_true", help=about_json)
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    if "sampling" in kind.model_fields:
        fields = [(name, field, "as the pipeline says") for name, field, _ in leaves(SamplingSettings())]
        options.settings("how to generate", fields)
    if "compute" in kind.model_fields:
        options.settings("how to compute", leaves(ComputeSettings(), "compute."))
    if issubclass(kind, ImagesSettings):
        fields = [leaf for leaf in leaves(DataSettings()) if leaf[0] not in kind.no_flags]
        options.settings("how images are read", fields, "data")
    return options


def sampling_fields() -> Fields:
    """The settings behind the flags of how to generate and to compute."""
    return [*leaves(SamplingSettings()), *leaves(ComputeSettings(), "compute.")]


def add_config(options: Options, defaults: Config) -> None:
    """A flag for every setting of a run, in groups; their help states the values of `defaults`."""
    for name in Config.model_fields:
        group = [leaf for leaf in leaves(defaults) if leaf[0] == name or leaf[0].startswith(f"{name}.")]
        options.settings("settings of the run" if name == "seed" else f"settings: {name}", group)


def named_config(argv: Sequence[str]) -> Config:
    """The settings whose values the help states: those of the target, where one is named that can be read."""
    with suppress(InputError):
        if argv and not argv[0].startswith("-"):
            return settings_of(argv[0])
    return Config()


def job_settings(found: Namespace, kind: type[J]) -> J:
    """What was typed, as the settings of a job.

    Raises:
        InputError: a word that is none of its option's values.
    """
    words = [(field, vars(found)[field.name]) for field in fields_of(kind)]
    values = {field.name: _value(word, field) for field, word in words if word is not None}
    typed = changes(found, [*leaves(Config()), *leaves(DataSettings()), *sampling_fields()])
    if "compute" in kind.model_fields:
        values["compute"] = parse(ComputeSettings, typed.pop("compute", {}), "command line: compute")
    if "sampling" in kind.model_fields:
        values["sampling"] = typed
    if "settings" in kind.model_fields:
        values["settings"] = typed
    if issubclass(kind, ImagesSettings):
        values["images"] = typed
    return parse(kind, values, "command line")


def fields_of(kind: type[Settings]) -> list[JobField]:
    """Those that are an option or a positional, in the order of the help."""
    schemas = kind.model_json_schema()["properties"]
    fields = []
    for name, field in kind.model_fields.items():
        typed = next((about for about in field.metadata if isinstance(about, Typed)), Typed())
        either = [part for part in schemas[name].get("anyOf", [schemas[name]]) if part.get("type") != "null"]
        fields.append(JobField(name, field.description or "", typed, field.is_required(), field.default, either[0]))
    # what is settings itself has a flag for each of them
    own = [field for field in fields if field.schema.get("type") != "object" and "$ref" not in field.schema]
    return sorted(own, key=lambda field: LAST.index(field.name) if field.name in LAST else -1)


def add_field(options: Options, field: JobField) -> None:
    """The option or positional of one field."""
    typed, kind = field.typed, field.schema.get("type")
    usual = typed.usual or (None if field.required or field.default is None else shown(field.default))
    about = f"{field.about} [{usual}]".replace("%", "%%") if usual and kind != "boolean" else field.about
    if typed.nargs:
        several = {} if typed.nargs == 1 else {"nargs": typed.nargs}
        options.option(field.name, metavar=typed.metavar, help=field.about, **several)
    elif kind == "boolean":
        options.option(*field.names, dest=field.name, action="store_true", help=about)
    elif kind == "array" and "prefixItems" not in field.schema:
        options.option(*field.names, dest=field.name, nargs="+", metavar=typed.metavar, help=about)
    else:
        metavar = typed.metavar or ("INT" if kind == "integer" else None)
        shape = {"choices": field.schema["enum"]} if "enum" in field.schema else {"metavar": metavar}
        options.option(*field.names, dest=field.name, required=field.required, help=about, **shape)


def _value(word: Any, field: JobField) -> Any:
    """What a word means; a switch, and the several words of a positional, as they are."""
    if word == field.typed.none:
        return None
    if field.typed.read is not None:
        return field.typed.read(word, field.option)
    if isinstance(word, list | bool):
        return word
    match field.schema:
        case {"type": "integer", "minimum": least, "maximum": most}:
            return whole(word, field.option, least, most)
        case {"type": "number", "exclusiveMinimum": 0}:
            return real(word, field.option, positive=True)
        case {"type": "number"}:
            return real(word, field.option)
        case {"format": "path"}:
            return Path(word)
        case {"prefixItems": items}:
            return _numbers(word, field, items)
    return word


def _numbers(word: str, field: JobField, items: Sequence[dict[str, Any]]) -> list[int]:
    """Whole numbers, as many as the field's metavar names, such as TOP,LEFT or HEIGHTxWIDTH."""
    names, example = field.typed.metavar or "", field.typed.such_as
    parts = word.lower().split("x" if "x" in names else ",")
    if len(parts) != len(items):
        raise InputError(f"expected {names} for {field.option}, got {word!r}; such as {field.option} {example}")
    bounds = [(item["minimum"], item["maximum"]) for item in items]
    return [whole(part.strip(), field.option, *limits) for part, limits in zip(parts, bounds, strict=True)]


def run_part(argv: Sequence[str], verb: str, about: str, parts: dict[str, Callable[[Sequence[str]], int]]) -> int:
    """A verb of several commands: the one that the first word names, or the help where there is none.

    Raises:
        InputError: another word.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(about, end="")
        return 0
    name = spelled(argv[0], parts)
    if name not in parts:
        raise InputError(f"expected ancestral {verb} {', '.join(parts)}, got {argv[0]!r}; {meant(argv[0], parts)}")
    return parts[name](argv[1:])
