"""An encoder that exists already on the command line: trained with, asked, gone on with; what is wrong in one line."""

import shutil
from pathlib import Path

import pipelines
import pytest
from cli_calls import TINY, call
from encoders import clip_folder
from PIL import Image

from ancestral.pipeline import Pipeline
from ancestral.viz.png_texts import read_metadata


def test_from_a_folder_to_images_that_are_generated_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder, encoder = tmp_path / "images", clip_folder(tmp_path / "encoder")
    folder.mkdir()
    for i in range(20):
        Image.new("L", (8, 8), 10 * i).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a {'red' if i % 2 else 'blue'} circle" + " red" * i)
    train = ("train", folder, "--data.size", "8", *TINY, "--training.lr_schedule", "constant", "--sampling.steps", "3")
    frozen = (*train, "--text.name", "frozen", "--out", "run", "--training.steps")
    faults = {
        ("--text.folder", "somebody/clip"): "nothing is downloaded",
        ("--text.folder", str(encoder)): "expected text.length of at most 20",  # 77 is usual
        ("--text.folder", str(encoder), "--text.vocab_size", "999"): "expected no vocab_size with the text frozen",
        (): "expected text.folder with text.name frozen, got none",
    }
    for words, fault in faults.items():
        code, _, err = call(capsys, *frozen, "2", *words)
        assert code == 2 and fault in err and len(err.strip().splitlines()) == 1 and not Path("run").exists()
    words = ("--text.folder", encoder, "--text.length", "12")
    assert call(capsys, *frozen, "2", *words, "--dry-run").code == 0
    code, _, err = call(capsys, *frozen, "2", *words)
    assert code == 0 and "text: CLIPTextModel, 16 features of a token, by 17 captions" in err, err
    assert "have more than 12 and are cut" in err and "Loading weights" not in err
    shutil.rmtree(encoder)
    code, _, err = call(capsys, "train", "run", "--training.steps", "4")
    assert code == 0, err
    pipelines.answering(Pipeline.load("run", "cpu")).save("run/pipeline")
    asked = ("--prompt", "a red circle", "--prompt", "a blue circle", "--guidance", "2", "--negative", "red", "--each")
    assert call(capsys, "sample", "run", "--num-images", "2", *asked, "--out", "one").code == 0
    assert call(capsys, "sample", "run", "--from", "one/seed-1.png", "--out", "again").code == 0
    assert read_metadata(Path("again/seed-1.png")) == read_metadata(Path("one/seed-1.png"))
    assert read_metadata(Path("one/seed-1.png"))["prompt"] == "a blue circle"
    images = [Image.open(file).tobytes() for file in ("one/seed-1.png", "again/seed-1.png", "one/seed-0.png")]
    assert images[0] == images[1] != images[2]
    vary = ("edit", "vary", "run", "--strength", "0.9", "one/seed-0.png", "--prompt", "blue", "--out", "edited")
    assert call(capsys, *vary).code == 0 and read_metadata(Path("edited/vary-seed-0.png"))["prompt"] == "blue"
    shutil.rmtree("run/text_encoder")
    code, _, err = call(capsys, "train", "run", "--training.steps", "6")
    assert code == 2 and "expected a text encoder in run/text_encoder, got no config.json" in err
