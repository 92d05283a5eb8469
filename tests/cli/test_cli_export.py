"""`ancestral export`: what is written where, what it says of how to generate, and what is not written over."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import call
from PIL import Image

import ancestral_lite as lite
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral_lite.__main__ import main as run_lite


def test_a_run_becomes_one_file_that_generates_its_images(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "export", answering, "--onnx", "--weights", "32", "--steps", "3", "--sampler", "dpm++2m")
    assert done.code == 0 and done.out.strip() == str(answering / "model.onnx"), done.err
    assert "weights in 32 bits" in done.err
    assert run_lite([str(answering / "model.onnx"), "--num-images", "1", "--classes", "7", "--out", "one.png"]) == 0
    pipeline = Pipeline.load(answering, "cpu")
    (image,) = pipeline.generate([0], ["7"], SamplingSettings(steps=3, sampler="dpm++2m")).numpy()
    with Image.open("one.png") as file:
        assert np.abs(np.asarray(file)[::12, ::12].astype(int) - image[0]).max() <= 1
    lite_words = [str(answering / "model.onnx"), "--num-images", "1", "--out"]
    assert run_lite([*lite_words, "new/folder/one.png"]) == 0 == run_lite([*lite_words, "one.png"])
    Image.new("L", (2, 2)).save("mine.png")
    mine = Path("mine.png").read_bytes()
    assert run_lite([*lite_words, "mine.png"]) == 2 and Path("mine.png").read_bytes() == mine
    assert "got a file of another kind; choose another name" in capsys.readouterr().err


def test_where_it_goes_and_what_it_replaces(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, place in {("--onnx", "here.onnx"): "here.onnx", ("--onnx", "there"): "there/model.onnx"}.items():
        for _ in range(2):  # its own is replaced
            done = call(capsys, "export", answering, *words, "--weights", "8", "--json")
            assert done.code == 0 and json.loads(done.out)["files"] == [place], done.err
            assert json.loads(done.out)["bytes"] == [Path(place).stat().st_size]
    Path("mine.onnx").write_bytes(b"\x08 mine")
    done = call(capsys, "export", answering, "--onnx", "mine.onnx")
    assert done.code == 2 and "--overwrite" in done.err and Path("mine.onnx").read_bytes() == b"\x08 mine"
    assert call(capsys, "export", answering / "pipeline", "--onnx").code == 0 and Path("model.onnx").is_file()
    done = call(capsys, "export", answering, "--onnx", "model.txt")
    assert done.code == 2 and "leave .txt out" in done.err and not Path("model.txt").exists()


def test_text_takes_a_folder(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "export", texts, "--onnx", "out", "--guidance", "2", "--negative", "dark")
    assert done.code == 0 and done.out.split() == ["out/model.onnx", "out/text.onnx"], done.err
    model = lite.Model("out")
    assert model.about["negative"] == "dark" and {each["guidance"] for each in model.plan["levels"]} == {2}
    assert run_lite(["out", "--prompt", "a bright image", "--prompt", "dark", "--num-images", "3"]) == 0
    done = call(capsys, "export", texts, "--onnx", "one.onnx")
    assert done.code == 2 and "expected a folder for --onnx, got 'one.onnx'" in done.err


def test_an_extra_that_is_missing_is_named(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ancestral.jobs.export.find_spec", lambda name: None)
    done = call(capsys, "export", trained, "--onnx", "a.onnx")
    assert done.code == 2 and "pip install 'ancestral[onnxruntime]'" in done.err
