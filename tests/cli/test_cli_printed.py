"""Nothing that is printed carries control characters, wherever it came from; all that is written heeds the umask."""

import logging
import os
import warnings
from pathlib import Path

import pytest
from cli_calls import TINY, call
from rich.table import Table

from ancestral.cli.main import main
from ancestral.cli.options import Options
from ancestral.cli.output import console, say, tell

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\rb\u202e"
SHOWN = r"a\x1b[31mred\x1b]0;title\x07\x9b2J\rb\u202e"


def only_printable(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_tables_and_lines_escape_what_a_name_holds(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console(stderr=False).print(HOSTILE, table, width=500)
    tell(HOSTILE)
    say(HOSTILE)
    out, err = capsys.readouterr()
    assert out.count(r"a\x1b[31mred\x1b]0;") == 5 and SHOWN in out and SHOWN in err
    assert only_printable(out + err)


def test_a_name_with_the_end_of_a_line_is_on_one(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: a file's name made up a line of the result, where a line is a file."""
    name = "a\nb"
    drawn = call(capsys, "sample", trained, "--steps", "1", "--num-images", "1", "--out", name)
    assert drawn.code == 0 and drawn.out == "a\\nb/grid.png\n"
    run = Path(name).with_name("run\nb")
    run.symlink_to(trained)
    again = call(capsys, "train", "digits", *TINY, "--training.steps", "2", "--compute.threads", "1", "--out", run)
    assert again.code == 0 and not [line for line in (again.out + again.err).splitlines() if line.startswith("b")]


def test_help_escapes_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    from ancestral.settings import DataSettings, leaves

    options = Options("ancestral x", "X", "about")
    options.settings("data", leaves(DataSettings(source=HOSTILE)))
    options.print_help()
    out = capsys.readouterr().out
    assert only_printable(out) and r"\x1b[31mred" in out


def test_warnings_and_logs_of_others_are_one_line() -> None:
    main(["--version"])
    said = warnings.formatwarning(UserWarning(f"{HOSTILE}\nmore"), UserWarning, "file.py", 1)
    assert said == f"ancestral: warning: {SHOWN} more\n".replace(r"\rb", " b")
    record = logging.LogRecord("x", logging.WARNING, "file.py", 1, "%s is damaged", (HOSTILE,), None)
    assert logging.lastResort is not None and only_printable(logging.lastResort.format(record))


@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_all_that_is_written_has_the_mode_that_the_umask_leaves(
    mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    before = os.umask(mask)
    try:
        run = ["train", "digits", *TINY, "--training.steps", "1", "--training.sample_every_steps", "1", "--out", "run"]
        every = ["--steps", "1", "--num-images", "1", "--each", "--film", "a.gif", "--arrays", "a.npz"]
        classifier = ["train-classifier", "run", "--steps", "1"]
        for words in (run, ["sample", "run", *every], classifier, ["data", "pack", "digits", "packed"]):
            assert call(capsys, *words).code == 0
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    wrong = {
        str(path): oct(mode) for path, mode in found.items() if mode != (0o777 if path.is_dir() else 0o666) & ~mask
    }
    assert len(found) > 20 and not wrong
