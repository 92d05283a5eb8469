"""`ancestral data pack`, and training on what it packs."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import TINY, call, snapshot
from PIL import Image

from ancestral.errors import InputError
from ancestral.jobs.target import plan
from ancestral.training.logs import read_log


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty pictures of two classes, and a bad file."""
    for i in range(40):
        file = tmp_path / "pets" / ("cat" if i % 2 else "dog") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 12, 3), np.uint8)).save(file)
    (tmp_path / "pets" / "cat" / "[red]liar.png").write_text("not at all")
    return tmp_path / "pets"


def test_packing_says_what_it_packed_and_how_to_train(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(pictures)
    words = ["data", "pack", pictures, "packed", "--size", "8", "--fit", "pad", "--shard-images", "16"]
    first = call(capsys, *words)
    assert (first.code, first.out.splitlines()) == (
        0,
        ["packed: 40 images 8x8 RGB, 2 classes, in 3 shards of 0.0 MiB together, in packed"],
    )
    assert "1 file cannot be used: cat/[red]liar.png is not a PNG" in first.err
    assert first.err.splitlines()[-1] == "train with: ancestral train ./packed"
    assert len([*(tmp_path / "packed").iterdir()]) == 5 and snapshot(pictures) == before
    again = call(capsys, *words)
    assert again.out.startswith("packed before: 40 images")
    found = json.loads(call(capsys, *words, "--json").out)
    assert (found["images"], found["shards"], found["shape"], found["bytes"]) == (40, 3, [8, 8, 3], 40 * 192)
    assert found["already"] and found["class_names"] == ["cat", "dog"] and found["bad"][0][0] == "cat/[red]liar.png"
    assert found["command"] == "ancestral train ./packed"


def test_training_on_what_was_packed_needs_no_settings(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a folder and from an object store alike; pictures and the report are made of it too."""
    for dest in (tmp_path / "packed", "memory://cli/packed"):
        assert (
            call(capsys, "data", "pack", pictures, dest, "--size", "8", "--fit", "pad", "--shard-images", "3").code == 0
        )
        settings = plan(str(dest), None, {}, None).config.data
        assert (settings.size, settings.color, settings.fit) == (8, "rgb", "pad") and settings.source == str(dest)
        run = tmp_path / f"run-{len(str(dest))}"
        words = ["train", dest, *TINY, "--data.flip", "--out", run, "--training.log_every_steps", "1"]
        assert call(capsys, *words, "--training.steps", "2").code == 0
        assert call(capsys, "show", "data", dest, "--out", tmp_path / "sheet.png").code == 0
    assert call(capsys, "report", run).code == 0
    one, other = (read_log(path / "log.jsonl") for path in sorted(tmp_path.glob("run-*")))
    assert [line["loss"] for line in one] == [line["loss"] for line in other]


def test_another_size_than_packed_is_one_line(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "data", "pack", pictures, "packed", "--size", "8")
    found = call(capsys, "train", "./packed", *TINY, "--data.size", "16", "--training.steps", "1")
    assert (found.code, len(found.err.splitlines())) == (2, 1)
    assert "expected data.size = 8, as " in found.err and "was packed, got 16; leave it out" in found.err
    assert call(capsys, "data", "check", "packed").code == 2
    with pytest.raises(InputError, match=r"index.json: not found"):
        plan("memory://cli/nowhere", None, {}, None)


def test_the_help_names_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["data"], ["data", "--help"]):
        found = call(capsys, *words)
        assert found.code == 0 and "\n  check  " in found.out and "\n  pack   " in found.out
    assert "--shard-images" in call(capsys, "data", "pack", "--help").out
