"""`ancestral evaluate --text`: its price, table, JSON and pictures, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from captioned_squares import squares
from cli_calls import TINY, call
from PIL import Image

from ancestral.cli.main import main
from ancestral.data.datasets import load
from ancestral.evaluation import retrieval
from ancestral.evaluation.caption_lift import caption_lift
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.text_evaluation import TextEvaluation, texts_of
from ancestral.jobs.evaluate_text import evaluate_text, prompted
from ancestral.jobs.events import FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.measurement_settings import PromptJobSettings
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.training.run import RunFolder

FEW = [
    *("--num-prompts", "6", "--num-choosing", "4", "--guidances", "1", "2"),
    *("--lift-images", "4", "--lift-levels", "2", "--steps", "2"),
]
TEXT = ["--text.name", "learned", "--text.width", "16", "--text.layers", "1", "--data.test", "0.2"]
WITHOUT_ATTENTION = ["--network.no_positions"]  # which the preset has, for pixels that attend


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn scenes that reads texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        run = tmp_path_factory.mktemp("runs") / "shapes"
        words = [
            "train",
            "shapes",
            *TINY,
            *WITHOUT_ATTENTION,
            *TEXT,
            "--data.scenes",
            "60",
            "--training.steps",
            "2",
            "--out",
            str(run),
        ]
        assert main(words) == 0
    return run


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ancestral.evaluation.text_evaluation.READ", 20)


def kept(run: Path) -> dict[str, Any]:
    return {**json.loads((run / "text.json").read_text()), "seconds": 0}


def test_the_price_comes_first_and_all_is_told_and_kept(listening: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4 x 2 images to choose guidance by, 6 of either list, 6 of no prompt."""
    code, out, err = call(capsys, "evaluate", listening, "--text", *FEW)
    assert code == 0 and "26 images: " in err and " network calls of one image each, about" in err
    found = TextEvaluation.model_validate_json((listening / "text.json").read_text())
    assert [scores.name for scores in found.scores] == ["seen pairs", "held-out pairs", "no prompt"]
    assert (found.settings.num_prompts, found.lift.num_images, found.nearness.num_generated) == (6, 4, 6)
    assert "chance" in out and "Guidance " in out and "bits an image" in out
    assert out.splitlines()[-3:] == [str(listening / name) for name in ("text.json", "text.png", "text-images.png")]
    first, (code, out, _) = kept(listening), call(capsys, "evaluate", listening, "--text", *FEW, "--json")
    told = json.loads(out)
    assert code == 0 and told.pop("price")["network_calls"] == 52
    assert {**told, "seconds": 0} == kept(listening) == first, "the same seed measures the same"


def test_the_job_needs_no_command_line(listening: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"num_prompts": 6, "num_choosing": 4, "guidances": (1.0,), "lift_images": 4, "lift_levels": 2}
    job = PromptJobSettings.model_validate({"run": listening, "sampling": {"steps": 2}, **few})
    events = [*evaluate_text(job)]
    kinds = [*dict.fromkeys(type(event) for event in events if not isinstance(event, ProgressEvent))]
    assert kinds == [NoteEvent, FileEvent, ResultEvent] and capsys.readouterr().out == ""
    done = [event for event in events if isinstance(event, ProgressEvent) and event.what == "generating"]
    assert (done[-1].done, done[-1].total) == (22, 22)


def test_a_network_that_is_told_nothing_has_no_lift(listening: Path) -> None:
    """A network that answers something, and the same with all that it is told hidden from it."""
    pipeline = Pipeline.load(listening, "cpu")
    with torch.no_grad():
        for weight in pipeline.network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    some = load(RunFolder(listening).read_config().data).test.sliced(0, 6)

    def lift(of: Pipeline) -> float:
        model = prompted(of, of.config.sampling)
        work = caption_lift(model.schedule, model.encode(as_pixels(some)), texts_of(some), model.squared_errors, 2)
        return finish(work).bits

    assert lift(pipeline) != 0
    with pytest.MonkeyPatch.context() as patch:
        told = Pipeline.condition
        patch.setattr(Pipeline, "condition", lambda *words, **more: told(*words, **more).null())
        assert lift(pipeline) == 0


def test_captions_of_a_folder_are_judged_by_real_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "LEAST_IMAGES", 256)
    monkeypatch.setattr(retrieval, "EPOCHS", 1)
    images, folder = squares(60, 0), tmp_path / "squares"
    folder.mkdir()
    for i, (pixels, caption) in enumerate(zip(images.pixels(), texts_of(images), strict=True)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption)
    run = tmp_path / "run"
    words = ["--data.size", "16", "--training.steps", "2", "--out", str(run)]
    assert call(capsys, "train", folder, *TINY, *TEXT, *words).code == 0
    code, out, _ = call(capsys, "evaluate", run, "--text", *FEW)
    assert code == 0 and "R@1" in out and "real images" in out
    found = kept(run)
    assert found["num_fitted"] == 47 and found["choosing"].startswith("captions of training images")
    assert (run / "text-images.png").is_file()


def test_what_cannot_be_measured_is_one_line(
    trained: Path, listening: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {
        (str(trained),): "expected a run that reads texts",
        (str(listening), "--guidance", "2"): "expected no --guidance with --text",
        (str(listening), "--num-prompts", "1"): "--num-prompts: expected at least 2",
        (str(listening), "--guidances", "-1"): "--guidances",
        (str(listening), "--images", "5"): "unknown option --images",
    }
    for words, said in refused.items():
        code, _, err = call(capsys, "evaluate", *words, "--text")
        assert code == 2 and said in err and len(err.splitlines()) == 1, words
