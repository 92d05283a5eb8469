"""`ancestral train-classifier`, and what `--weaker` and `--classifier` guide by."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_calls import TINY, call, snapshot
from pipelines import answering

from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE, load_classifier
from ancestral.training.optimizer import AdamW
from ancestral.viz.png_texts import read_metadata

FEW = ("--num-images", "2", "--steps", "3", "--each")


@pytest.fixture(scope="module")
def lent(unconditional: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without classes, with a classifier of two steps."""
    from ancestral.cli.main import main

    run = Path(shutil.copytree(unconditional, tmp_path_factory.mktemp("lent") / "plain"))
    assert main(["train-classifier", str(run), "--steps", "2"]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def checkpoint(run: Path) -> Path:
    """An earlier checkpoint of `run`, made by changing the weights of its pipeline."""
    answering(Pipeline.load(run, "cpu")).save(run / "pipeline")
    (folder,) = (run / "checkpoints").iterdir()
    return folder


def bytes_of(folder: str) -> bytes:
    return (Path(folder) / "seed-0.png").read_bytes()


def test_it_says_what_it_tells_at_each_level_of_noise(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "train-classifier", run, "--steps", "2", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["file"] == str(run / CLASSIFIER_FILE) and said["steps"] == 2 and said["num_held_out"] == 180
    assert said["chance"] == pytest.approx(0.1, abs=0.02) and said["classes"] == [*"0123456789"]
    pipeline = Pipeline.load(run, "cpu")
    kept = load_classifier(run / CLASSIFIER_FILE, pipeline.spec, pipeline.diffusion)
    assert [each.model_dump() for each in kept.accuracies] == said["accuracies"] and kept.digest == said["digest"]
    assert [round(each.log_snr) for each in kept.accuracies[1:-1]] == [4, 2, 0, -2, -4]


def test_the_table_names_the_file_and_the_same_seed_gives_the_same_file(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        words = ("--steps", "1", "--seed", seed, "--out", f"{name}.safetensors")
        done = call(capsys, "train-classifier", run, *words)
        assert done.code == 0 and "180 held-out images" in done.out and "log-SNR" in done.out
        assert done.out.splitlines()[-1] == f"{name}.safetensors"
        files.append(Path(f"{name}.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
    assert not (run / CLASSIFIER_FILE).exists()


def test_a_stopped_classifier_goes_on_and_ends_as_one_never_stopped(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the midst of a step is heard after it; what is saved lies beside the file to be."""
    whole = call(capsys, "train-classifier", run, "--steps", "3", "--out", "whole.safetensors")
    assert whole.code == 0 and whole.out.splitlines()[-1] == "whole.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(AdamW, "step", signalling(AdamW.step))
        stopped = call(capsys, "train-classifier", run, "--steps", "3")
    assert stopped.code == 143 and f"stopped and saved after step 1 in {run / 'classifier'}" in stopped.out
    assert not (run / CLASSIFIER_FILE).exists()
    assert call(capsys, "train-classifier", run, "--steps", "3").code == 0
    assert (run / CLASSIFIER_FILE).read_bytes() == Path("whole.safetensors").read_bytes()
    other = call(capsys, "train-classifier", run, "--steps", "3", "--seed", "1")
    assert (other.code, other.err.count("\n")) == (2, 1) and "was trained with seed = 0, not 1" in other.err


def signalling(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of an optimiser in which the process is asked to stop."""

    def stopped(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*given, **named)

    return stopped


def test_a_classifier_lends_its_classes_to_a_run_without_any(lent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lent / CLASSIFIER_FILE
    words = ("sample", lent, *FEW, "--guidance", "4", "--classes", "3,7")
    assert call(capsys, *words, "--classifier", file, "--out", "a").code == 0
    said = read_metadata(Path("a/seed-1.png"))
    pipeline = Pipeline.load(lent, "cpu")
    assert (said["class"], said["guidance_by"]) == ("7", "classifier")
    assert said["classifier"] == load_classifier(file, pipeline.spec, pipeline.diffusion).digest
    assert call(capsys, *words, "--guidance_by", "classifier", "--out", "b").code == 0
    assert bytes_of("b") == bytes_of("a"), "RUN/classifier.safetensors is found by itself"
    assert call(capsys, "sample", lent, *FEW, "--guidance_by", "classifier", "--out", "c").code == 0
    assert read_metadata(Path("c/grid.png"))["class"] == "0, 1", "all in turn"


def test_what_is_evaluated_is_guided_too(
    lent: Path, trained: Path, run: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Trap: guidance that `sample` has and `evaluate` forgets."""
    measured: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def stop(drawn: torch.Tensor, asked: torch.Tensor | None, *_: object) -> None:
        measured.append((drawn, asked))
        raise InputError("enough")

    monkeypatch.setattr("ancestral.jobs.evaluate.evaluating", stop)
    by_classifier, by_weaker = (
        ("--guidance_by", "classifier", "--guidance", "9"),
        ("--guidance", "3", "--weaker", trained),
    )
    for words in ((lent,), (lent, *by_classifier), (run, "--guidance", "3"), (run, *by_weaker)):
        assert "enough" in call(capsys, "evaluate", *words, "--images", "12", "--steps", "2").err
    (plain, none), (guided, lent_classes), (free, _), (auto, classes) = measured
    assert none is None and lent_classes is not None and classes is not None
    assert lent_classes.tolist() == classes.tolist() == [*range(10), 0, 1]
    assert not torch.equal(plain, guided) and not torch.equal(free, auto)


def test_a_checkpoint_guides_as_the_weaker_network(
    run: Path, checkpoint: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sample", run, *FEW, "--guidance", "3")
    assert call(capsys, *words, "--weaker", checkpoint, "--out", "a").code == 0
    said = read_metadata(Path("a/seed-0.png"))
    assert said["guidance_by"] == "autoguidance" and said["weaker"] == Pipeline.load(trained, "cpu").weights_hash()
    assert said["weights"] == Pipeline.load(run, "cpu").weights_hash() != said["weaker"]
    for same in (trained, trained / "pipeline"):
        assert call(capsys, *words, "--weaker", same, "--out", "b").code == 0
        assert bytes_of("b") == bytes_of("a"), "the run that the checkpoint is of"
    assert call(capsys, *words, "--out", "c").code == 0 and bytes_of("c") != bytes_of("a")
    assert "weaker" not in read_metadata(Path("c/seed-0.png"))


def test_a_damaged_or_homeless_checkpoint_is_one_line(
    run: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "alone" / checkpoint.name)
    words = ("sample", run, "--guidance", "3", "--weaker")
    done = call(capsys, *words, tmp_path / "alone" / checkpoint.name)
    assert (done.code, done.err.count("\n")) == (2, 1) and "inside its run" in done.err
    weights = checkpoint / "ema.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(bytes(content))
    done = call(capsys, *words, checkpoint)
    assert (done.code, done.err.count("\n")) == (2, 1) and "damaged" in done.err


def test_a_weaker_network_of_something_else_is_refused(
    trained: Path, lent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--training.steps", "1", "--diffusion.schedule.name", "linear")
    assert call(capsys, "train", "digits", *TINY, *other, "--out", "linear").code == 0
    assert (
        call(capsys, "train", "digits", *TINY, "--training.steps", "1", "--data.size", "10", "--out", "big").code == 0
    )
    for folder, expected in (
        (lent, "of other classes; name"),
        ("linear", "of another schedule; name"),
        ("big", "got big, of images of 1x10x10; name"),
        (trained, "the very same weights"),
        ("nowhere", "no folder"),
    ):
        done = call(capsys, "sample", trained, "--guidance", "2", "--weaker", folder)
        assert (done.code, done.err.count("\n")) == (2, 1) and expected in done.err, done.err
    for run, expected in ((trained, "this pipeline's noise"), ("linear", None)):
        file = ("--steps", "1", "--out", "c.safetensors")
        assert call(capsys, "train-classifier", "linear", *file).code == 0
        done = call(capsys, "sample", run, *FEW, "--guidance", "2", "--classifier", "c.safetensors", "--out", "x")
        assert done.code == (2 if expected else 0) and (expected or "") in done.err


CONTRADICTIONS = {
    "both": (["--weaker", "a", "--classifier", "b"], "got both"),
    "weaker and classifier": (["--weaker", "a", "--guidance_by", "classifier"], "expected guidance_by autoguidance"),
    "classifier and classifier-free": (
        ["--classifier", "b", "--guidance_by", "classifier-free"],
        "got classifier-free",
    ),
    "negative of a weaker": (["--weaker", "a", "--guidance", "2", "--negative", "3"], "no negative"),
}


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_one_line(
    name: str, verb: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = CONTRADICTIONS[name]
    before = snapshot(trained)
    done = call(capsys, verb, trained, *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and expected in done.err, done.err
    assert snapshot(trained) == before


UNUSED = {
    "a weaker network at 1": (["--weaker", "RUN"], "other than 1 with --weaker"),
    "a classifier of a network that knows": (["--classifier", "x.safetensors"], "knows its classes"),
    "no classifier": (["--guidance_by", "classifier", "--guidance", "2"], "`ancestral train-classifier`"),
    "no weaker": (["--guidance_by", "autoguidance", "--guidance", "2"], "--weaker FOLDER"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_what_would_guide_nothing_is_refused(name: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = UNUSED[name]
    done = call(capsys, "sample", trained, *(str(trained) if word == "RUN" else word for word in words))
    assert (done.code, done.err.count("\n")) == (2, 1) and expected in done.err, done.err


def test_without_a_class_a_classifier_guides_nowhere(lent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["--classes", "none"], "a class to be guided to"),
        (["--guidance", "0"], "0 asks for no class"),
        (["--classes", "twelve"], "'twelve'"),
    ):
        done = call(capsys, "sample", lent, "--guidance_by", "classifier", *words)
        assert (done.code, done.err.count("\n")) == (2, 1) and expected in done.err, done.err


def test_a_bound_is_measured_without_guides(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "likelihood", trained, "--weaker", trained)
    assert done.code == 2 and "unknown option --weaker" in done.err


def test_data_without_classes_has_nothing_to_tell_apart(
    unconditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(unconditional, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"] = "photos"
    (run / "config.json").write_text(json.dumps(config))
    before = snapshot(run)
    done = call(capsys, "train-classifier", run, "--steps", "1")
    assert (done.code, done.err.count("\n")) == (2, 1) and "expected data with classes" in done.err, done.err
    assert snapshot(run) == before
