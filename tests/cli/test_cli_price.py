"""Work that cannot fit or takes too long is refused in one line, before anything is allocated or written."""

import itertools
import json
from pathlib import Path

import pytest
from cli_calls import TINY, call, snapshot
from PIL import Image

NEVER = {
    "images": ["sample", "RUN", "--num-images", "1000000000000"],
    "images of a file": ["evaluate", "RUN", "--images", "1000000000000"],
    "results": ["edit", "vary", "RUN", "four.png", "--num-images", "1000000000000"],
    "points": ["edit", "interpolate", "RUN", "--seeds", "1,2", "--points", "1000000000000"],
    "a canvas": ["edit", "canvas", "RUN", "--size", "10000000x10000000"],
    "a tile": ["edit", "tile", "RUN", "--size", "10000000x10000000"],
    "margins": ["edit", "outpaint", "RUN", "four.png", "--margins", "0,0,0,1000000000000"],
    "threads": ["sample", "RUN", "--compute.threads", "100000"],
    "threads that train": ["train", "digits", "--out", "other", "--compute.threads", "100000"],
    "a batch": ["train", "digits", *TINY, "--out", "other", "--training.batch_size", "1000000000000"],
    "a size": ["train", "digits", *TINY, "--out", "other", "--data.size", "100000"],
    "pixels": ["train", "digits", "--out", "other", "--data.size", "16000", "--training.batch_size", "9999"],
    "a width": ["train", "digits", "--out", "other", "--network.widths", "4000000"],
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_fit_is_refused_even_with_yes(name: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8), 90).save("four.png")
    before = snapshot(trained)
    code, _, err = call(capsys, *(trained if word == "RUN" else word for word in NEVER[name]), "--yes")
    lines = [line for line in err.splitlines() if not line.startswith("ancestral: four.png was ")]
    assert code == 2 and len(lines) == 1 and lines[0].startswith("ancestral: error: "), err
    assert snapshot(trained) == before and not Path("other").exists() and not Path("generated").exists()


LONG = {
    "sample": ["sample", "RUN", "--num-images", "8", "--steps", "4"],
    "edit": ["edit", "canvas", "RUN", "--size", "8x12", "--steps", "4", "--num-images", "8"],
    "rounds": ["edit", "inpaint", "RUN", "four.png", "--box", "0,0,4,4", "--steps", "4", "--rounds", "10000"],
    "evaluate": ["evaluate", "RUN", "--images", "20"],
    "likelihood": ["likelihood", "RUN", "--images", "8", "--timesteps", "8"],
    "sweep": ["sweep", "RUN", "--images", "24"],
    "variance": ["variance", "RUN", "--images", "8", "--timesteps", "8"],
}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a network call takes a quarter of an hour."""
    monkeypatch.setattr("time.perf_counter", itertools.count(0.0, 1000.0).__next__)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("verb", LONG)
def test_hours_of_work_have_to_be_meant(verb: str, answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8), 90).save("four.png")
    before = snapshot(answering)
    code, _, err = call(capsys, *(answering if word == "RUN" else word for word in LONG[verb]))
    assert code == 2 and "expected --yes for more than an hour" in err and err.strip().endswith("or add --yes")
    assert len([line for line in err.splitlines() if "error" in line]) == 1
    after = snapshot(answering)
    after.pop(str(answering / "likelihood.partial.jsonl"), None)  # the record, of nothing yet
    assert after == before


@pytest.mark.usefixtures("slow")
def test_what_is_meant_is_done_and_its_price_is_in_the_json(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--steps", "4", "--num-images", "2", "--out", "out", "--json"]
    code, out, err = call(capsys, "sample", trained, *words, "--yes")
    assert code == 0 and "2 images: 8 network calls of one image each, about 2.2 hours" in err
    price = json.loads(out)["price"]
    assert (price["network_calls"], price["seconds"]) == (8, 8000.0) and price["memory"] > 0
    code, out, _ = call(capsys, "edit", "canvas", trained, "--size", "8x12", *words, "--yes")
    assert code == 0 and json.loads(out)["price"]["network_calls"] == 16, "a canvas of two windows"


def test_training_at_an_unusual_size_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits", *TINY, "--training.steps", "1", "--training.batch_size", "520", "--out", "other"]
    code, _, err = call(capsys, *words)
    assert code == 0 and "training takes about " in err and "of memory" in err and "of disk" in err
