"""Trained runs for the verbs that need one; trained once, read by many."""

import shutil
from pathlib import Path

import pipelines
import pytest
from cli_calls import TINY, TINY_CODEC
from PIL import Image

from ancestral.cli.main import main
from ancestral.pipeline import Pipeline


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on `digits`, by class."""
    run = tmp_path_factory.mktemp("trained") / "digits"
    assert main(["train", "digits", *TINY, "--training.steps", "2", "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="session")
def unconditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without classes."""
    run = tmp_path_factory.mktemp("trained") / "plain"
    words = ["train", "digits", *TINY, "--training.steps", "1", "--data.labels", "none", "--out", str(run)]
    assert main(words) == 0
    return run


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on a folder of small images with captions, its weights made to answer something."""
    folder, run = tmp_path_factory.mktemp("texts") / "captioned", tmp_path_factory.mktemp("trained") / "texts"
    folder.mkdir()
    for i in range(24):
        Image.new("L", (8, 8), 10 * i).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a {'dark' if i < 12 else 'bright'} image, number {i}\n")
    words = ["train", folder, "--data.size", "8", *TINY, "--text.name", "learned", "--text.width", "16"]
    words += ["--text.length", "16", "--text.layers", "1", "--training.steps", "2", "--sampling.steps", "3"]
    assert main([*map(str, words), "--out", str(run)]) == 0
    pipelines.answering(Pipeline.load(run, "cpu")).save(run / "pipeline")
    return run


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder's run of two steps on `digits`."""
    run = tmp_path_factory.mktemp("coded") / "digits-codec"
    assert main(["train-codec", "digits", *TINY_CODEC, "--training.steps", "2", "--out", str(run)]) == 0
    return run


@pytest.fixture
def answering(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run to change at will, with weights that answer something: two steps have hardly moved them."""
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    pipelines.answering(Pipeline.load(copy, "cpu")).save(copy / "pipeline")
    return copy


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write to the current folder by default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
