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
from ancestral.web.watching import Publish
from ancestral.web.workers import WorkerGone, WorkerMessage, WorkerProcess

MOST_QUEUED = 32
MOST_KEPT = 64  # jobs that have ended
MOST_BYTES = 2**30  # of the frames of all of them
SECONDS_BETWEEN = 0.1  # events that only say how far a job is
ENDS = ("done", "stopped", "failed")
FINAL = (*ENDS, "stopping")
PATIENCE = 5.0  # seconds that a job has to stop by itself
NICE = 5  # how far measurements stand back behind what the reader waits for
TYPES = {".png": "image/png", ".json": "application/json"}


class QueueFull(Exception):
    """As many jobs wait as may."""


class JobProgress(NamedTuple):
    """How far a job is."""

    what: str = ""
    done: int = 0
    of: int = 0


@dataclass
class QueuedJob:
    """A job, and what has become of it; `folder` is its own."""

    id: str
    run: str | None
    view: str
    asked: dict[str, Any]  # the settings as the page asked for them
    order: JobOrder
    folder: Path
    state: str = "queued"
    progress: JobProgress = field(default_factory=JobProgress)
    why: str = ""
    notes: list[str] = field(default_factory=list)
    frames: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    result: dict[str, Any] | None = None
    created: float = field(default_factory=time.time)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    asked_to_stop: float = 0.0
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
    """Jobs one after another in one worker; `nice`: how far it stands back behind other processes."""

    def __init__(self, jobs: "JobQueue", nice: int) -> None:
        self.jobs, self.nice = jobs, nice
        self.waiting, self.arrived = deque[QueuedJob](), asyncio.Event()
        self.worker: asyncio.Task[WorkerProcess] | None = None  # ready where it is done

    async def work(self) -> None:
        """For as long as the studio is up."""
        try:
            while True:
                while not self.waiting:
                    self.arrived.clear()
                    await self.arrived.wait()
                await self._do(self.waiting.popleft())
        finally:
            await self._end()

    def warm(self, run: str | None) -> "asyncio.Task[WorkerProcess]":
        """The worker, or what starts it."""
        there = self._there()
        if self.worker is None or (self.worker.done() and (there is None or not there.is_alive)):
            self.jobs.publish("worker", {"state": "loading", "run": run})
            self.worker = asyncio.create_task(WorkerProcess.started(nice=self.nice))
            self.worker.add_done_callback(lambda task: self._started(task, run))
        return self.worker

    def tell(self, message: WorkerMessage) -> None:
        """Tells the worker something, where there is one."""
        if there := self._there():
            there.send(message)

    def kill(self) -> None:
        """Ends the worker, whatever it is doing."""
        if there := self._there():
            there.kill()

    def _there(self) -> WorkerProcess | None:
        """The worker, once it is ready."""
        task = self.worker
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    def _started(self, task: "asyncio.Task[WorkerProcess]", run: str | None) -> None:
        is_there = not task.cancelled() and task.exception() is None
        self.jobs.publish("worker", {"state": "ready" if is_there else "gone", "run": run})
        if not is_there and self.worker is task:
            self.worker = None

    async def _do(self, job: QueuedJob) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        self.jobs.tell(job, "starting")
        starting, stop = self.warm(job.run), asyncio.create_task(job.stopping.wait())
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if job.stopping.is_set():
            return self.jobs.end(job, "stopped")
        try:
            worker = starting.result()
        except (WorkerGone, OSError) as fault:
            return self.jobs.end(job, "failed", f"the process that was to compute it {fault}; try it again")
        settings = job.order.settings.model_dump(mode="json", exclude_unset=True)
        how = {"out": str(job.folder), "one_thread": self.jobs.is_training()}
        order = {"kind": job.order.kind, "task": job.order.task, "settings": settings, **how}
        worker.send({"do": "run", "job": job.id, **order})
        while (message := await worker.message()) is not None:
            self.jobs.heard(job, message)
            if job.state in ENDS:
                return
        how_it_ended = await self._end()
        self.jobs.publish("worker", {"state": "gone", "run": job.run})
        why = f"the process that computed it {how_it_ended}; the next job starts another"
        self.jobs.end(job, "stopped" if job.stopping.is_set() else "failed", why)

    async def _end(self) -> str:
        """Ends the worker; how it ended, in words."""
        if self.worker is not None:
            self.worker.cancel()
            await asyncio.wait({self.worker})
        there, self.worker = self._there(), None
        return await there.end() if there else ""


