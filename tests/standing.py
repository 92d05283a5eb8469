"""Processes of their own that have loaded torch and the command line already: each is forked from a server that has.

They have their own number, folder, environment, output and signals; what they lack is the two seconds of loading. What
a command does while it loads is tested in processes that load.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

LOADED = ["torch", "torch.distributed.fsdp", "torch._dynamo", "matplotlib.pyplot", "sklearn.datasets"]
LOADED += ["ancestral.training.loop"]
LOADED += [f"ancestral.cli.{name}" for name in ("main", "training")]
LOADED += [f"ancestral.jobs.{name}" for name in ("edit", "evaluate", "likelihood", "show", "sweep")]


@lru_cache
def server() -> ForkServerContext:
    """What starts processes, and has loaded what they need."""
    missing = [name for name in LOADED if find_spec(name) is None]
    assert missing == [], "a server leaves out in silence what it cannot load"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


class Forked:
    """A process that does `work()` in `folder` with just these environment variables: as much of `subprocess.Popen`, in
    text, as tests ask for.
    """

    def __init__(self, work: Callable[[], None], folder: Path, environment: dict[str, str]) -> None:
        ends = [server().Pipe(duplex=False) for _ in range(2)]
        streams = [there for _, there in ends]
        self.process = server().Process(target=begin, args=(work, folder, environment, *streams), daemon=False)
        with patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}):
            self.process.start()
        for each in streams:
            each.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(here.fileno())) for here, _ in ends)
        for here, _ in ends:
            here.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.process), timeout or 0.0)
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it still says, once it has ended; one that has not by then is killed."""
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(rest, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        out, err = (each.result() for each in said)
        self.stdout.close()
        self.stderr.close()
        return out, err

    def send_signal(self, number: int) -> None:
        if self.process.exitcode is None:
            os.kill(self.pid, number)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is not None:
            self.process.kill()
        self.process.join()
        self.stdout.close()
        self.stderr.close()


def rest(stream: IO[str]) -> str:
    """What is left of a stream, nothing where it was closed."""
    return "" if stream.closed else stream.read()


def begin(
    work: Callable[[], None], folder: Path, environment: dict[str, str], out: Connection, err: Connection
) -> None:
    """The beginning of a process: what a shell sets up for one."""
    for number, stream in ((1, out), (2, err)):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    work()


class Module:
    """`python -m NAME WORDS`."""

    def __init__(self, name: str, *words: str | Path) -> None:
        self.name, self.words = name, [str(word) for word in words]

    def __call__(self) -> None:
        sys.argv = [self.name, *self.words]
        runpy.run_module(self.name, run_name="__main__")


class Script:
    """`python FILE WORDS`."""

    def __init__(self, file: Path, *words: object) -> None:
        self.file, self.words = file, [str(word) for word in words]

    def __call__(self) -> None:
        sys.argv, sys.path[:0] = [str(self.file), *self.words], [str(self.file.parent)]
        runpy.run_path(str(self.file), run_name="__main__")


class Source:
    """`python -c SOURCE WORDS`."""

    def __init__(self, source: str, *words: object) -> None:
        self.source, self.words = source, [str(word) for word in words]

    def __call__(self) -> None:
        sys.argv = ["-c", *self.words]
        exec(compile(self.source, "-c", "exec"), {"__name__": "__main__"})


def command(*words: str | Path, cwd: Path, environment: dict[str, Any]) -> Forked:
    """`python -m ancestral WORDS`."""
    return Forked(Module("ancestral", *words), cwd, environment)


def forked(work: Callable[[], None], cwd: Path) -> Forked:
    """A process that does `work` on one thread, in this process's environment."""
    return Forked(work, cwd, os.environ | {"OMP_NUM_THREADS": "1"})
