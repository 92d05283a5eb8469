"""The command as a process: quick help, signals, closed pipes, and the two ways to call it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_calls import TINY, call, start

from ancestral.training.logs import read_log

QUICK = {
    "--help": 0,
    "": 0,
    "--version": 0,
    "train --help": 0,
    "train mnist --help": 0,
    "sample --help": 0,
    "evaluate --help": 0,
    "report --help": 0,
    "show --help": 0,
    "show forward --help": 0,
    "tune --help": 0,
    "tune digits --help": 0,
    "data --help": 0,
    "data check --help": 0,
    "data pack --help": 0,
    "data pack x y --shard-images 0": 2,
    "train digits --dry-run --training.lr 1e-3": 0,
    "train digitz": 2,
    "train digits --training.lr -1": 2,
    "train digits --out /dev/null/run": 2,
    "sample runs/x --num-images 0": 2,
    "sample runs/x --compute.threads 0": 2,
    "tune digits --minutes -1": 2,
    "tune digits --forget --dry-run": 2,
}
LOADED = """
import json, sys
from ancestral.cli.main import main
heavy = {"torch", "matplotlib", "sklearn", "PIL", "numpy"}
told = {words: (main(words.split()), sorted(heavy & {*sys.modules})) for words in sys.argv[1:]}
print(json.dumps(told))
"""


def test_help_and_mistakes_load_nothing_heavy(tmp_path: Path) -> None:
    """torch takes 2 seconds to load; help is to answer within half of one."""
    command = [sys.executable, "-c", LOADED, *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {words: [code, []] for words, code in QUICK.items()}


def test_the_overview_names_every_verb_and_preset(capsys: pytest.CaptureFixture[str]) -> None:
    from ancestral.cli.main import VERBS
    from ancestral.presets import PRESETS

    text = call(capsys, "--help").out
    assert all(f"\n  {name} " in text for name in [*VERBS, *PRESETS])


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    with start("show", "schedule", "--json", "--timesteps", "20000", cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def test_a_signal_saves_and_stops_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often = ["--training.log_every_steps", "1", "--training.steps", "100000", "--json"]
    runs = {
        number: start("train", "digits", *TINY, *often, "--out", f"run-{number}", cwd=tmp_path) for number in SIGNALS
    }
    for number, process in runs.items():
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["step"] == 1
        process.send_signal(number)
    for number, code in SIGNALS.items():
        out, err = runs[number].communicate(timeout=60)
        assert runs[number].returncode == code, err
        last = json.loads(out.splitlines()[-1])
        assert last == {"finished": False, "run": f"run-{number}", "pipeline": f"run-{number}/pipeline"}
        assert "the same command goes on" in err and "Traceback" not in err
        (checkpoint,) = (tmp_path / f"run-{number}" / "checkpoints").iterdir()
        saved = int(checkpoint.name.removeprefix("step-"))
        log = tmp_path / f"run-{number}" / "log.jsonl"
        assert [record["step"] for record in read_log(log)] == [*range(1, saved + 1)], "nothing after the save"
        once_more = [*TINY, *often[:2], "--training.steps", str(saved + 1), "--out", f"run-{number}"]
        code, out, _ = call(capsys, "train", "digits", *once_more)
        assert code == 0 and f"resuming at step {saved:,}" in out
        assert [record["step"] for record in read_log(log)] == [*range(1, saved + 2)]


def test_the_second_signal_leaves_at_once(tmp_path: Path) -> None:
    words = ["--training.log_every_steps", "1", "--training.batch_size", "20000", "--training.steps", "9", "--json"]
    words += ["--training.checkpoint_every_steps", "9"]
    with start("train", "digits", *TINY, *words, cwd=tmp_path) as process:
        assert process.stderr is not None
        while "training " not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.5)  # until it is in its first step, which takes seconds
        process.send_signal(signal.SIGTERM)
        while "once more" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert not (tmp_path / "runs" / "digits" / "pipeline").exists(), "it did not stay to save"
