"""The studio's server application: the shell and its scripts for everyone, all else behind the guard."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ancestral.errors import CannotWrite, InputError, SettingError
from ancestral.web.event_ring import EventRing
from ancestral.web.event_stream import EventStream
from ancestral.web.guard import Guard
from ancestral.web.job_queue import JobQueue
from ancestral.web.job_routes import JobRoutes
from ancestral.web.library import Library, UnknownId
from ancestral.web.routes import RunRoutes, answer
from ancestral.web.trainings import Trainings
from ancestral.web.uploads import Uploads
from ancestral.web.watching import RunWatcher

TYPES = {".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
BEGUN = ("main.js", "runs.js")  # with the view that is shown at first
IMPORT = re.compile(r'^(?:import|\} from|export) .*"\./(\w+\.js)";$', re.MULTILINE)
FOLDERS = {"web/page": "ancestral.web", "share": "ancestral.share"}
"""Folders of the package whose scripts and styles are served, and the packages that they are in."""


class Studio:
    """The parts of one studio."""

    def __init__(self, folder: Path, data: tuple[Path, ...]) -> None:
        self.ring = EventRing()
        self.library = Library(folder, data)
        self.trainings = Trainings(folder)
        self.watcher = RunWatcher(self.library, self.trainings, self.ring.publish)
        self.scratch = TemporaryDirectory(prefix="ancestral-studio-", ignore_cleanup_errors=True)
        own = Path(self.scratch.name)
        self.jobs, self.uploads = JobQueue(self.ring.publish, own / "jobs", self._trains), Uploads(own / "uploads")

    def app(self, token: str, is_own_host: Callable[[str], bool]) -> ASGIApp:
        """The application, which looks after runs for as long as it is up."""
        runs = RunRoutes(self.library, self.trainings, self.watcher, self.ring, self.jobs)
        events = EventStream(self.ring, version("ancestral"))
        routes = [
            Route("/", shell),
            Route("/static/{folder:path}/{name}", static),
            Route("/api/events", events, methods=["GET"]),
            *runs.routes(),
            *JobRoutes(self.jobs, self.library, self.uploads).routes(),
        ]
        handlers = {
            HTTPException: refused,
            UnknownId: unknown,
            InputError: faulty,
            CannotWrite: faulty,
            Exception: failed,
        }
        app = Starlette(routes=routes, lifespan=self._alive, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return Guard(app, token, is_own_host)

    @asynccontextmanager
    async def _alive(self, app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each) for each in (self.watcher.watch(), self.jobs.work())]
        with self.scratch:
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self.uploads.end(), return_exceptions=True)

    def _trains(self) -> bool:
        """Whether a training goes on."""
        return any(seen.card["state"] == "training" for seen in self.watcher.seen.values())


async def shell(request: Request) -> Response:
    """The page, which holds no secret. The modules that it begins with are named beside it: asked for all at once, not
    each after the one that imports it, it is there in half the time."""
    folder = Path(str(files("ancestral.web"))) / "page"
    link = ", ".join(f"</static/web/page/{name}>; rel=modulepreload" for name in imported(folder, BEGUN))
    return Response((folder / "index.html").read_bytes(), media_type="text/html", headers={"link": link})


def imported(folder: Path, modules: Sequence[str]) -> list[str]:
    """Modules and those of their folder that they import, and they, by their names."""
    found = [*modules]
    for name in found:  # which grows
        imports = IMPORT.findall((folder / name).read_text(encoding="utf-8"))
        found += sorted({*imports} - {*found})
    return found


async def static(request: Request) -> Response:
    """A script or a style of the page, out of those that lie in its folders: small, and read at once."""
    folder, name = request.path_params["folder"], request.path_params["name"]
    kind = TYPES.get(Path(name).suffix)
    if folder not in FOLDERS or kind is None:
        raise UnknownId(name)
    place = Path(str(files(FOLDERS[folder])))
    place = place / "page" if folder == "web/page" else place
    if name not in {each.name for each in place.iterdir()}:
        raise UnknownId(name)
    return Response((place / name).read_bytes(), media_type=kind)


async def refused(request: Request, fault: Exception) -> Response:
    """No such endpoint, or not by this method: without a word."""
    return Response(status_code=fault.status_code if isinstance(fault, HTTPException) else 404)


async def unknown(request: Request, fault: Exception) -> Response:
    """Nothing bears this id: without a word."""
    return Response(status_code=404)


async def faulty(request: Request, fault: Exception) -> Response:
    """What is wrong with a request, in one line; of a setting also its name and what it has to be."""
    told = {"setting": fault.setting, "contract": fault.contract} if isinstance(fault, SettingError) else {}
    return answer({"error": str(fault), **told}, 507 if isinstance(fault, CannotWrite) else 422)


async def failed(request: Request, fault: Exception) -> Response:
    """A fault of this program: without a word, which the log has."""
    return Response(status_code=500)
