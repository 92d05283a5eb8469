"""The process that computes for the page: it imports torch, keeps pipelines loaded, and does one job after another.

Orders come as lines of JSON on its standard input, what happens goes as such lines to its standard output; frames go
into a file of the job, each at its place. When its input ends, because the studio did, it ends with all it has begun.
"""

import _thread
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from ancestral.errors import AncestralError, shortage
from ancestral.jobs.events import Event, FileEvent, FrameEvent, FramesEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.machine import keep_freed_memory, loading, share_the_cores
from ancestral.training.logs import finite
from ancestral.web.job_kinds import FRAMES, KINDS, JobKind

MOST_PIPELINES = 2


class Worker:
    """Does what it is told; `write` gets its messages."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        self.read, self.write = read, write
        self.orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped = set[str]()  # jobs that are to stop, or were
        self.job, self.interruptible = "", False
        self.one_thread = False
        self.pipelines = dict[tuple[object, ...], Any]()  # the one that was used last at the end

    def work(self) -> None:
        """Until the input ends."""
        signal.signal(signal.SIGINT, self.interrupted)
        threading.Thread(target=self.listen, daemon=True).start()
        with loading():
            import_module("ancestral.jobs.edit")
        self.tell(event="ready")
        while True:
            order = self.orders.get()
            self.job, self.one_thread = order["job"], order["one_thread"]
            self.do(order)

    def listen(self) -> None:
        for line in self.read:
            message = json.loads(line)
            if message["do"] == "run":
                self.orders.put(message)
                continue
            self.stopped.add(message["job"])
            if message["job"] == self.job and self.interruptible:
                _thread.interrupt_main()
        os.killpg(0, signal.SIGKILL)

    def interrupted(self, *_: object) -> None:
        """Ends what is being computed; between two events, whoever asks for the next one sees to it."""
        if self.interruptible:
            raise KeyboardInterrupt

    def tell(self, **message: Any) -> None:
        self.write.write(json.dumps(finite(message), allow_nan=False).encode() + b"\n")
        self.write.flush()

    def do(self, order: dict[str, Any]) -> None:
        """One job, to its end."""
        kind = KINDS[order["kind"]]
        try:
            events = self.begun(kind, order)
            for event in self.until_stopped(events, kind.is_measurement):
                self.report(event, Path(order["out"]))
            self.tell(event="done", job=self.job)
        except KeyboardInterrupt as stop:
            self.tell(event="stopped", job=self.job, notes=[*vars(stop).get("__notes__", [])])
        except AncestralError as fault:
            self.tell(event="failed", job=self.job, why=str(fault))
        except Exception as fault:
            why = shortage(fault) or f"{type(fault).__name__}: {fault} (internal error)"
            self.tell(event="failed", job=self.job, why=" ".join(why.split()))

    def begun(self, kind: JobKind, order: dict[str, Any]) -> Generator[Event, None, None]:
        os.chdir(order["out"])  # where relative places are
        settings = kind.settings_of(order["task"]).model_validate(order["settings"])
        module, _, name = kind.function.rpartition(".")
        with loading():
            job = getattr(import_module(module), name)
        more = {"load": self.load} if kind.loads else {}
        return job(settings, **more, **({"show": True} if kind.shows else {}))

    def until_stopped(self, events: Generator[Event, None, None], at_once: bool) -> Iterator[Event]:
        """The events, ended by a KeyboardInterrupt where the job is to stop: between two of them, or `at_once`."""
        if self.job in self.stopped:
            raise KeyboardInterrupt
        while True:
            try:
                self.interruptible = at_once
                event = next(events, None)
            finally:
                self.interruptible = False
            if event is None:
                return
            yield event
            if self.job in self.stopped:
                yield events.throw(KeyboardInterrupt())  # what there is so far, or the interrupt itself

    def report(self, event: Event, out: Path) -> None:
        """Tells of one event."""
        match event:
            case ProgressEvent(what, done, of):
                self.tell(event="progress", what=what, done=done, of=of)
            case NoteEvent(text):
                self.tell(event="note", text=text)
            case FileEvent(file):
                self.tell(event="file", path=str(file.resolve()))
            case FramesEvent(images, shape, labels, levels):
                self.begin_frames(event, out / FRAMES)
                steps = [level | {name: int(level[name]) for name in ("number", "t", "s")} for level in levels]
                self.tell(event="frames", images=images, shape=shape, labels=labels or [], steps=steps)
            case FrameEvent(number, place, t):
                self.write_frame(event, out / FRAMES)
                self.tell(event="frame", i=number, place=place, t=t)
            case ResultEvent(tree):
                self.tell(event="result", tree=tree)

    def begin_frames(self, frames: FramesEvent, file: Path) -> None:
        channels, height, width = frames.shape
        self.image_bytes, self.images = channels * height * width, frames.images
        file.write_bytes(b"")
        os.truncate(file, 2 * len(frames.levels) * self.images * self.image_bytes)

    def write_frame(self, frame: FrameEvent, file: Path) -> None:
        with file.open("r+b") as opened:
            for which, images in enumerate((frame.x_t, frame.x_0)):
                opened.seek(((2 * frame.number + which) * self.images + frame.place) * self.image_bytes)
                opened.write(images.numpy().tobytes())

    def load(self, folder: Path, *how: Any) -> Any:
        """As `Pipeline.load`; one that is loaded already is used again while its files are the same."""
        import torch

        from ancestral.compute import TORCHS_THREADS
        from ancestral.pipeline import Pipeline

        parts = folder / "pipeline" if (folder / "pipeline").is_dir() else folder
        files = ((str(each), each.stat()) for each in sorted(parts.rglob("*")))
        key = (str(folder), *map(repr, how), *((name, stat.st_mtime_ns, stat.st_size) for name, stat in files))
        pipeline = self.pipelines.pop(key, None)
        if pipeline is None:
            self.tell(event="loading")
            while len(self.pipelines) >= MOST_PIPELINES:
                del self.pipelines[next(iter(self.pipelines))]
            with loading():
                pipeline = Pipeline.load(folder, *how)
        self.pipelines[key] = pipeline
        torch.set_num_threads(1 if self.one_thread else pipeline.compute.threads or TORCHS_THREADS)
        return pipeline


def main() -> None:
    share_the_cores()
    keep_freed_memory()
    write = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no message
    Worker(sys.stdin.buffer, write).work()


if __name__ == "__main__":
    main()
