"""`ancestral runs`: every state a run can be in, told from its files alone and without touching them."""

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path
from subprocess import run as started

import pytest
from cli_calls import call, snapshot

from ancestral.run_states import find_runs, state_of


def copied(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder)
    return folder


def test_a_finished_a_stopped_a_training_and_a_damaged_run(trained: Path, tmp_path: Path) -> None:
    """The budget says what is finished; the operating system's lock who trains; a manifest what is whole."""
    finished = copied(trained, tmp_path / "a")
    assert state_of(finished).state == "finished"
    stopped = copied(trained, tmp_path / "b")
    config = json.loads((stopped / "config.json").read_text())
    config["training"] |= {"steps": 10**6, "images": None, "minutes": None}
    (stopped / "config.json").write_text(json.dumps(config))
    assert state_of(stopped).state == "stopped"
    with (stopped / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state_of(stopped).state == "training"
    assert state_of(stopped).state == "stopped"
    next((stopped / "checkpoints").glob("step-*/manifest.json")).unlink()
    assert state_of(stopped)[1] == "damaged" and "no manifest" in state_of(stopped).fault
    (finished / "config.json").write_text("{")
    assert state_of(finished).state == "damaged" and "config.json" in state_of(finished).fault


def test_the_last_whole_line_and_the_last_numbers_are_told(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    wanted = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "los')
    (run / "likelihood.json").write_text('{"total": {"value": 3.25, "standard_error": 0.1}}')
    numbers = {"comparisons": [{"numbers": [{"name": "kernel", "value": 9}, {"name": "frechet", "value": 1.5}]}]}
    (run / "evaluation.json").write_text(json.dumps(numbers))
    state = state_of(run)
    assert (state.steps, state.images) == (wanted["step"], wanted["images"])
    assert (state.bits_per_dim, state.frechet, state.size) == (3.25, 1.5, "8x8 grey")


@pytest.mark.parametrize("torn", ["", "cut"])
def test_the_newest_checkpoint_says_how_far_a_run_came_whose_log_does_not(
    trained: Path, tmp_path: Path, torn: str
) -> None:
    """Trap: a finished run whose log was emptied was called stopped."""
    run = copied(trained, tmp_path / "run")
    (run / "log.jsonl").write_text(torn)
    (run / "timing.jsonl").unlink()
    state = state_of(run)
    assert (state.state, state.steps, state.images, state.loss) == ("finished", 2, state_of(trained).images, None)


def test_runs_are_found_below_a_folder_and_nothing_is_touched(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(trained, tmp_path / "runs" / "deep" / "one")
    copied(trained, tmp_path / "runs" / "two")
    (tmp_path / "runs" / "pictures").mkdir()
    before = snapshot(tmp_path)
    assert [path.name for path in find_runs(tmp_path / "runs")] == ["one", "two"]
    code, out, err = call(capsys, "runs", tmp_path / "runs", "--json")
    assert (code, err) == (0, "") and [each["state"] for each in json.loads(out)] == ["finished", "finished"]
    assert "finished" in call(capsys, "runs", tmp_path / "runs").out
    assert "no runs" in call(capsys, "runs", tmp_path / "runs" / "pictures").out
    assert snapshot(tmp_path) == before
    code, _, err = call(capsys, "runs", tmp_path / "nowhere")
    assert (code, len(err.splitlines())) == (2, 1)


def test_a_pipe_for_a_log_is_not_waited_for(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    (run / "log.jsonl").unlink()
    os.mkfifo(run / "log.jsonl")
    assert state_of(run).loss is None


def test_no_torch_is_loaded() -> None:
    code = "import sys; from ancestral.cli import runs, completion; assert 'torch' not in sys.modules"
    assert started([sys.executable, "-c", code], check=False).returncode == 0
