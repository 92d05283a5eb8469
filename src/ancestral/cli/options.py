"""Words to options: argparse with one-line errors, nearest names, and a flag for every setting."""

import argparse
import re
import shutil
import types
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ancestral.contracts import accepts
from ancestral.errors import InputError
from ancestral.synonyms import answer, dashed
from ancestral.text import printable

SETTING = "setting:"  # what the destination of a setting's flag begins with; its dotted name follows
DESCRIBE = "--describe"  # among the words of a verb: its options are wanted and nothing of what it does
NEGATIVE_NUMBER = re.compile(r"-[\d.]+(e[+-]?\d+)?|-inf|-nan", re.IGNORECASE)  # which is no option
Fields = Iterable[tuple[str, FieldInfo, Any]]  # (dotted name, field, its value unless another is given)


class OptionsDescribed(Exception):
    """Raised in place of what a verb would do."""

    def __init__(self, options: "Options") -> None:
        super().__init__(options.prog)
        self.options = options


class Options(argparse.ArgumentParser):
    """A parser whose faults are InputErrors of one line; an unknown option is answered with the nearest name."""

    def __init__(self, command: str, words: str, about: str, examples: Sequence[str] = ()) -> None:
        width = min(shutil.get_terminal_size().columns - 2, 118)
        super().__init__(
            prog=command,
            usage=f"{command} {words} [options]",
            description=about,
            epilog="\n".join(["examples:", *(f"  {line}" for line in examples)]) if examples else None,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=width),
        )

    @property
    def names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def settings(self, title: str, fields: Fields, branch: str = "", short: Collection[str] = ()) -> None:
        """Adds a group of flags, `--<name>` for each field; with a branch, `--<branch>.<name>` means the same, and of
        names in `short` the last part does. The name of a choice is also given as `--<choice>`: --codec kl."""
        group = self.add_argument_group(title)
        for name, field, default in fields:
            about = f"{field.description or ''} [{printable(shown(default))}]".replace("%", "%%")
            last = name.rpartition(".")[2]
            if last in short:
                self._add_setting(group, last, name, field, about, default)
            self._add_setting(group, name, name, field, argparse.SUPPRESS if last in short else about, default)
            if name.endswith(".name"):
                self._add_setting(group, name.removesuffix(".name"), name, field, argparse.SUPPRESS, default)
            if branch:
                self._add_setting(group, f"{branch}.{name}", name, field, argparse.SUPPRESS, default)

    def values(self) -> dict[str, list[str]]:
        """Every option, with the words that its value is out of; none where it may be anything, or takes no value."""
        metavars = {name: str(action.metavar or "") for action in self._actions for name in action.option_strings}
        return {name: shown[1:-1].split(",") if shown.startswith("{") else [] for name, shown in metavars.items()}

    def words(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options in `argv`; -h and --help print the help and leave."""
        if DESCRIBE in argv:
            raise OptionsDescribed(self)
        if {"-h", "--help"} & {*argv}:
            self.print_help()
            raise SystemExit(0)
        found, rest = self.parse_known_intermixed_args([self._known(word) for word in argv])
        if rest:
            self.error(f"unexpected {rest[0]!r}")
        return found

    def error(self, message: str) -> NoReturn:
        """Argparse's own faults, as ours."""
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")

    def _add_setting(self, group: Any, flag: str, name: str, field: FieldInfo, about: str, default: Any) -> None:
        common = {"dest": SETTING + name, "default": argparse.SUPPRESS}
        if field.annotation is bool:
            above, dot, last = flag.rpartition(".")
            hidden = argparse.SUPPRESS  # of on and off, the help shows the one that changes something
            on, off = {"help": hidden if default else about}, {"help": f"do without: {about}" if default else hidden}
            group.add_argument(f"--{flag}", **common, **on, action="store_true")
            group.add_argument(f"--{above}{dot}no_{last}", **common, **off, action="store_false")
            return
        several = {"nargs": "*"} if accepts(field.annotation, tuple) else {}
        group.add_argument(f"--{flag}", **common, **several, metavar=metavar(field.annotation), help=about)

    def _known(self, word: str) -> str:
        """`word`, an option in its registered spelling: - and _ are one, and so are a and A."""
        if not word.startswith("-") or word == "-" or NEGATIVE_NUMBER.fullmatch(word):
            return word
        name, equals, value = word.partition("=")
        same = [known for known in self.names if dashed(known) == dashed(name)]
        if not same or not same[0].startswith(name[: 1 + name.startswith("--")]):
            remedy = answer(name, self.names, cutoff=0.6) or f"; see {self.prog} --help"
            raise InputError(f"{self.prog}: unknown option {name}{remedy}")
        return same[0] + equals + value


def changes(found: argparse.Namespace, fields: Fields) -> dict[str, Any]:
    """The settings among the options, nested as in a settings file; `none` is None where a setting may be None."""
    kinds = {name: field.annotation for name, field, _ in fields}
    tree: dict[str, Any] = {}
    for dest, value in vars(found).items():
        if dest.startswith(SETTING):
            *branches, leaf = dest.removeprefix(SETTING).split(".")
            at = tree
            for branch in branches:
                at = at.setdefault(branch, {})
            at[leaf] = _understood(value, kinds[dest.removeprefix(SETTING)])
    return tree


def _understood(value: Any, kind: Any) -> Any:
    """What was typed, as a settings file would say it; pydantic turns the texts into numbers."""
    alone = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(alone, str) and alone.lower() == "none" and accepts(kind, types.NoneType):
        return None
    return alone if accepts(kind, int) else value


def metavar(kind: Any) -> str:
    """What stands for a value in the help."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if words := [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]:
        return "{" + ",".join(words) + "}"
    names = {int: "INT", float: "NUMBER", tuple: "VALUE"}
    return next((name for known, name in names.items() if accepts(kind, known)), "TEXT")


def shown(value: Any) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value[:8])) + (" ..." if len(value) > 8 else "") or "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
