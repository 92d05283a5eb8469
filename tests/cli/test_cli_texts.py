"""Images asked for in words on the command line: in turn, mixed, from a file, and out of their own files again."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import TINY, call
from PIL import Image

from ancestral.tokenizer import Tokenizer
from ancestral.viz.png_texts import read_metadata


def pixels_of(file: str | Path) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


ASKED = [
    ["--prompt", "a dark image"],
    ["--prompt", "a dark image", "--prompt", "two, words; = and\n a line", "--guidance", "2", "--negative", "bright"],
    ["--prompt", "a dark image", "--prompt", "bright", "--blend", "0.7,0.3"],
    ["--prompt", "a dark image", "--prompt", "bright", "--prompt", "number 7", "--between"],
]


@pytest.mark.parametrize("words", ASKED, ids=["one", "in turn", "blend", "between"])
def test_what_was_asked_in_words_stands_in_a_file_and_is_generated_again(
    words: list[str], texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And counts: a file that says other words gives another image."""
    assert call(capsys, "sample", texts, "--num-images", "5", "--each", "--out", "one", *words).code == 0
    for seed in (1, 3):
        file = Path("one") / f"seed-{seed}.png"
        assert call(capsys, "sample", texts, "--from", file, "--out", "again").code == 0
        assert read_metadata(Path("again") / file.name) == read_metadata(file)
        assert abs(pixels_of(Path("again") / file.name) - pixels_of(file)).max() <= 1
    assert call(capsys, "sample", texts, "--from", "one/grid.png", "--out", "whole", "--each").code == 0
    for seed in range(5):
        assert (pixels_of(f"whole/seed-{seed}.png") == pixels_of(f"one/seed-{seed}.png")).all()
    said = read_metadata(Path("one/grid.png"))
    assert said == read_metadata(Path("whole/grid.png"))
    typed = [words[i + 1] for i, word in enumerate(words) if word == "--prompt"]
    assert ([said["prompt"]] if "prompt" in said else json.loads(said["prompts"])) == typed
    assert said.get("negative") == ("bright" if "--negative" in words else None)
    assert call(capsys, "sample", texts, "--num-images", "5", "--each", "--out", "plain").code == 0
    assert (pixels_of("plain/seed-3.png") != pixels_of("one/seed-3.png")).any()
    if "--negative" in words:
        assert call(capsys, "sample", texts, "--from", "one/seed-3.png", "--negative", "x", "--out", "other").code == 0
        assert (pixels_of("other/seed-3.png") != pixels_of("one/seed-3.png")).any()


def test_prompts_of_a_file_give_an_image_each_and_a_long_one_is_cut_and_said(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"image {i}" for i in range(17)]
    Path("lines.txt").write_text("\ufeff" + "\r\n\r\n".join(lines) + "\n", encoding="utf-8")
    code, _, err = call(capsys, "sample", texts, "--prompts", "lines.txt", "--each", "--out", "lines", "--steps", "1")
    assert code == 0 and "warning" not in err and len([*Path("lines").glob("seed-*.png")]) == 17
    assert read_metadata(Path("lines/seed-16.png"))["prompt"] == "image 16"
    long = "a dark image " + "very " * 2000 + "bright"
    asked = ("--prompt", long, "--prompt", "dark", "--num-images", "2")
    code, _, err = call(capsys, "sample", texts, *asked, "--steps", "1", "--out", "long")
    assert code == 0 and "a prompt of more than 16 tokens is cut" in err and "'a dark image very very" in err
    tokenizer = Tokenizer.load(texts / "tokenizer")
    assert f"{tokenizer.decode(tokenizer.encode([long])[0])!r}\n" in err, "trap 29: no more than is read"
    height, width, _ = pixels_of("long/grid.png").shape
    assert width < 600 and height < 500, "a long prompt is shortened beneath its image"
    assert read_metadata(Path("long/grid.png"))["prompts"] == json.dumps([long, "dark"])


def test_no_prompt_is_said(texts: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--num-images", "1", "--steps", "1", "--out", "few")
    assert "--prompt says what to show" in call(capsys, "sample", texts, *few).err
    assert "--prompt" not in call(capsys, "sample", trained, *few).err


def test_an_edit_takes_prompts(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8), 128).save("grey.png")
    words = ("edit", "vary", texts, "--strength", "0.9", "--num-images", "2", "grey.png")
    files = []
    for name, asked in (("a", ("--prompt", "a dark image", "--prompt", "bright")), ("b", ()), ("c", ("--prompt", "x"))):
        guided = ("--guidance", "2", "--negative", "number") if asked else ()
        assert call(capsys, *words, "--out", name, *asked, *guided).code == 0
        files.append(Path(name) / "vary-seed-1.png")
    assert len({pixels_of(file).tobytes() for file in files}) == 3
    said = read_metadata(files[0])
    assert (said["prompt"], said["negative"]) == ("bright", "number") and "prompt" not in read_metadata(files[1])
    assert call(capsys, "edit", "invert", texts, "grey.png", "--prompt", "dark", "--out", "d").code == 0
    assert read_metadata(Path("d/invert-again.png"))["prompt"] == "dark"


def test_training_says_what_is_read_of_captions_and_goes_on_with_its_tokenizer(
    texts: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(20):
        Image.new("L", (8, 8), 10 * i).save(folder / f"{i}.png")
    (folder / "captions.tsv").write_text("file\tcaption\n" + "".join(f"{i}.png\t{'word ' * i}\n" for i in range(20)))
    constant = ("--training.steps", "2", "--training.lr_schedule", "constant")
    train = ("train", folder, "--data.size", "8", *TINY, *constant)
    code, _, err = call(capsys, *train, "--out", "plain")
    assert code == 0 and err.count("--text.name learned reads them") == 1
    learned = (*train, "--text.name", "learned", "--text.width", "16", "--text.length", "9", "--out", "run")
    code, _, err = call(capsys, *learned, "--training.checkpoint_every_steps", "1")
    assert code == 0 and "tokens, by" in err and "have more than 9 and are cut" in err and "1 images have none" in err
    kept = Tokenizer.load(Path("run/tokenizer")).hash
    assert kept == Tokenizer.load(Path("run/pipeline/tokenizer")).hash
    assert call(capsys, "train", "run", "--training.steps", "4").code == 0
    (folder / "captions.tsv").write_text("file\tcaption\n" + "".join(f"{i}.png\tother\n" for i in range(20)))
    code, _, err = call(capsys, "train", "run", "--training.steps", "6")
    assert code == 2 and "the images have changed" in err and Tokenizer.load(Path("run/tokenizer")).hash == kept
    code, _, err = call(capsys, *learned[:-1], "other")
    assert code == 0 and Tokenizer.load(Path("other/tokenizer")).hash != kept
    code, _, err = call(capsys, "sample", "run", "--prompt", "word", "--guidance", "2", "--weaker", "other")
    assert code == 2 and "of another text" in err, "trap: the tokens of one vocabulary told to another network"
    (folder / "captions.tsv").unlink()
    code, _, err = call(capsys, "likelihood", "other", "--given-classes")
    assert code == 2 and "captions of" in err and "are no longer those other was trained on" in err
