"""The process that computes: when it stops, what it keeps loaded, and that it ends with the studio."""

import io
import json
import shutil
import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest
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


def test_workers_end_with_the_studio_however_it_ends(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "tiny")
    with opened_studio(tmp_path) as studio, following(studio) as told:
        told.until(told.begin(settings={"sampling": {"steps": 1000}}), "frame")
        (process,) = workers(studio)
        studio.process.send_signal(signal.SIGKILL)
        for _ in told.events:
            pass
    end = time.monotonic() + SECONDS
    while is_running(process):
        assert time.monotonic() < end, "it goes on"


def is_running(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
