"""How a run generates stands in two files that always say the same, whatever fails while they are written."""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pipelines import untrained
from standing import Forked

from ancestral.errors import CannotWrite, InputError
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.training.default_sampling import agreed, choose, restored, run_of
from ancestral.training.run import RunFolder

BEFORE = SamplingSettings(sampler="ddim", steps=50)
AFTER = SamplingSettings(sampler="unipc-2", steps=7, grid="log-snr")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made, folder = untrained(changes={"sampling": BEFORE}), RunFolder(tmp_path / "run")
    with folder.claimed(made.config):
        made.save(folder.pipeline)
    return folder.path


def drawn_by(run: Path) -> list[SamplingSettings]:
    return [RunFolder(run).read_config().sampling, Pipeline.load(run, "cpu").config.sampling]


def failing_at(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time that a file of that name is to be put in place, it cannot be."""
    real, left = os.replace, [error]

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == name and left:
            raise left.pop()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_both_say_it_and_it_is_undone(run: Path) -> None:
    choose(run, AFTER)
    assert drawn_by(run) == [AFTER, AFTER]
    assert restored(run) == BEFORE
    assert drawn_by(run) == [BEFORE, BEFORE]
    with pytest.raises(InputError, match="a sweep's choice to undo"):
        restored(run)


@pytest.mark.parametrize("name", ["sampling.json", "config.json", "ancestral.json"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_both_as_they_were(
    run: Path, name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing_at(name, error, patch)
        with pytest.raises(CannotWrite if isinstance(error, OSError) else KeyboardInterrupt):
            choose(run, AFTER)
    assert drawn_by(run) == [BEFORE, BEFORE] and not (run / "sampling.json").exists()
    choose(run, AFTER)
    assert drawn_by(run) == [AFTER, AFTER]


def test_what_a_killed_process_began_is_completed(run: Path) -> None:
    """It had written its choice and config.json, and not yet the pipeline."""
    with Forked(partial(killed_before_the_pipeline, run), run, dict(os.environ)) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert drawn_by(run) == [AFTER, BEFORE]
    agreed(run)
    assert drawn_by(run) == [AFTER, AFTER]
    assert restored(run) == BEFORE and drawn_by(run) == [BEFORE, BEFORE]


def killed_before_the_pipeline(run: Path) -> None:
    def hook(event: str, words: tuple[object, ...]) -> None:
        if event == "os.rename" and str(words[1]).endswith("ancestral.json"):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    choose(run, AFTER)


def test_what_was_set_since_is_no_choice_that_was_begun(run: Path) -> None:
    choose(run, AFTER)
    for file in (run / "config.json", run / "pipeline" / "ancestral.json"):
        tree = json.loads(file.read_text())
        tree.get("config", tree)["sampling"] = BEFORE.model_dump(mode="json")
        file.write_text(json.dumps(tree))
    agreed(run)
    assert drawn_by(run) == [BEFORE, BEFORE]


def test_a_run_that_is_trained_keeps_its_settings(run: Path) -> None:
    with held(run), pytest.raises(InputError, match="trained by another process"):
        choose(run, AFTER)
    assert drawn_by(run) == [BEFORE, BEFORE]


@contextmanager
def held(run: Path) -> Iterator[None]:
    with RunFolder(run).claimed(RunFolder(run).read_config()):
        yield


def test_the_pipeline_of_a_run_is_the_run(run: Path, tmp_path: Path) -> None:
    assert run_of(run / "pipeline") == run and run_of(run) == run
    assert run_of(tmp_path / "pipeline") == tmp_path / "pipeline"
