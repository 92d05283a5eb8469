"""`ancestral completion`: scripts by which bash, zsh and fish complete verbs, options, presets and names of values.

Computed from the parsers of the verbs, so that no option is written twice. The scripts start no program themselves.
"""

from collections.abc import Iterable, Mapping, Sequence

from ancestral.cli.options import DESCRIBE, Options, OptionsDescribed
from ancestral.errors import InputError
from ancestral.names import meant, spelled

ABOUT = """\
Print a script by which SHELL (bash, zsh or fish) completes verbs, options, presets, models and the names of values.

  bash  source <(ancestral completion bash)             in ~/.bashrc
  zsh   source <(ancestral completion zsh)              in ~/.zshrc
  fish  ancestral completion fish | source              in ~/.config/fish/config.fish
"""
EXAMPLES = ("ancestral completion bash", "ancestral completion fish > ~/.config/fish/completions/ancestral.fish")
Commands = dict[str, dict[str, list[str]]]
"""A verb, or a verb and its part -> its options, each with the words that its value is out of."""


def run(argv: Sequence[str]) -> None:
    options = Options("ancestral completion", "SHELL", ABOUT, EXAMPLES)
    options.add_argument("shell", metavar="SHELL", help="bash, zsh or fish")
    found = options.words(argv)
    shells = {"bash": bash, "zsh": zsh, "fish": fish}
    name = spelled(found.shell, shells)
    if name not in shells:
        raise InputError(f"expected bash, zsh or fish, got {found.shell!r}; {meant(found.shell, shells)}")
    print(shells[name](commands()), end="")


def parts() -> dict[str, tuple[str, ...]]:
    """The commands of verbs that have several."""
    from ancestral.jobs.edit_tasks import TASKS

    return {"edit": tuple(TASKS), "show": ("schedule", "forward", "data"), "data": ("check", "pack")}


def first_words() -> dict[str, tuple[str, ...]]:
    """What the first word after a verb may be, beside a folder."""
    from ancestral.models import models
    from ancestral.presets import PRESETS
    from ancestral.settings.data import DATA_SETS

    presets, named = tuple(PRESETS), tuple(models())
    of_models = dict.fromkeys(("sample", "share", "export", "evaluate", "likelihood", "sweep"), named)
    others = {"train-codec": DATA_SETS, "completion": ("bash", "zsh", "fish")}
    return {"train": presets, "tune": presets, **of_models, **others}


def commands() -> Commands:
    """Every command that can be typed."""
    from ancestral.cli import main

    found, several = Commands(), parts()
    for verb in main.VERBS:
        for part in several.get(verb, ("",)):
            try:
                main.run([verb, *([part] if part else []), DESCRIBE])
            except OptionsDescribed as described:
                found[f"{verb} {part}".strip()] = described.options.values()
    return found


def bash(known: Commands) -> str:
    def cases(names: Mapping[str, Iterable[str]]) -> list[str]:
        return [f'        "{case}") words="{" ".join(words)}" ;;' for case, words in names.items()]

    chosen = {f"{name} {option}": words for name, by in known.items() for option, words in by.items() if words}
    lines = [
        "_ancestral() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '    local command="${COMP_WORDS[1]}" words=""',
        "    COMPREPLY=()",
        f'    if [ $COMP_CWORD -eq 1 ]; then words="{" ".join(dict.fromkeys(name.split()[0] for name in known))}"; fi',
        '    case "$command $COMP_CWORD" in',
        *cases({f"{verb} 2": names for verb, names in parts().items()}),
        "    esac",
        f'    case "$command" in {"|".join(parts())}) command="$command ${{COMP_WORDS[2]}}" ;; esac',
        '    case "$command $before" in',
        *cases(chosen),
        "    esac",
        '    if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); return; fi',
        '    case "$word" in',
        "    -*)",
        '        case "$command" in',
        *cases(known),
        "        esac",
        '        COMPREPLY=($(compgen -W "$words" -- "$word")) ;;',
        "    *)",
        '        case "$command $COMP_CWORD" in',
        *cases({f"{verb} 2": names for verb, names in first_words().items()}),
        "        esac",
        '        COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -d -- "$word")) ;;',
        "    esac",
        "}",
        "complete -o default -F _ancestral ancestral",
    ]
    return "\n".join(lines) + "\n"


def zsh(known: Commands) -> str:
    """The script for zsh, which runs bash's."""
    begun = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
    return f"#compdef ancestral\n{begun}{bash(known)}"


def fish(known: Commands) -> str:
    from ancestral.cli.main import VERBS

    seen, line = "__fish_seen_subcommand_from", "complete -c ancestral -n"
    lines = [f'{line} __fish_use_subcommand -f -a {verb} -d "{about}"' for verb, about in VERBS.items()]
    lines += [f"{line} '{seen} {verb}' -a '{' '.join(names)}'" for verb, names in {**parts(), **first_words()}.items()]
    for name, options in known.items():
        where = "; and ".join(f"{seen} {word}" for word in name.split())
        for option, choices in options.items():
            long = f"-l {option.removeprefix('--')}" if option.startswith("--") else f"-s {option.removeprefix('-')}"
            lines.append(f"{line} '{where}' {long}" + (f" -x -a '{' '.join(choices)}'" if choices else ""))
    return "\n".join(lines) + "\n"
