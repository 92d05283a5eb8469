"""Shell completion: computed from the parsers, and asked of a real bash."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cli_calls import call

from ancestral.cli.completion import commands, fish, zsh
from ancestral.cli.main import VERBS
from ancestral.presets import PRESETS

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ancestral
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "completion.bash"
    file.write_text(call(capsys, "completion", "bash").out)
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["sa"], ["sample"]),
        (["train", "mni"], ["mnist", "mnist-nll"]),
        (["edit", "in"], ["inpaint", "interpolate", "invert"]),
        (["data", ""], ["check", "pack"]),
        (["completion", "z"], ["zsh"]),
        (["train", "digits", "--training.lr"], ["--training.lr", "--training.lr_schedule"]),
        (["sample", "x", "--device", ""], ["cpu", "cuda"]),
        (["sample", "x", "--sampler", "unipc"], ["unipc-1", "unipc-2", "unipc-3"]),
        (["train", "x", "--data.color", "gr"], ["grey", "grey-alpha"]),
        (["edit", "vary", "x", "y", "--stren"], ["--strength"]),
    ],
)
def test_bash_completes(script: Path, typed: list[str], wanted: list[str], tmp_path: Path) -> None:
    words = ["bash", "-c", ASK, "bash", str(script), "ancestral", *typed]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == wanted, done.stderr


def test_every_verb_and_preset_is_in_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    known = commands()
    assert {name.split()[0] for name in known} == {*VERBS}
    for text in (fish(known), zsh(known)):
        assert all(verb in text for verb in VERBS) and all(preset in text for preset in PRESETS)


def test_another_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "completion", "fsh")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "did you mean fish?" in err
