"""The options of a verb out of its job's settings, and the settings out of the words that were typed."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ancestral.cli.options import Options, changes, metavar, shown
from ancestral.contracts import accepts, described
from ancestral.errors import InputError
from ancestral.folders import check_run
from ancestral.jobs.data_settings import ImagesSettings, ReportSettings
from ancestral.jobs.measurement_settings import RunSettings
from ancestral.jobs.settings import JobSettings, Typed
from ancestral.jobs.target import TargetSettings, settings_of
from ancestral.jobs.words import flags, option_of, typed_as, typed_fields
from ancestral.names import meant, spelled
from ancestral.settings import (
    AnyConfig,
    CodecConfig,
    ComputeSettings,
    Config,
    DataSettings,
    SamplingSettings,
    Settings,
    field_names,
    leaves,
)

J = TypeVar("J", bound=Settings)


def asked(argv: Sequence[str], usage: str, about: str, examples: Sequence[str], kind: type[J]) -> tuple[J, bool]:
    """What was typed, as the settings of a job, and whether its result is wanted as JSON. What it is a job on has to be
    there: a run, or where that is enough a pipeline."""
    verb, _, words = usage.partition(" ")
    found = job_options(f"ancestral {verb}", words, about, examples, kind).words(argv)
    job = job_settings(found, kind)
    if isinstance(job, JobSettings):
        check_run(job.run, *(() if isinstance(job, RunSettings) else ("pipeline",)))
    if isinstance(job, ReportSettings):
        check_run(job.run, "codec run")
    return job, found.json


def job_options(
    command: str,
    words: str,
    about: str,
    examples: Sequence[str],
    kind: type[Settings],
    about_json: str = "print the result as JSON",
    defaults: AnyConfig | None = None,
) -> Options:
    """The options of a job, with --json and --debug; of all settings of a run, the help states those of `defaults`."""
    options = Options(command, words, about, examples)
    for name, field in typed_fields(kind).items():
        _add_field(options, name, field)
    options.add_argument("--json", action="store_true", help=about_json)
    options.add_argument("--debug", action="store_true", help="show a traceback where something goes wrong")
    if "sampling" in kind.model_fields:
        fields = [(name, field, "as the pipeline says") for name, field, _ in leaves(SamplingSettings())]
        options.settings("how to generate", fields)
    if "compute" in kind.model_fields:
        options.settings("how to compute", leaves(ComputeSettings(), "compute."), short=("engine",))
    if issubclass(kind, ImagesSettings):
        fields = [leaf for leaf in leaves(DataSettings()) if leaf[0] not in kind.no_flags]
        options.settings("how images are read", fields, "data")
    tree = defaults or (Config() if issubclass(kind, TargetSettings) else None)
    if tree is not None:
        hidden: frozenset[str] = tree.NO_FLAGS if isinstance(tree, CodecConfig) else frozenset()
        offered = [leaf for leaf in leaves(tree, every=True) if leaf[0] not in hidden]
        for name in type(tree).model_fields:
            group = [leaf for leaf in offered if leaf[0].split(".")[0] == name]
            options.settings("settings of the run" if name == "seed" else f"settings: {name}", group)
    return options


def named_config(argv: Sequence[str]) -> Config:
    """The settings whose values the help states: those of the target, where one is named that can be read."""
    with suppress(InputError):
        if argv and not argv[0].startswith("-"):
            return settings_of(argv[0])
    return Config()


def job_settings(found: Namespace, kind: type[J]) -> J:
    """What was typed, as the settings of a job."""
    fields = typed_fields(kind)
    options = {name: option_of(name, field) for name, field in fields.items()}
    words = {name: word for name, word in vars(found).items() if name in fields and word is not None}
    values = {name: _value(word, options[name], typed_as(fields[name])) for name, word in words.items()}
    typed = changes(found, flags())
    if "compute" in kind.model_fields:
        values["compute"] = typed.pop("compute", {})
    values |= {name: typed for name, field in kind.model_fields.items() if accepts(field.annotation, dict)}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        for fault in faults:  # a field is told as the option that it is
            fault["loc"] = tuple(options.get(str(part), part) for part in fault["loc"])
        raise InputError(described(faults, [*options.values(), *field_names(kind)])) from None


def _add_field(options: Options, name: str, field: FieldInfo) -> None:
    """The option or positional of one field."""
    typed, kind, option = typed_as(field), field.annotation, option_of(name, field)
    about, default = field.description or "", None if field.is_required() else field.default
    if typed.names is not None:
        about = f"{about}: {typed.names()}"
    if typed.nargs:
        options.add_argument(option, metavar=typed.metavar, help=about, nargs=None if typed.nargs == 1 else typed.nargs)
        return
    names = [option, *([f"--{typed.also}"] if typed.also else [])]
    if kind is bool:
        options.add_argument(*names, dest=name, action="store_true", help=about)
        return
    if typed.repeated:
        options.add_argument(*names, dest=name, metavar=typed.metavar, action="append", help=about.replace("%", "%%"))
        return
    usual = typed.usual or (None if default is None else shown(default))
    options.add_argument(
        *names,
        dest=name,
        metavar=typed.metavar or metavar(kind),
        nargs="?" if typed.bare else "+" if accepts(kind, tuple) and not typed.such_as else None,
        const="" if typed.bare else None,
        required=field.is_required(),
        help=(f"{about} [{usual}]" if usual else about).replace("%", "%%"),
    )


def _value(word: Any, option: str, typed: Typed) -> Any:
    """What a word means, or the several of one option; whether it is out of its values is seen later."""
    if word == typed.none:
        return None
    if typed.read is not None:
        return typed.read(word, option)
    if not typed.such_as:
        return word
    names = typed.metavar or ""  # such as TOP,LEFT or HEIGHTxWIDTH
    separator = "x" if "x" in names else ","
    parts = word.lower().split(separator)
    if len(parts) != len(names.split(separator)):
        raise InputError(f"expected {names} for {option}, got {word!r}; such as {option} {typed.such_as}")
    return parts


def run_part(argv: Sequence[str], verb: str, about: str, parts: dict[str, Callable[[Sequence[str]], None]]) -> None:
    """A verb of several commands: the one that the first word names, or the help where there is none."""
    if not argv or argv[0] in ("-h", "--help"):
        print(about, end="")
        return
    name = spelled(argv[0], parts)
    if name not in parts:
        raise InputError(f"expected ancestral {verb} {', '.join(parts)}, got {argv[0]!r}; {meant(argv[0], parts)}")
    parts[name](argv[1:])
