"""The command as a process: quick help, signals, closed pipes, and the two ways to call it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_calls import TINY, call, start
from standing import Source, forked

from ancestral.cli.main import main
from ancestral.cli.output import UnfailingStream
from ancestral.cli.signals import stop_asked
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
    "train digitz": 2,
    "train digits --training.lr -1": 2,
    "sample runs/x --num-images 0": 2,
    "sample runs/x --compute.threads 0": 2,
    "tune digits --minutes -1": 2,
    "tune digits --forget --dry-run": 2,
}
LOADED = """
import json, sys
from ancestral.cli.main import main
loaded = lambda words: (main(words), [*sys.modules])
print(json.dumps([loaded(words) for words in json.loads(sys.argv[1])]))
"""
HEAVY = {"torch", "matplotlib", "sklearn", "PIL", "numpy"}


def loaded_by(commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, set[str]]]:
    """Of commands that a new process does in turn: the exit code, and the modules that are loaded after it."""
    command = [sys.executable, "-c", LOADED, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return [(code, {*names}) for code, names in json.loads(done.stdout.splitlines()[-1])]


def test_help_and_mistakes_load_nothing_heavy(tmp_path: Path) -> None:
    """torch takes 2 seconds to load; help is to answer within half of one."""
    told = loaded_by([words.split() for words in QUICK], tmp_path)
    assert {words: (code, HEAVY & names) for words, (code, names) in zip(QUICK, told, strict=True)} == {
        words: (code, set()) for words, code in QUICK.items()
    }


COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
FITTING = {"sklearn", "scipy"}
UNUSED: list[dict[tuple[str, ...], set[str]]] = [
    {
        ("runs",): {"torch", "matplotlib", *FITTING},
        ("train", "digits", "--training.steps", "1", *TINY): {"matplotlib", "torch.onnx", *FITTING, *COMPILER},
        ("show", "schedule", "--json"): {*FITTING, *COMPILER},
        ("sample", "runs/digits", "--num-images", "1", "--steps", "2"): {"torch.onnx", *FITTING, *COMPILER},
    },
    {("data", "check", "digits"): {"matplotlib", *COMPILER}},
]
"""Each of these is a process. What none of its commands has loaded so far, the last would not have loaded alone."""


@pytest.mark.parametrize("commands", UNUSED, ids=lambda commands: " ".join(words[0] for words in commands))
def test_commands_load_only_what_they_need(commands: dict[tuple[str, ...], set[str]], tmp_path: Path) -> None:
    """Traps: a normal weight on the device meta, an optimiser's step and a mode of torch each load torch's compiler."""
    for (words, unused), (_, names) in zip(commands.items(), loaded_by([*commands], tmp_path), strict=True):
        assert unused & names == set(), words


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


def test_training_that_nobody_watches_any_more_saves_and_says_so(tmp_path: Path) -> None:
    """Trap: `train ... | head -1` ended at step 5 of 3,000 with exit code 0."""
    often = ["--training.log_every_steps", "1", "--training.steps", "100000", "--json"]
    with start("train", "digits", *TINY, *often, cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert "nobody reads the output any more: stopped and saved after step" in said and "Traceback" not in said
    assert (tmp_path / "runs" / "digits" / "pipeline").is_dir()


def test_output_that_is_read_no_more_fails_nobody() -> None:
    """Nor at the end of the process, when what is buffered is written."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        out = UnfailingStream(stream)
        out.write("a line\n")
        out.flush()
        assert out.gone
        out.write("another\n")


def test_a_device_that_is_full_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["show", "schedule", "--json"]) == 4
    assert "cannot write: No space left on device; free space" in capsys.readouterr().err


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


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
        if number != signal.SIGTERM:
            continue
        once_more = [*TINY, *often[:2], "--training.steps", str(saved + 1), "--out", f"run-{number}"]
        once_more += ["--training.lr_schedule", "cosine"]
        code, out, _ = call(capsys, "train", "digits", *once_more)
        assert code == 0 and f"resuming at step {saved:,}" in out
        assert [record["step"] for record in read_log(log)] == [*range(1, saved + 2)]


STUCK = """
import torch
from ancestral.cli.signals import stop_asked
with stop_asked():
    print("stuck", flush=True)
    torch.linalg.svd(torch.rand(5000, 5000))
"""


def test_the_second_signal_leaves_at_once_though_torch_computes() -> None:
    """In the middle of a call that takes minutes, during which the interpreter hears nothing."""
    with forked(Source(STUCK), Path.cwd()) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert "once more" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=20) == 129


SWALLOWED = """
import sys
from ancestral.cli import main
rounds = []
def swallowing(words):
    while True:
        try:
            rounds.append(0)
            print(len(rounds), flush=True)
            while True:
                pass
        except BaseException:
            if len(rounds) == 5:
                raise
main.run = swallowing
sys.exit(main.main(["runs"]))
"""


def test_a_stop_that_is_swallowed_is_raised_again_and_counts_once() -> None:
    """Trap: in the midst of an import, or asked for an attribute by C, it was lost: the verb went on to its end."""
    command = [sys.executable, "-c", SWALLOWED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (143, "2\n3\n4\n5\n", "ancestral: stopped\n")


LATE = """
import os, signal, sys
from ancestral.cli import main
sys.argv = ["ancestral", "runs"]
main.run = lambda words: os.kill(os.getpid(), signal.SIGINT)
main.say = lambda text: os.kill(os.getpid(), signal.SIGINT)
main.main()
"""


def test_an_interrupt_after_the_stop_ends_without_a_traceback() -> None:
    """The second of two comes while the first is being told: Python's own handler would raise there."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_asked() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)
