"""A signal to any verb: what was finished stays and is listed, the exit code says which, nothing is left half."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from cli_calls import call, snapshot, start
from PIL import Image
from standing import Source, forked

from ancestral.cli.main import main
from ancestral.viz.png_texts import read_metadata

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
MANY = ["--num-images", "5000", "--compute.chunk", "4", "--steps", "10", "--json", "--out", "out", "--yes"]
DRAWING = {
    "sample": (["--each"], "seed-{}.png", "grid.png"),
    "vary": (["four.png"], "vary-seed-{}.png", "vary.png"),
}
"""verb -> its words, the name of an image's file, and the file that shows all of them."""


@pytest.mark.parametrize(("verb", "number"), [*zip(DRAWING, CODES, strict=True)])
def test_images_that_were_finished_are_there_and_listed(
    verb: str, number: signal.Signals, trained: Path, tmp_path: Path
) -> None:
    """Each of them whole, under its own name, and the picture of all of them not there, which it would belie."""
    words, name, every = DRAWING[verb]
    Image.new("L", (8, 8), 90).save("four.png")
    command = ["sample"] if verb == "sample" else ["edit", verb]
    with start(*command, trained, *words, *MANY, cwd=tmp_path) as process:
        while not (tmp_path / "out" / name.format(5)).exists():  # of the second four
            assert process.poll() is None, process.communicate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == CODES[number], err
    told = json.loads(out)
    there = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "out").iterdir())
    assert sorted(told["files"]) == there and told["stopped"] is True
    assert f"ancestral: stopped; {len(there):,} of 5,000 images were written to out" in err and "Traceback" not in err
    assert f"out/{every}" not in there and {f"out/{name.format(i)}" for i in range(6)} <= {*there}
    assert all(read_metadata(tmp_path / file)["seed"] for file in there)


SIGNALLED = """
import os, sys
from importlib import import_module
from ancestral.cli.main import main

check = import_module("ancestral.data.check")  # the package's name of it is a function
examine, seen = check.examine, []

def signalled(path, background):
    seen.append(path)
    if len(seen) == 200:
        os.kill(os.getpid(), {number})
    return examine(path, background)

check.examine = signalled
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "json_too"), [*zip(CODES, (True, False), strict=True)])
def test_a_check_says_what_it_knows_of_the_files_it_looked_at(
    number: signal.Signals, json_too: bool, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    Image.new("L", (8, 8), 90).save(tmp_path / "many" / "0.png")
    for i in range(1, 1000):
        os.link(tmp_path / "many" / "0.png", tmp_path / "many" / f"{i}.png")
    words = ["data", "check", "many", "--page", "page.html", *(["--json"] if json_too else [])]
    with forked(Source(SIGNALLED.format(number=int(number)), *words), tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == CODES[number], err
    assert "of 1,000 files were looked at" in err and "Traceback" not in err
    assert not (tmp_path / "page.html").exists()
    if json_too:
        told = json.loads(out)
        assert told["num_images"] > 0 and told["num_images"] + told["num_unread"] == 1000
        assert told["recipe"] is None
    else:
        assert "partial: " in out and "usable images" in out and "train with" not in err


def signalled(number: int) -> Callable[..., None]:
    """Something that is interrupted."""

    def interrupted(*words: object, **named: object) -> None:
        os.kill(os.getpid(), number)
        for _ in range(1_000_000):  # until Python hears it, between two steps of its own
            pass
        raise AssertionError("the signal was not heard")

    return interrupted


COMPUTING = {
    "evaluate": ["evaluate", "RUN", "--images", "20"],
    "likelihood": ["likelihood", "RUN", "--images", "4", "--timesteps", "2"],
    "variance": ["variance", "RUN", "--images", "4", "--timesteps", "2"],
    "sweep": ["sweep", "RUN", "--images", "20"],
    "report": ["report", "RUN"],
    "tune": ["tune", "RUN", "--minutes", "0.01"],
}
READING = {
    "ancestral.jobs.train.loading": ["train", "digits", "--out", "other"],
    "ancestral.jobs.show.loading": ["show", "data", "digits"],
    "ancestral.jobs.measuring.loading": ["evaluate", "RUN", "--images", "20"],
}


@pytest.mark.parametrize("verb", COMPUTING)
def test_verbs_that_compute_stop_at_once_and_write_nothing(
    verb: str, answering: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(answering)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", signalled(signal.SIGTERM))
    code, _, err = call(capsys, *(answering if word == "RUN" else word for word in COMPUTING[verb]))
    assert code == 143 and "ancestral: stopped" in err.splitlines()[-1], err
    after = snapshot(answering)
    after.pop(str(answering / "likelihood.partial.jsonl"), None)  # the record that the same command goes on from
    assert after == before


@pytest.mark.parametrize("load", READING)
def test_reading_images_stops_at_once(
    load: str, answering: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training too, which has nothing to save yet: a folder may take an hour to decode."""
    monkeypatch.setattr(load, signalled(signal.SIGINT))
    code, _, err = call(capsys, *(answering if word == "RUN" else word for word in READING[load]))
    assert code == 130 and err.splitlines()[-1] == "ancestral: stopped"
    assert not Path("other").exists()


HEEDLESS = """
import os, signal, sys
from ancestral.cli.main import main
from ancestral.jobs import show

def heedless(settings):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass

show.schedules = heedless
sys.exit(main(["show", "schedule"]))
"""


def test_the_second_signal_leaves_whatever_the_first_one_met(tmp_path: Path) -> None:
    with forked(Source(HEEDLESS), tmp_path) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in err


def test_handlers_are_those_of_before_when_a_verb_ends() -> None:
    before = [signal.getsignal(number) for number in CODES]
    assert main(["--version"]) == 0
    assert [signal.getsignal(number) for number in CODES] == before
