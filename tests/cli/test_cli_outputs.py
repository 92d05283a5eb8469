"""No verb replaces a file that it did not write, and each finds that out before it does anything."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_calls import TINY, call, snapshot
from PIL import Image

FEW = ["--steps", "2", "--num-images", "2"]
PNG, TEXT = "their.png", "their notes"
VERBS: dict[str, tuple[list[str], str]] = {
    "sample": (["sample", "RUN", "--out", "out"], "out/grid.png"),
    "sample by default": (["sample", "RUN"], "RUN/generated/grid.png"),
    "sample, one of each": (["sample", "RUN", "--each", "--out", "out"], "out/seed-1.png"),
    "sample, its strip": (["sample", "RUN", "--strip", "--out", "out"], "out/strip.png"),
    "sample, a film": (["sample", "RUN", "--film", "out/a.gif", "--out", "new"], "out/a.gif"),
    "sample, an animated PNG": (["sample", "RUN", "--film", "out/a.png", "--out", "new"], "out/a.png"),
    "sample, arrays": (["sample", "RUN", "--arrays", "out/a.npz", "--out", "new"], "out/a.npz"),
    "edit": (["edit", "tile", "RUN", "--out", "out"], "out/tile.png"),
    "edit, a result": (["edit", "vary", "RUN", "image.png", "--out", "out"], "out/vary-seed-1.png"),
    "edit, a film": (["edit", "tile", "RUN", "--film", "out/a.gif", "--out", "new"], "out/a.gif"),
    "edit, after inverting": (["edit", "invert", "RUN", "image.png", "--out", "out"], "out/invert-again.png"),
    "edit, between": (
        ["edit", "interpolate", "RUN", "image.png", "image.png", "--out", "out"],
        "out/interpolate-point-3.png",
    ),
    "report": (["report", "RUN"], "RUN/report.html"),
    "report elsewhere": (["report", "RUN", "--out", "out/a.html"], "out/a.html"),
    "evaluate": (["evaluate", "RUN", "--images", "20"], "RUN/evaluation.json"),
    "evaluate, its pairs": (["evaluate", "RUN", "--images", "20"], "RUN/evaluation-nearest.png"),
    "likelihood": (["likelihood", "RUN", "--images", "2"], "RUN/likelihood.json"),
    "likelihood, its picture": (["likelihood", "RUN", "--images", "2"], "RUN/likelihood.png"),
    "sweep": (["sweep", "RUN"], "RUN/sweep.json"),
    "sweep, its picture": (["sweep", "RUN"], "RUN/sweep.png"),
    "averages": (["ema", "RUN"], "RUN/ema.json"),
    "averages, their picture": (["ema", "RUN"], "RUN/ema.png"),
    "classifier": (["train-classifier", "RUN", "--steps", "1"], "RUN/classifier.safetensors"),
    "classifier elsewhere": (["train-classifier", "RUN", "--out", "out/c.safetensors"], "out/c.safetensors"),
    "schedules": (["show", "schedule", "--out", "out/a.png"], "out/a.png"),
    "schedules by default": (["show", "schedule"], "schedule.png"),
    "forward": (["show", "forward", "digits"], "forward.png"),
    "data": (["show", "data", "digits"], "data.png"),
    "check, its sheet": (["data", "check", "digits", "--sheet", "out/a.png"], "out/a.png"),
    "check, its page": (["data", "check", "digits", "--page", "out/a.html"], "out/a.html"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", [TEXT, PNG])
def test_a_file_of_the_users_is_named_and_kept(
    verb: str, kind: str, answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("image.png")
    words, name = VERBS[verb]
    theirs = Path(name.replace("RUN", str(answering)))
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes(Path("image.png").read_bytes() if kind == PNG else kind.encode())
    before = snapshot(Path.cwd())
    code, out, err = call(capsys, *(str(answering) if word == "RUN" else word for word in words), *few_of(words))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert str(theirs) in err and "--overwrite" in err, err
    assert snapshot(Path.cwd()) == before


def few_of(words: list[str]) -> list[str]:
    """Few steps and images, where the verb draws."""
    return FEW if words[0] == "sample" or words[1:2] in (["tile"], ["vary"]) else []


@pytest.mark.parametrize("way", ["links", "pipes", "folders"])
def test_what_is_no_file_is_never_replaced(way: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept").write_text("kept")
    make = {"links": lambda path: path.symlink_to("kept"), "pipes": os.mkfifo, "folders": Path.mkdir}[way]
    for name in ("a.png", "a.html", "a.gif"):
        make(Path(name))
    before = [path.lstat().st_mode for path in sorted(Path.cwd().iterdir())]
    for words in (
        ["show", "schedule", "--out", "a.png"],
        ["report", trained, "--out", "a.html"],
        ["sample", trained, "--film", "a.gif", "--out", "new"],
    ):
        code, out, err = call(capsys, *words, "--overwrite")
        assert (code, out, len(err.splitlines())) == (2, "", 1) and "regular file" in err
    assert [path.lstat().st_mode for path in sorted(Path.cwd().iterdir())] == before
    assert Path("kept").read_text() == "kept"


def test_results_of_the_same_kind_are_replaced(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = ["--each", "--strip", "--film", "a.gif", "--arrays", "a.npz"]
    drawn = ["sample", answering, *FEW, *every]
    assert call(capsys, *drawn).code == call(capsys, *drawn, "--seed", "0", "--guidance", "2").code == 0
    apng = ["sample", answering, *FEW, "--film", "b.png"]
    assert call(capsys, *apng).code == call(capsys, *apng).code == 0
    for words in (["edit", "tile", answering, *FEW], ["show", "schedule"], ["show", "data", "digits"]):
        assert call(capsys, *words).code == call(capsys, *words).code == 0, words
    classifier = ["train-classifier", answering, "--steps", "1"]
    assert call(capsys, *classifier).code == call(capsys, *classifier).code == 0
    with Image.open("a.gif") as film:
        assert film.format == "GIF"


def test_what_a_command_reads_it_does_not_write(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "sample", answering, *FEW, "--each", "--out", "one").code == 0
    before = snapshot(Path("one"))
    for words in (
        ["sample", answering, "--from", "one/seed-1.png", "--out", "one"],
        ["sample", answering, "--from", "one/seed-1.png", "--out", "new", "--film", "one/seed-1.png"],
    ):
        code, _, err = call(capsys, *words, "--overwrite")
        assert code == 2 and "seed-1.png for one result and no input" in err
    assert snapshot(Path("one")) == before
    assert call(capsys, "sample", answering, "--from", "one/seed-1.png").code == 0
    assert (answering / "generated-again" / "seed-1.png").is_file()


def test_nothing_is_written_into_a_pipeline(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside = trained / "pipeline" / "new"
    for words in (
        ["sample", trained, "--out", inside],
        ["sample", trained, "--out", "new", "--film", inside / "a.gif"],
        ["edit", "tile", trained, "--out", inside],
        ["report", trained, "--out", inside / "a.html"],
        ["show", "schedule", "--out", inside / "a.png"],
        ["train", "digits", "--training.steps", "1", "--out", inside],
    ):
        before = snapshot(trained)
        code, out, err = call(capsys, *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1) and "no place for results" in err, err
        assert snapshot(trained) == before


LINKED: dict[str, list[str]] = {
    "lock": ["train", "digits"],
    "config.json": ["train", "digits"],
    "compute.json": ["train", "digits"],
    "log.jsonl": ["train", "digits"],
    "timing.jsonl": ["train", "digits"],
    "checkpoints": ["train", "digits"],
    "samples": ["train", "digits"],
    "pipeline": ["variance"],
    "generated": ["sample", *FEW],
    "edited": ["edit", "tile", *FEW],
    "evaluation.json": ["evaluate", "--images", "20"],
    "likelihood.json": ["likelihood", "--images", "2"],
    "likelihood.partial.jsonl": ["likelihood", "--images", "2", "--timesteps", "2"],
    "sweep.json": ["sweep"],
    "report.html": ["report"],
    "classifier.safetensors": ["train-classifier", "--steps", "1"],
}


@pytest.mark.parametrize("name", LINKED)
def test_nothing_is_written_through_a_link_in_a_run(
    name: str, answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Traps: the lock emptied a file elsewhere, a record and the logs grew one, and sample grids went anywhere."""
    entry, elsewhere = answering / name, Path("elsewhere")
    if entry.exists():
        entry.rename(elsewhere)
    elif entry.suffix or name == "lock":
        elsewhere.write_text("kept")
    else:
        elsewhere.mkdir()
    entry.symlink_to(elsewhere.resolve())
    before = snapshot(Path.cwd())
    words = LINKED[name]
    at = [*TINY, "--training.steps", "3", "--out", str(answering)] if words[0] == "train" else []
    words = (
        [*words, *at]
        if at
        else [*words[: 1 + (words[0] == "edit")], str(answering), *words[1 + (words[0] == "edit") :]]
    )
    code, _, err = call(capsys, *words)
    assert (code, len(err.splitlines())) == (2, 1) and name in err and "a link" in err, err
    assert snapshot(Path.cwd()) == before


def test_a_smaller_evaluation_goes_beside_a_larger(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["likelihood", answering, "--timesteps", "2"]
    assert call(capsys, *words, "--images", "4").code == 0
    larger = (answering / "likelihood.json").read_bytes()
    assert call(capsys, *words, "--images", "2").code == 0
    assert (answering / "likelihood.json").read_bytes() == larger
    assert {"likelihood-2.json", "likelihood-2.png"} <= {path.name for path in answering.iterdir()}
    assert call(capsys, *words, "--images", "2", "--overwrite").code == 0
    assert json.loads((answering / "likelihood.json").read_text())["num_images"] == 2
