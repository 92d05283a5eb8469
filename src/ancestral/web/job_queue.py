"""The jobs of the page: in order, in two lanes, so that a measurement keeps nobody from generating images.

A job is queued, starting, running, perhaps stopping, and at last done, stopped or failed. Each lane has one worker
process, started for its first job and again when it is gone.
"""

import asyncio
import math
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.web.job_kinds import FRAMES, KINDS, JobOrder
from ancestral.web.library import UnknownId
from ancestral.web.workers import Message, Worker

MOST_QUEUED = 32
MOST_KEPT = 64  # jobs that have ended
MOST_BYTES = 2**30  # of the frames of all of them
SECONDS_BETWEEN = 0.1  # events that only say how far a job is
ENDS = ("done", "stopped", "failed")
TYPES = {".png": "image/png", ".json": "application/json"}
Publish = Callable[[str, dict[str, Any]], None]


class QueueFull(Exception):
    """As many jobs wait as may."""


class Progress(NamedTuple):
    """How far a job is."""

    what: str = ""
    done: int = 0
    of: int = 0


@dataclass
class Job:
    """A job, and what has become of it; `folder` is its own."""

    id: str
    run: str | None
    view: str
    asked: dict[str, Any]  # the settings as the page asked for them
    order: JobOrder
    folder: Path
    state: str = "queued"
    progress: Progress = field(default_factory=Progress)
    why: str = ""
    notes: list[str] = field(default_factory=list)
    frames: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    result: dict[str, Any] | None = None
    created: float = field(default_factory=time.time)
    begun: float | None = None
    ended: float | None = None

    @property
    def is_measurement(self) -> bool:
        return KINDS[self.order.kind].is_measurement

    @property
    def frames_file(self) -> Path:
        return self.folder / FRAMES

    @property
    def frame_bytes(self) -> int:
        """Of one frame: x_t and x_0 of all its images."""
        assert self.frames is not None, "a job with frames"
        return 2 * self.frames["images"] * math.prod(self.frames["shape"])

    @property
    def frames_bytes(self) -> int:
        return 0 if self.frames is None else self.frame_bytes * len(self.frames["steps"])

    def summary(self) -> dict[str, Any]:
        """What every event says of it."""
        what, done, of = self.progress
        seconds = 0.0 if self.begun is None else (self.ended or time.monotonic()) - self.begun
        return {
            "id": self.id,
            "kind": self.order.kind,
            "run": self.run,
            "view": self.view,
            "state": self.state,
            "what": what,
            "done": done,
            "of": of,
            "why": self.why,
            "notes": self.notes,
            "command": self.order.command,
            "created": self.created,
            "seconds": round(seconds, 3),
        }

    def tree(self) -> dict[str, Any]:
        """All of it."""
        files = [
            {"name": file.name, "type": type_of(file), "bytes": file.stat().st_size}
            for file in self.files
            if file.is_file()
        ]
        return {**self.summary(), "settings": self.asked, "frames": self.frames, "files": files, "result": self.result}


class Lane:
    """Jobs one after another in one worker."""

    def __init__(self, jobs: "JobQueue") -> None:
        self.jobs, self.waiting, self.arrived = jobs, deque[Job](), asyncio.Event()
        self.now: Job | None = None
        self.worker: Worker | None = None

    async def work(self) -> None:
        """For as long as the studio is up."""
        try:
            while True:
                while not self.waiting:
                    self.arrived.clear()
                    await self.arrived.wait()
                self.now = self.waiting.popleft()
                await self._do(self.now)
                self.now = None
        finally:
            if self.worker is not None:
                await self.worker.end()

    async def _do(self, job: Job) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        self.jobs.tell(job, "starting")
        if self.worker is None or not self.worker.is_alive:
            self.jobs.publish("worker", {"state": "loading", "run": job.run})
            self.worker = await Worker.started()
        kind, task, settings, _ = job.order
        order = {"kind": kind, "task": task, "settings": settings.model_dump(mode="json", exclude_unset=True)}
        if job.state == "stopping":
            self.worker.send({"do": "stop", "job": job.id})
        self.worker.send(
            {"do": "run", "job": job.id, **order, "out": str(job.folder), "one_thread": self.jobs.is_training()}
        )
        async for message in self.worker.messages():
            self.jobs.heard(job, message)
            if job.state in ENDS:
                return
        how = await self.worker.end()
        self.worker = None
        self.jobs.publish("worker", {"state": "gone", "run": job.run})
        why = f"the process that computed it {how}; the next job starts another"
        self.jobs.end(job, "stopped" if job.state == "stopping" else "failed", why)


