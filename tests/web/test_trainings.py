"""Trainings that the page begins: they outlive the studio, stop and go on as any other, and every line is told once."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from studio_calls import LONG, SECONDS, TINY, StudioProcess, opened_studio

from ancestral.jobs.target import TrainSettings
from ancestral.jobs.train import train
from ancestral.jobs.words import words
from ancestral.settings import CodecConfig, KLSettings
from ancestral.web.library import Found
from ancestral.web.new_runs import Continued
from ancestral.web.trainings import Trainings


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


def test_a_training_outlives_the_studio_however_that_ends_and_is_found_again(folder: Path) -> None:
    """Killed: its curves are complete, and whoever listens is told each line once. By Ctrl-C: it says what goes on, or
    stops it where that was asked for, once it is saved."""
    with ExitStack() as stack:  # at whose end what still trains is ended, too

        def opened(*words: str) -> StudioProcess:
            return stack.enter_context(opened_studio(folder, *words))

        killed = opened()
        answer = killed.post("/api/runs", {"name": "long", "preset": "digits", "settings": settings_for(LONG)})
        assert answer.status == 200 and answer.value["run"] == "long"
        assert killed.get("/api/state")["runs"][0]["state"] == "training", "also before it has a folder"
        before = killed.wait("long", lambda card: (card["steps"] or 0) > 0)
        killed.stop(signal.SIGKILL)

        studio = opened()
        now = studio.get("/api/state")
        assert now["runs"][0]["state"] == "training"
        told, logged = list[int](), steps_of(studio, "long")
        with studio.events(now["id"]) as events:
            while len(told) < 10 or told[-1] <= before["steps"]:
                event = next(events)
                told += [event.data["record"]["step"]] if event.name == "log" else []
        all_steps = steps_of(studio, "long")
        assert all_steps[: len(logged)] == logged
        assert all_steps == [*range(10, all_steps[-1] + 1, 10)], "no line is missing or there twice"
        assert told == [step for step in all_steps if told[0] <= step <= told[-1]]
        assert studio.post("/api/runs/long/continue", {}).status == 422, "it is trained already"
        code, said = studio.stop()
        assert code == 130 and "trainings that go on: long" in said

        studio = opened("--stop-trainings")
        assert studio.get("/api/state")["runs"][0]["state"] == "training"
        code, said = studio.stop()
        assert code == 130 and "go on" not in said

        studio = opened()
        assert studio.get("/api/state")["runs"][0]["state"] == "stopped"
        assert studio.post("/api/runs/long/stop", {}).status == 422, "nobody trains it any more"
        less = studio.post("/api/runs/long/continue", {"budget": {"steps": 1}})
        assert less.status == 422 and "steps that are done, got 1" in less.value["error"]
        saved, last = studio.get("/api/runs/long")["checkpoints"][-1], steps_of(studio, "long")[-1]
        assert last <= saved < last + 10


@pytest.mark.slow
def test_a_training_that_was_stopped_and_goes_on_is_the_same_to_the_bit(folder: Path, tmp_path: Path) -> None:
    """As one that was never stopped: weights, averages, optimiser, log."""
    steps = 120
    with opened_studio(folder) as studio:
        studio.post("/api/runs", {"name": "a", "preset": "digits", "settings": settings_for(steps)})
        until(lambda: (folder / "a" / "log.jsonl").exists())
        assert studio.post("/api/runs/a/stop", {}).status == 200
        stopped = studio.wait("a", lambda card: card["state"] != "training")
        assert stopped["state"] == "stopped" and 0 < stopped["steps"] < steps
        answer = studio.post("/api/runs/a/continue", {})
        assert answer.value["command"] == f"ancestral train {folder / 'a'}"
        assert studio.get("/api/state")["runs"][0]["state"] == "training", "at once, though no file has changed"
        whole = tmp_path / "whole"
        assert [*train(TrainSettings(target="digits", settings=settings_for(steps), out=whole))]
        assert studio.wait("a", lambda card: card["state"] == "finished")["steps"] == steps
        assert (folder / "a" / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
        name = Path("checkpoints") / f"step-{steps:08d}"
        tensors = [file.name for file in (whole / name).glob("*.safetensors")]
        assert len(tensors) >= 3
        assert all((folder / "a" / name / file).read_bytes() == (whole / name / file).read_bytes() for file in tensors)
        assert studio.get("/api/runs/a")["grids"] == [6, 12, 25, 50, 100, 120]
        picture = studio.ask("GET", "/api/runs/a/grids/100.png", headers=studio.own_headers())
        assert picture.headers["content-type"] == "image/png" and picture.body.startswith(b"\x89PNG")


def test_a_larger_budget_lets_the_learning_rate_rise_again(tiny: Path) -> None:
    """As a run asks for whose rate fell over the smaller one."""
    job = Continued.model_validate({"budget": {"steps": 500}}).job(Found("tiny", tiny, "run", "tiny"))
    assert words(job) == [str(tiny), "--training.steps", "500", "--training.lr_schedule", "cosine"]
    assert job.plan.config.training.steps == 500 and job.plan.out == tiny


def test_an_autoencoder_goes_on_as_any_run(studio: StudioProcess) -> None:
    run = studio.folder / "through"
    config = CodecConfig(codec=KLSettings(widths=(8, 8), channels=2, layers=1, norm_groups=4, perceptual=0))
    budget = config.training.model_copy(update={"minutes": None, "steps": 1, "batch_size": 8})
    (run / "checkpoints").mkdir(parents=True)
    (run / "codec.json").write_text(config.model_copy(update={"training": budget}).model_dump_json())
    studio.wait("through", lambda card: bool(card["kind"] == "autoencoder"))
    answer = studio.post("/api/runs/through/continue", {"budget": {"steps": 2}})
    more = "--training.steps 2 --training.lr_schedule constant"
    assert answer.status == 200 and answer.value["command"] == f"ancestral train-codec {run} {more}"
    assert studio.wait("through", lambda card: card["state"] == "finished")["steps"] == 2


def test_what_was_said_stays_where_a_training_is_refused(tmp_path: Path) -> None:
    """A fault is that of the last one alone."""
    trainings = Trainings(tmp_path)
    for asked in ("--version", "paint"):
        trainings.start("a", [asked])
        until(lambda: trainings.process("a") is None)
    first, version, second, *_, refused = trainings.said("a")
    assert [first, second] == ["$ ancestral --version", "$ ancestral paint"] and version.startswith("ancestral ")
    assert refused == f"ancestral: error: {trainings.fault('a')}" and "paint" in refused
    trainings.start("a", ["--version"])
    until(lambda: trainings.process("a") is None)
    assert trainings.fault("a") == "" and refused in trainings.said("a")


def test_a_training_that_fails_says_why(studio: StudioProcess) -> None:
    """Here for want of images, which nobody knows before they are read."""
    data = {each["name"]: each["id"] for each in studio.get("/api/state")["data"]}
    assert {"birds", "empty"} <= {*data}
    assert studio.post("/api/runs", {"name": "failing", "data": data["empty"]}).status == 200
    failed = studio.wait("failing", lambda card: card["state"] != "training")
    assert failed["state"] == "damaged" and failed["fault"].startswith("expected")


def test_what_is_logged_is_said_once_and_a_log_that_is_cut_back_is_awaited(studio: StudioProcess) -> None:
    """As by a run that goes on from its checkpoint and repeats what it had logged since, to the bit."""
    log = shutil.copytree(studio.folder / "tiny", studio.folder / "told") / "log.jsonl"
    studio.wait("told", lambda card: bool(card["usable"]))
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
    everything = studio.get("/api/runs/told/log?from=0")
    assert everything["next"] == log.stat().st_size
    half = studio.get(f"/api/runs/told/log?from={sum(map(len, lines))}")
    assert [record["step"] for record in half["records"]] == [*range(7, 14)]
    assert all(later["next"] >= before["next"] for before, later in pairwise([half, everything]))
