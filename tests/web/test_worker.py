"""The process that computes: when it stops, what it keeps loaded, and that it ends with the studio."""

import io
import json
import shutil
import signal
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from studio_calls import SECONDS, opened_studio
from test_jobs import following, workers

from ancestral.jobs.events import Event, ProgressEvent, ResultEvent
from ancestral.pipeline import Pipeline
from ancestral.web.worker import MOST_PIPELINES, Worker


def test_no_event_is_computed_after_a_stop_but_what_there_is_so_far() -> None:
    worker, computed = Worker(io.BytesIO(), io.BytesIO()), list[int]()

    def job() -> Generator[Event, None, None]:
        try:
            for i in range(9):
                computed.append(i)
                yield ProgressEvent("generating", i, 9)
        except KeyboardInterrupt:
            yield ResultEvent({"files": [], "stopped": True})
            raise

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for event in worker.until_stopped(job(), at_once=False):
            seen.append(event)
            if computed == [0, 1, 2]:
                worker.stopped.add(worker.job)
    assert computed == [0, 1, 2] and seen[3:] == [ResultEvent({"files": [], "stopped": True})]


def test_pipelines_are_kept_while_their_files_are_the_same(tiny: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in "abc"]
    for run in runs:
        shutil.copytree(tiny, run)
    write = io.BytesIO()
    worker = Worker(io.BytesIO(), write)

    def load(run: Path) -> Pipeline:
        return worker.load(run, "cpu", None, None)

    first = load(runs[0])
    assert load(runs[0]) is first
    weights = next((runs[0] / "pipeline").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes())
    second = load(runs[0])
    assert second is not first and second.weights_hash() == first.weights_hash()
    others = [load(run) for run in runs[1:]]
    assert len(worker.pipelines) == MOST_PIPELINES and load(runs[2]) is others[1] and load(runs[0]) is not second
    assert [json.loads(line)["event"] for line in write.getvalue().splitlines()] == ["loading"] * 5


@pytest.mark.parametrize("one_thread", [False, True])
def test_a_training_is_left_the_other_cores(tiny: Path, one_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ancestral.compute.TORCHS_THREADS", 3)
    worker, before = Worker(io.BytesIO(), io.BytesIO()), torch.get_num_threads()
    worker.one_thread = one_thread
    try:
        worker.load(tiny, "cpu", None, None)
        assert torch.get_num_threads() == (1 if one_thread else 3)
    finally:
        torch.set_num_threads(before)


def test_workers_end_with_the_studio_however_it_ends(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "runs" / "tiny")
    (tmp_path / "data").mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(tmp_path / "data" / f"{i}.png")
    with opened_studio(tmp_path / "runs", "--data", tmp_path / "data") as studio, following(studio) as told:
        (data,) = studio.get("/api/state")["data"]
        job = told.end(told.begin("check", {"data": data["id"]})).job
        assert job["command"] == f"ancestral data check {tmp_path / 'data'}" and job["result"]["num_images"] == 6
        assert job["result"]["recipe"]["command"].startswith("ancestral train ")
        told.until(told.begin(settings={"sampling": {"steps": 1000}}), "frame")
        processes = workers(studio)
        assert len(processes) == 2
        studio.process.send_signal(signal.SIGKILL)
        for _ in told.events:
            pass
    end = time.monotonic() + SECONDS
    while any(map(is_running, processes)):
        assert time.monotonic() < end, "it goes on"


def is_running(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
