"""Starts the studio on a free port with a new token, and ends it: trainings go on, unless they are to stop."""

import asyncio
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import uvicorn

from ancestral.errors import CannotWrite, InputError
from ancestral.files import cannot_write, writing
from ancestral.web.app import Studio
from ancestral.web.guard import hosts_of, hosts_of_socket
from ancestral.web.settings import PORT, StudioSettings
from ancestral.web.trainings import PLACE

TOKEN_BYTES = 24
SECONDS_TO_SAVE = 600.0  # for trainings that are to stop at the end
SECONDS_TO_END = 2  # for requests that are being answered


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


def serve(job: StudioSettings, stop: Callable[[], bool], begun: Callable[[str], None]) -> list[str]:
    """Serves the page until `stop`; `begun` is told its address once it is there. The ids of the runs that are still
    trained."""
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
        with in_browser(address, folder) if job.socket is None and not job.no_browser else nullcontext():
            try:
                asyncio.run(Server(config, stop, studio.ring.close).serve([listening]))
            finally:
                if job.socket is not None:
                    job.socket.unlink(missing_ok=True)
    if job.stop_trainings:
        stop_all(studio)
    return studio.trainings.running()


@contextmanager
def in_browser(address: str, folder: Path) -> Iterator[None]:
    """Opens a page, where there is a screen. The browser is given a file that leads there and that nobody else may
    read: what stands on a command line, as the address with its token would, every user of a machine can see."""
    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        yield
        return
    file = folder.resolve() / PLACE / "open.html"
    with writing(file, "or start it with --no-browser"):
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as page:
            page.write(f'<!doctype html><title>Ancestral</title><meta http-equiv="refresh" content="0;url={address}">')
    threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()  # some wait for their end
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


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
