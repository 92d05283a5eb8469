"""Processes that compute for the studio, seen from the server: started, told what to do, heard, ended."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

COMPUTES, DECODES = "ancestral.web.worker", "ancestral.web.decoder"
MOST_BYTES = 2**26  # of a message
SECONDS_TO_END = 2.0
WorkerMessage = dict[str, Any]


class WorkerGone(Exception):
    """How a process ended before it was ready."""


class WorkerProcess:
    """One process, which does one job at a time; it ends when its input does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin is not None and process.stdout is not None, "it was started with pipes"
        self.input, self.output = process.stdin, process.stdout

    @classmethod
    async def started(cls, module: str = COMPUTES, nice: int = 0) -> "WorkerProcess":
        """One that runs a module and has loaded what that needs; WorkerGone where it ended before."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=MOST_BYTES,
        )
        worker = cls(process)
        try:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, nice)
            if await worker.message() is None:  # that it is ready
                raise WorkerGone(await worker.end())
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    def send(self, message: WorkerMessage) -> None:
        """Tells it something, unless it is gone, which its messages' end says."""
        with suppress(OSError):
            self.input.write(json.dumps(message).encode() + b"\n")

    async def message(self) -> WorkerMessage | None:
        """What it says next; None: it is gone."""
        with suppress(ValueError):  # a line cut off, or one without an end
            if line := await self.output.readline():
                return json.loads(line)
        return None

    def kill(self) -> None:
        """Ends it with all it has begun, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> str:
        """Ends it with all it has begun; how it ended, in words."""
        with suppress(OSError):
            self.input.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), SECONDS_TO_END)
        self.kill()
        code = await self.process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
