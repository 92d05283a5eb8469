"""`ancestral completion`: scripts by which bash, zsh and fish complete verbs, options, presets and names of values.

Computed from the parsers of the verbs, so that no option is written twice. The scripts start no program themselves.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from ancestral.cli.options import DESCRIBE, Options, OptionsDescribed
from ancestral.errors import InputError
from ancestral.names import meant, spelled

ABOUT = """\
Print a script by which SHELL (bash, zsh or fish) completes verbs, options, presets and the names of values.

  bash  source <(ancestral completion bash)             in ~/.bashrc
  zsh   source <(ancestral completion zsh)              in ~/.zshrc
  fish  ancestral completion fish | source              in ~/.config/fish/config.fish
"""
EXAMPLES = ("ancestral completion bash", "ancestral completion fish > ~/.config/fish/completions/ancestral.fish")
PARTS = {"show": ("schedule", "forward", "data"), "data": ("check", "pack")}
"""Verbs of several commands; those of `edit` are its tasks."""
SHELLS = ("bash", "zsh", "fish")


class Command(NamedTuple):
    """A verb, or a verb and its part, and the words that each option's value is out of."""

    name: str
    values: dict[str, list[str]]


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral completion", "SHELL", ABOUT, EXAMPLES)
    options.option("shell", metavar="SHELL", help="bash, zsh or fish")
    found = options.words(argv)
    shells = {"bash": bash, "zsh": zsh, "fish": fish}
    name = spelled(found.shell, shells)
    if name not in shells:
        raise InputError(f"expected bash, zsh or fish, got {found.shell!r}; {meant(found.shell, shells)}")
    print(shells[name](commands()), end="")
    return 0


def parts() -> dict[str, tuple[str, ...]]:
    """The commands of verbs that have several."""
    from ancestral.jobs.edit_tasks import TASKS

    return {"edit": tuple(TASKS), **PARTS}


def commands() -> list[Command]:
    """Every command that can be typed."""
    from ancestral.cli.main import VERBS

    several = parts()
    names = [[verb, part] for verb in VERBS for part in several.get(verb, ("",))]
    return [Command(" ".join(name).strip(), _described(name)) for name in names]


def first_words() -> dict[str, tuple[str, ...]]:
    """What the first word after a verb may be, beside a folder."""
    from ancestral.presets import PRESETS

    return {"train": tuple(PRESETS), "tune": tuple(PRESETS), "completion": SHELLS}


def _described(name: Sequence[str]) -> dict[str, list[str]]:
    verb, part = name
    try:
        import_module(f"ancestral.cli.{verb.replace('-', '_')}").run([*([part] if part else []), DESCRIBE])
    except OptionsDescribed as said:
        return said.options.values()
    raise AssertionError(f"{verb} {part} does not read its words")


def bash(all_of: Sequence[Command]) -> str:
    """The script for bash."""
    verbs = dict.fromkeys(command.name.split()[0] for command in all_of)
    lines = [
        "_ancestral() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '    local command="${COMP_WORDS[1]}" words=""',
        "    COMPREPLY=()",
        "    if [ $COMP_CWORD -eq 1 ]; then",
        f'        COMPREPLY=($(compgen -W "{" ".join(verbs)}" -- "$word")); return',
        "    fi",
        '    case "$command" in',
    ]
    for verb, names in parts().items():
        lines += [
            f"    {verb})",
            "        if [ $COMP_CWORD -eq 2 ]; then",
            f'            COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$word")); return',
            "        fi",
            '        command="$command ${COMP_WORDS[2]}" ;;',
        ]
    lines += ["    esac", '    case "$command $before" in']
    for command in all_of:
        for option, choices in command.values.items():
            if choices:
                lines.append(f'    "{command.name} {option}") words="{" ".join(choices)}" ;;')
    lines += ["    esac", '    if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); return; fi']
    lines += ['    case "$word" in', "    -*)", '        case "$command" in']
    lines += [f'        "{command.name}") words="{" ".join(command.values)}" ;;' for command in all_of]
    lines += ["        esac", '        COMPREPLY=($(compgen -W "$words" -- "$word")) ;;', "    *)"]
    lines += [
        '        case "$command $COMP_CWORD" in',
        *(f'        "{verb} 2") words="{" ".join(names)}" ;;' for verb, names in first_words().items()),
        "        esac",
        '        COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -d -- "$word")) ;;',
        "    esac",
        "}",
        "complete -o default -F _ancestral ancestral",
    ]
    return "\n".join(lines) + "\n"


def zsh(all_of: Sequence[Command]) -> str:
    """The script for zsh, which runs bash's."""
    begun = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
    return f"#compdef ancestral\n{begun}{bash(all_of)}"


def fish(all_of: Sequence[Command]) -> str:
    """The script for fish."""
    from ancestral.cli.main import VERBS

    lines = [f'complete -c ancestral -n __fish_use_subcommand -f -a {verb} -d "{VERBS[verb]}"' for verb in VERBS]
    for verb, names in [*parts().items(), *first_words().items()]:
        lines.append(f"complete -c ancestral -n '{_seen(verb)}' -a '{' '.join(names)}'")
    for command in all_of:
        where = "; and ".join(map(_seen, command.name.split()))
        for option, choices in command.values.items():
            long = f"-l {option.removeprefix('--')}" if option.startswith("--") else f"-s {option.removeprefix('-')}"
            told = f" -x -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"complete -c ancestral -n '{where}' {long}{told}")
    return "\n".join(lines) + "\n"


def _seen(word: str) -> str:
    return f"__fish_seen_subcommand_from {word}"
