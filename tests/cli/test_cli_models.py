"""Commands with a model that comes along: it is named, its results go to the current folder, it stays as it is."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_calls import call, snapshot
from released import packed
from test_cli_sweep import CHOICE, EIGHT, SMALL, won

import ancestral.models
from ancestral.cli.completion import first_words
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.export import ExportSettings
from ancestral.jobs.measurement_settings import (
    EvaluateSettings,
    LikelihoodJobSettings,
    PromptJobSettings,
    SweepJobSettings,
)
from ancestral.jobs.sample import SampleSettings
from ancestral.jobs.share import ShareSettings
from ancestral.pipeline import Pipeline

OURS = Path(ancestral.models.__file__).parent


@pytest.fixture
def ours() -> dict[str, bytes | None]:
    """All that lies in the package's own folder of models, but for what Python has compiled."""
    return {name: content for name, content in snapshot(OURS).items() if "__pycache__" not in name}


@pytest.fixture
def dots(answering: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model `dots` of another package: a run of digits that answers something."""
    root = tmp_path_factory.mktemp("site-packages")
    folder = packed(root, "dots", Pipeline.load(answering, "cpu"))
    monkeypatch.syspath_prepend(str(root))
    return folder


def unchanged(before: dict[str, bytes | None]) -> bool:
    return {name: each for name, each in snapshot(OURS).items() if "__pycache__" not in name} == before


JOBS = (SampleSettings, ShareSettings, EvaluateSettings, PromptJobSettings, LikelihoodJobSettings, SweepJobSettings)


@pytest.mark.parametrize("kind", [*JOBS, TASKS["tile"], partial(ExportSettings, onnx=None)])
def test_every_job_that_takes_a_pipeline_takes_a_name(kind: Callable[..., Any]) -> None:
    assert kind(run="digits").run == OURS / "digits" and kind(run="./digits").run == Path.cwd() / "digits"


def test_digits_are_sampled_with_a_film_in_an_empty_folder(
    tmp_path: Path, ours: dict[str, bytes | None], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--num-images", "4", "--steps", "4", "--film", "film.gif", "--strip"]
    code, out, _ = call(capsys, "sample", "digits", *words)
    assert code == 0 and "generated/grid.png" in out
    assert sorted(each.name for each in tmp_path.iterdir()) == ["film.gif", "generated"]
    assert unchanged(ours)


def test_editing_and_exporting_write_here_too(
    tmp_path: Path, ours: dict[str, bytes | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "edit", "interpolate", "digits", "--seeds", "0,1", "--points", "3", "--steps", "3").code == 0
    assert (tmp_path / "edited" / "interpolate.png").is_file()
    pytest.importorskip("onnx")
    assert call(capsys, "export", "digits", "--onnx", "--weights", "16").code == 0
    assert (tmp_path / "model.onnx").is_file() and unchanged(ours)


@pytest.mark.usefixtures("quick_features")
def test_it_is_measured_on_its_data_and_the_numbers_lie_here(
    tmp_path: Path, ours: dict[str, bytes | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "evaluate", "digits", "--images", "20", "--steps", "4").code == 0
    assert call(capsys, "likelihood", "digits", "--images", "4", "--timesteps", "2").code == 0
    names = {"evaluation.json", "evaluation-nearest.png", "likelihood.json", "likelihood.png"}
    assert {each.name for each in tmp_path.iterdir()} == names and unchanged(ours)
    assert json.loads((tmp_path / "evaluation.json").read_text())["num_generated"] == 20
    code, _, err = call(capsys, "evaluate", "digits", "--text")
    assert code == 2 and "expected a run that reads texts" in err


@pytest.mark.usefixtures("quick_features")
def test_a_mere_pipeline_is_measured_likewise_and_a_runs_own_is_the_run(
    answering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "20", "--steps", "2"]
    assert call(capsys, "evaluate", answering / "pipeline", *few).code == 0
    assert (answering / "evaluation.json").is_file() and not (tmp_path / "evaluation.json").exists()
    Pipeline.load(answering, "cpu").save("alone")
    before = snapshot(Path("alone"))
    assert call(capsys, "evaluate", "alone", *few).code == 0
    assert (tmp_path / "evaluation.json").is_file() and snapshot(Path("alone")) == before


@pytest.mark.usefixtures("quick_features")
def test_a_sweep_measures_it_and_stores_nothing(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: of a mere pipeline elsewhere the best sampler becomes how it generates."""
    before = snapshot(dots)
    assert call(capsys, *EIGHT, *SMALL, "dots").code == 0
    won(Path("sweep.json"))
    code, out, _ = call(capsys, *CHOICE, "dots")
    assert code == 0 and "not stored: a model that comes along stays as it is" in out
    assert snapshot(dots) == before
    assert call(capsys, "sweep", "dots", "--restore").code == 2


def test_it_guides_what_it_is_weaker_than(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "sample", "digits", "--guidance", "2", "--weaker", "dots", "--num-images", "1")
    assert code == 0, err


@pytest.mark.parametrize("verb", ["sample", "evaluate", "likelihood", "sweep"])
def test_a_word_that_names_no_run_is_answered_with_the_names(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, verb, "digts")
    assert (code, len(err.splitlines())) == (2, 1) and "name a model that comes along: digits" in err


@pytest.mark.parametrize("verb", ["report", "variance", "train-classifier"])
def test_what_needs_a_run_says_so(verb: str, ours: dict[str, bytes | None], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, verb, "digits")
    assert code == 2 and "expected a run folder with a config.json, got a pipeline" in err and unchanged(ours)


def test_help_and_completion_list_the_names(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overview = call(capsys, "--help").out.split("models that come along, for ancestral sample:")[1]
    assert "digits  handwritten digits, 8x8 grey, by class" in overview and "dots    dots, 8x8 grey" in overview
    assert "the name of a model that comes along: digits, dots" in " ".join(
        call(capsys, "sample", "--help").out.split()
    )
    assert first_words()["sample"] == ("digits", "dots") and "digits" in first_words()["train"]


def test_to_train_digits_is_to_train_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "train", "digits", "--dry-run")
    assert code == 0 and "would write to runs/digits" in err
