"""Trainings that the page begins: they outlive the studio, stop and go on as any other, and every line is told once."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from studio_calls import SECONDS, TINY, StudioProcess, opened_studio

from ancestral.jobs.target import TrainSettings
from ancestral.jobs.train import train

LONG = 10**6  # steps that no test waits for


def settings_for(steps: int) -> dict[str, Any]:
    return {**TINY, "training": {**TINY["training"], "steps": steps}}


def steps_of(studio: StudioProcess, run: str) -> list[int]:
    return [record["step"] for record in studio.get(f"/api/runs/{run}/log?from=0")["records"]]


def until(fits: Callable[[], bool]) -> None:
    """Returns once something is so, which is looked at without a pause."""
    end = time.monotonic() + SECONDS
    while not fits():
        assert time.monotonic() < end


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"


def test_a_training_outlives_a_studio_that_is_killed_and_is_found_again(folder: Path) -> None:
    """Its curves are complete, and whoever listens is told each line once."""
    with opened_studio(folder) as killed:
        answer = killed.post("/api/runs", {"name": "long", "preset": "digits", "settings": settings_for(LONG)})
        assert answer.status == 200 and answer.value["run"] == "long"
        assert killed.get("/api/state")["runs"][0]["state"] == "training", "also before it has a folder"
        before = killed.wait("long", lambda card: (card["steps"] or 0) > 0)
        killed.stop(signal.SIGKILL)
        with opened_studio(folder) as studio:
            now = studio.get("/api/state")
            assert now["runs"][0]["state"] == "training"
            told, logged = list[int](), steps_of(studio, "long")
            with studio.events(now["id"]) as events:
                for event in events:
                    if event.name == "log":
                        told.append(event.data["record"]["step"])
                        if len(told) >= 20 and told[-1] > before["steps"]:
                            break
            all_steps = steps_of(studio, "long")
            assert all_steps[: len(logged)] == logged
            assert all_steps == [*range(10, all_steps[-1] + 1, 10)], "no line is missing or there twice"
            assert told == [step for step in all_steps if told[0] <= step <= told[-1]]
            assert studio.post("/api/runs/long/continue", {}).status == 422, "it is trained already"
            assert studio.post("/api/runs/long/stop", {}).status == 200
            assert studio.wait("long", lambda card: card["state"] != "training")["state"] == "stopped"
            assert studio.post("/api/runs/long/stop", {}).status == 422, "nobody trains it any more"


def test_a_training_that_was_stopped_and_goes_on_is_the_same_to_the_bit(folder: Path, tmp_path: Path) -> None:
    """As one that was never stopped: weights, averages, optimiser, log."""
    steps = 400
    with opened_studio(folder) as studio:
        studio.post("/api/runs", {"name": "a", "preset": "digits", "settings": settings_for(steps)})
        until(lambda: (folder / "a" / "log.jsonl").exists())
        assert studio.post("/api/runs/a/stop", {}).status == 200
        stopped = studio.wait("a", lambda card: card["state"] != "training")
        assert stopped["state"] == "stopped" and 0 < stopped["steps"] < steps
        answer = studio.post("/api/runs/a/continue", {})
        assert answer.value["command"] == f"ancestral train {folder / 'a'}"
        assert studio.wait("a", lambda card: card["state"] == "finished")["steps"] == steps
        whole = tmp_path / "whole"
        assert [*train(TrainSettings(target="digits", settings=settings_for(steps), out=whole))]
        assert (folder / "a" / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
        name = Path("checkpoints") / f"step-{steps:08d}"
        for file in ("model", "ema", "optimizer"):
            there = [*(whole / name).glob(f"{file}*.safetensors")]
            assert all((folder / "a" / name / each.name).read_bytes() == each.read_bytes() for each in there)
        assert there, "a checkpoint has other files than are compared"
        more = studio.post("/api/runs/a/continue", {"budget": {"steps": steps + 10}})
        assert f"--training.steps {steps + 10}" in more.value["command"]
        assert studio.wait("a", lambda card: card["steps"] == steps + 10)
        grids = studio.get("/api/runs/a")["grids"]
        assert grids == [*range(100, steps + 1, 100)]
        picture = studio.ask("GET", f"/api/runs/a/grids/{grids[-1]}.png", headers=studio.own_headers())
        assert picture.headers["content-type"] == "image/png" and picture.body.startswith(b"\x89PNG")


def test_a_training_that_fails_says_why(folder: Path) -> None:
    """Here for want of images, which nobody knows before they are read."""
    (folder / "data" / "empty").mkdir(parents=True)
    (folder / "data" / "empty" / "broken.png").write_bytes(b"no picture")
    with opened_studio(folder, "--data", folder / "data") as studio:
        data = {each["name"]: each["id"] for each in studio.get("/api/state")["data"]}
        assert [*data] == ["data", "empty"]
        assert studio.post("/api/runs", {"name": "a", "data": data["empty"]}).status == 200
        failed = studio.wait("a", lambda card: card["state"] != "training")
        assert failed["state"] == "damaged" and failed["fault"].startswith("expected")


def test_what_is_logged_is_said_once_and_a_log_that_is_cut_back_is_awaited(studio: StudioProcess) -> None:
    """As by a run that goes on from its checkpoint and repeats what it had logged since, to the bit."""
    log = studio.folder / "tiny" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    more = [json.dumps({"step": 6 + i, "images": 8 * (6 + i), "loss": 0.5}).encode() + b"\n" for i in range(1, 7)]

    with studio.events() as events:
        log.write_bytes(b"".join([*lines, *more[:3], more[3][:10]]))
        told = [next(event for event in events if event.name == "log").data["record"]["step"] for _ in range(3)]
        assert told == [7, 8, 9], "the line that is half written is none yet"
        log.write_bytes(b"".join([*lines, more[0]]))
        log.write_bytes(b"".join([*lines, *more]))
        told = [next(event for event in events if event.name == "log").data["record"]["step"] for _ in range(3)]
        assert told == [10, 11, 12]
        others = [line.replace(b"0.5", b"0.25") for line in more]
        log.write_bytes(b"".join([*lines, *others, others[-1].replace(b"12", b"13")]))
        told = [next(event for event in events if event.name == "log").data["record"]["step"] for _ in range(13)]
        assert told == [*range(1, 14)], "what was logged since is another: all is told again"
    everything = studio.get("/api/runs/tiny/log?from=0")
    assert everything["next"] == log.stat().st_size
    half = studio.get(f"/api/runs/tiny/log?from={sum(map(len, lines))}")
    assert [record["step"] for record in half["records"]] == [*range(7, 14)]
    assert all(later["next"] >= before["next"] for before, later in pairwise([half, everything]))