class JobQueue:
    """All jobs, by id. `publish` tells the page; files go below `folder`; `is_training`: whether to leave a training
    its cores."""

    def __init__(self, publish: Publish, folder: Path, is_training: Callable[[], bool] = lambda: False) -> None:
        self.publish, self.folder, self.is_training = publish, folder.resolve(), is_training
        self.jobs = dict[str, QueuedJob]()
        self.lanes = {False: Lane(self, 0), True: Lane(self, NICE)}  # by whether they measure
        self.told = 0.0

    async def work(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self.lanes.values():
                tasks.create_task(lane.work())

    def add(self, run: str | None, view: str, asked: dict[str, Any], order: JobOrder, replace: bool) -> QueuedJob:
        """Queues a job; with `replace` the same view's others of this kind are stopped."""
        if replace:
            for other in [*self.jobs.values()]:
                if (other.view, other.order.kind) == (view, order.kind) and other.state not in FINAL:
                    self.stop(other.id, "a newer one of the same view has replaced it")
        if sum(len(lane.waiting) for lane in self.lanes.values()) >= MOST_QUEUED:
            raise QueueFull
        id = secrets.token_hex(6)
        job = self.jobs[id] = QueuedJob(id, run, view, asked, order, self.folder / id)
        lane = self.lanes[job.is_measurement]
        lane.waiting.append(job)
        lane.arrived.set()
        self.publish("job", job.summary())
        self._forget()
        return job

    def job(self, id: str) -> QueuedJob:
        """The job of an id."""
        if id not in self.jobs:
            raise UnknownId(id)
        return self.jobs[id]

    def stop(self, id: str, why: str = "") -> None:
        """Stops a job at the next event of what computes it; asked again after a while, at once, with its process."""
        job = self.job(id)
        lane = self.lanes[job.is_measurement]
        if job in lane.waiting:
            lane.waiting.remove(job)
            self.end(job, "stopped", why)
        elif job.state == "stopping":
            if time.monotonic() - job.asked_to_stop > PATIENCE:
                lane.kill()
        elif job.state not in ENDS:
            job.why, job.asked_to_stop = why, time.monotonic()
            job.stopping.set()
            lane.tell({"do": "stop", "job": id})
            self.tell(job, "stopping")

    def warm(self, order: JobOrder, run: str | None) -> None:
        """Starts what would do a job, where it is soon asked for."""
        if not KINDS[order.kind].is_measurement:
            self.lanes[False].warm(run)

    def tell(self, job: QueuedJob, state: str, **more: Any) -> None:
        """Publishes a job in a state; nothing takes one back that is to stop."""
        job.state = "stopping" if job.stopping.is_set() and state not in ENDS else state
        self.publish("job", {**job.summary(), **more})

    def end(self, job: QueuedJob, state: str, why: str = "") -> None:
        job.ended, job.why = time.monotonic(), why or job.why
        self.tell(job, state)
        self.publish("result", {"job": job.tree()})

    def heard(self, job: QueuedJob, message: WorkerMessage) -> None:
        """What the worker says of a job."""
        match message:
            case {"event": "loading"}:
                self.publish("worker", {"state": "loading", "run": job.run})
            case {"event": "progress", "what": what, "done": done, "of": of}:
                self._begun(job)
                job.progress = JobProgress(what, done, of)
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

    def _begun(self, job: QueuedJob) -> None:
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