class JobQueue:
    """All jobs, by id. `publish` tells the page; files go below `folder`; `is_training`: whether to leave a training
    its cores."""

    def __init__(self, publish: Publish, folder: Path, is_training: Callable[[], bool] = lambda: False) -> None:
        self.publish, self.folder, self.is_training = publish, folder.resolve(), is_training
        self.jobs = dict[str, Job]()
        self.lanes = {measures: Lane(self) for measures in (False, True)}
        self.told = 0.0

    async def work(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self.lanes.values():
                tasks.create_task(lane.work())

    def add(self, run: str | None, view: str, asked: dict[str, Any], order: JobOrder, replace: bool) -> Job:
        """Queues a job; with `replace` the same view's others of this kind are stopped."""
        if replace:
            for other in [*self.jobs.values()]:
                if (other.view, other.order.kind) == (view, order.kind) and other.state not in ENDS:
                    self.stop(other.id, "a newer one of the same view has replaced it")
        if sum(len(lane.waiting) for lane in self.lanes.values()) >= MOST_QUEUED:
            raise QueueFull
        id = secrets.token_hex(6)
        job = self.jobs[id] = Job(id, run, view, asked, order, self.folder / id)
        lane = self.lanes[job.is_measurement]
        lane.waiting.append(job)
        lane.arrived.set()
        self.publish("job", job.summary())
        self._forget()
        return job

    def job(self, id: str) -> Job:
        """The job of an id."""
        if id not in self.jobs:
            raise UnknownId(id)
        return self.jobs[id]

    def stop(self, id: str, why: str = "") -> None:
        """Stops a job, at the next event of what computes it."""
        job = self.job(id)
        lane = self.lanes[job.is_measurement]
        job.why = why or job.why
        if job in lane.waiting:
            lane.waiting.remove(job)
            self.end(job, "stopped", why)
        elif job.state not in ENDS:
            if lane.worker is not None:
                lane.worker.send({"do": "stop", "job": id})
            self.tell(job, "stopping")

    def tell(self, job: Job, state: str, **more: Any) -> None:
        """Publishes a job in a state; nothing takes one back that is to stop."""
        job.state = "stopping" if job.state == "stopping" and state not in ENDS else state
        self.publish("job", {**job.summary(), **more})

    def end(self, job: Job, state: str, why: str = "") -> None:
        job.ended, job.why = time.monotonic(), why or job.why
        self.tell(job, state)
        self.publish("result", {"job": job.tree()})

    def heard(self, job: Job, message: Message) -> None:
        """What the worker says of a job."""
        match message:
            case {"event": "ready"}:
                self.publish("worker", {"state": "ready", "run": job.run})
            case {"event": "loading"}:
                self.publish("worker", {"state": "loading", "run": job.run})
            case {"event": "progress", "what": what, "done": done, "of": of}:
                self._begun(job)
                job.progress = Progress(what, done, of)
                if done == of or time.monotonic() - self.told > SECONDS_BETWEEN:
                    self.told = time.monotonic()
                    self.tell(job, "running")
            case {"event": "note", "text": text}:
                job.notes.append(text)
                self.tell(job, "running")
            case {"event": "file", "path": path}:
                job.files.append(Path(path))
            case {"event": "frames", "steps": steps, "images": images, "shape": shape, "labels": labels}:
                self._begun(job)
                job.frames = {"count": 0, "images": images, "shape": shape, "labels": labels, "steps": steps}
                self.tell(job, "running", frames=job.frames)
            case {"event": "frame", "i": i, "t": t} if job.frames is not None:
                job.frames["count"] = max(job.frames["count"], i + 1)
                self.publish("frame", {"job": job.id, "i": i, "t": t})
            case {"event": "result", "tree": tree}:
                job.result = tree
            case {"event": "done"}:
                self.end(job, "done")
            case {"event": "stopped", "notes": notes}:
                job.notes += notes
                self.end(job, "stopped")
            case {"event": "failed", "why": why}:
                self.end(job, "failed", why)

    def _begun(self, job: Job) -> None:
        if job.begun is None:
            job.begun = time.monotonic()
            self.publish("worker", {"state": "ready", "run": job.run})

    def _forget(self) -> None:
        """Forgets the jobs that ended first, and what lies in their folders, where there are many or large ones."""
        ended = [job for job in self.jobs.values() if job.state in ENDS]
        room = sum(job.frames_bytes for job in ended)
        while ended and (len(ended) > MOST_KEPT or room > MOST_BYTES):
            oldest = ended.pop(0)
            room -= oldest.frames_bytes
            del self.jobs[oldest.id]
            shutil.rmtree(oldest.folder, ignore_errors=True)


def type_of(file: Path) -> str:
    """What a file is served as; nothing that a browser would show as a page."""
    return TYPES.get(file.suffix.lower(), "application/octet-stream")
