"""Starts the studio on a free port with a new token, and ends it: trainings go on, unless they are to stop."""

import asyncio
import secrets
import socket
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import uvicorn

from ancestral.errors import CannotWrite, InputError
from ancestral.files import cannot_write
from ancestral.web.app import Studio
from ancestral.web.guard import hosts_of, hosts_of_socket
from ancestral.web.settings import PORT, StudioSettings

TOKEN_BYTES = 24
SECONDS_TO_SAVE = 600.0  # for trainings that are to stop at the end
SECONDS_TO_END = 2  # for requests that are being answered


class Ended(NamedTuple):
    """The runs whose trainings go on, by their places."""

    going_on: list[str]


class Server(uvicorn.Server):
    """Ends when it is asked to, which the command line's own handlers of signals know."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], bool], close: Callable[[], None]) -> None:
        super().__init__(config)
        self.stop, self.close = stop, close

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self.stop():
            self.close()
            return True
        return await super().on_tick(counter)


def serve(job: StudioSettings, stop: Callable[[], bool], begun: Callable[[str], None]) -> Ended:
    """Serves the page until `stop`; `begun` is told its address once it is there."""
    folder = folder_of(job.folder)
    for root in job.data:
        if not root.is_dir():
            raise InputError(f"expected a folder for --data, got {root}, which is none; check the path")
    listening = listening_socket(job)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with listening:
        studio = Studio(folder, job.data)
        if job.socket is None:
            host, port = listening.getsockname()[:2]
            is_own = hosts_of(host, port)
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}/#token={token}"
        else:
            is_own, address = hosts_of_socket, f"unix:{job.socket} #token={token}"
        config = uvicorn.Config(
            studio.app(token, is_own),
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        begun(address)
        if not job.no_browser and job.socket is None:
            webbrowser.open(address)
        try:
            asyncio.run(Server(config, stop, studio.ring.close).serve([listening]))
        finally:
            if job.socket is not None:
                job.socket.unlink(missing_ok=True)
    if job.stop_trainings:
        stop_all(studio)
    return Ended([*studio.trainings.running()])


def folder_of(folder: Path) -> Path:
    """The folder of runs, made where it is missing."""
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"expected a folder with runs in it, got a file: {folder}; name another") from None
    except OSError as fault:
        raise cannot_write(folder, fault) from None
    return folder


def listening_socket(job: StudioSettings) -> socket.socket:
    """A socket that is bound where the job says; at no port of its own, at another that is free where that is taken."""
    if job.socket is not None:
        return unix_socket(job.socket)
    for port in (job.port,) if job.port else (PORT, 0):
        bound = socket.socket(socket.AF_INET6 if ":" in job.host else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((job.host, port))
            bound.listen(128)  # who else has the port is told by some systems only now
            return bound
        except OSError as fault:
            bound.close()
            why = fault.strerror
    raise InputError(f"expected a port of {job.host} that is free, got {job.port or PORT} ({why}); choose another")


def unix_socket(path: Path) -> socket.socket:
    """A socket in the file system, which its owner alone may open; one that nobody listens on any more is replaced."""
    bound = socket.socket(socket.AF_UNIX)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as other, suppress(OSError):
            other.connect(str(path))
            raise InputError(f"expected a --socket that nobody listens on, got {path}; choose another")
        path.unlink()
    try:
        bound.bind(str(path))
        path.chmod(0o600)  # before anyone is listened to
        bound.listen(128)
    except OSError as fault:
        bound.close()
        raise CannotWrite(f"cannot make the socket {path}: {fault.strerror or fault}; choose another path") from None
    return bound


def stop_all(studio: Studio) -> None:
    """Asks all trainings that the page began to save and stop, and waits for them."""
    for id in studio.trainings.running():
        with suppress(InputError):
            studio.trainings.stop(id)
    end = time.monotonic() + SECONDS_TO_SAVE
    while studio.trainings.running() and time.monotonic() < end:
        time.sleep(0.1)
