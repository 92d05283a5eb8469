"""The endpoints of runs: what there is, what was logged and measured, and trainings that begin, go on and stop."""

import asyncio
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ancestral.errors import InputError
from ancestral.evaluation.settings import SAMPLERS
from ancestral.files import json_object
from ancestral.folders import kind_of
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.target import TrainSettings
from ancestral.jobs.words import command, words
from ancestral.presets import PRESETS
from ancestral.settings import Settings, parse
from ancestral.training.logs import finite
from ancestral.web import log_tail
from ancestral.web.event_ring import EventRing
from ancestral.web.job_queue import JobQueue
from ancestral.web.library import Found, Library, UnknownId
from ancestral.web.new_runs import VERBS, Continued, NewRun, Schedules, StoredSchedule
from ancestral.web.summaries import NEAREST, NUMBERS, details, numbers_of, settings_file, summary
from ancestral.web.trainings import Trainings
from ancestral.web.watching import RunWatcher

S = TypeVar("S", bound=Settings)


class Stop(Settings):
    """A training is to save and stop; `now`: to leave, whatever it is doing."""

    now: bool = False


class RunRoutes:
    """Handlers of requests, on one studio's folder."""

    def __init__(
        self, library: Library, trainings: Trainings, watcher: RunWatcher, ring: EventRing, jobs: JobQueue
    ) -> None:
        self.library, self.trainings, self.watcher, self.ring, self.jobs = library, trainings, watcher, ring, jobs
        self.schedules = Schedules(library.folder)

    def routes(self) -> list[Route]:
        return [
            Route("/api/state", self.state),
            Route("/api/runs", self.begin, methods=["POST"]),
            Route("/api/plans", self.plan, methods=["POST"]),
            Route("/api/runs/{id}", self.run),
            *(Route(f"/api/runs/{{id}}/{name}", partial(self.log, name)) for name in ("log", "timing")),
            Route("/api/runs/{id}/grids/{step:int}.png", self.grid),
            Route("/api/runs/{id}/numbers/{name}", self.numbers),
            Route("/api/runs/{id}/nearest.png", self.nearest),
            Route("/api/runs/{id}/settings.json", self.settings),
            Route("/api/runs/{id}/continue", self.go_on, methods=["POST"]),
            Route("/api/runs/{id}/stop", self.stop, methods=["POST"]),
            Route("/api/schedules", self.stored_schedules, methods=["GET"]),
            Route("/api/schedules", self.store_schedule, methods=["POST"]),
        ]

    async def state(self, request: Request) -> Response:
        """All there is, and the event after which a listener hears of what changes."""
        presets = [
            {"name": name, "about": (recipe.__doc__ or "").strip().splitlines()[0]} for name, recipe in PRESETS.items()
        ]
        data = await asyncio.to_thread(self.library.data)
        models = [summary(found) for found in self.library.models.values()]
        return answer(
            {
                "id": self.ring.last,
                "version": version("ancestral"),
                "folder": str(self.library.folder),
                "runs": self.watcher.cards(),
                "jobs": [job.tree() for job in self.jobs.jobs.values()],
                "data": [{"id": id, "name": path.name} for id, path in data.items()],
                "presets": presets,
                "models": models,
                "samplers": [*SAMPLERS],
                "trainings_allowed": True,
            }
        )

    async def run(self, request: Request) -> Response:
        said = self.trainings.said(request.path_params["id"])
        if (begun := self.watcher.begun.get(request.path_params["id"])) is not None:  # it has no folder yet
            return answer({**self.watcher.seen[begun.id].card, "said": said})
        found = self._found(request)
        card = self.watcher.seen[found.id].card if found.id in self.watcher.seen else {}
        return answer({**await asyncio.to_thread(details, found), **card, "said": said})

    async def log(self, name: str, request: Request) -> Response:
        """The records of a log, of what was computed or of the time it took, from a byte on."""
        start = request.query_params.get("from", "0")
        if not start.isdecimal() or len(start) > 15:
            raise InputError(f"expected a whole number of bytes for from, got {start!r}; begin at 0")
        try:
            log = self._found(request).inside(f"{name}.jsonl")
        except UnknownId:
            if request.path_params["id"] not in self.watcher.seen:
                raise
            return answer(log_tail.NewRecords([], 0)._asdict())  # of a run that has logged nothing yet
        return answer((await asyncio.to_thread(log_tail.read_from, log, int(start)))._asdict())

    async def grid(self, request: Request) -> Response:
        name = f"step-{request.path_params['step']:08d}.png"
        return FileResponse(self._found(request).inside("samples", name), media_type="image/png")

    async def numbers(self, request: Request) -> Response:
        """What a file of measurements holds, by the names of today."""
        if (name := request.path_params["name"]) not in NUMBERS:
            raise UnknownId(name)
        return answer(numbers_of(name, self._found(request).inside(NUMBERS[name])))

    async def nearest(self, request: Request) -> Response:
        """The pairs of the evaluation, as a picture."""
        return FileResponse(self._found(request).inside(NEAREST), media_type="image/png")

    async def settings(self, request: Request) -> Response:
        found = self._found(request)
        file = found.inside(settings_file(found).name)
        return FileResponse(file, media_type="application/json")

    async def begin(self, request: Request) -> Response:
        """Begins a training."""
        asked = await body_of(request, NewRun)
        found = self.library.new_run(asked.name)
        return await self._train(found, await asyncio.to_thread(asked.job, self.library, found.path))

    async def plan(self, request: Request) -> Response:
        """What a run would be: its settings, all of them, and the command. Nothing is begun."""
        asked = await body_of(request, NewRun)
        job = await asyncio.to_thread(asked.job, self.library, self.library.folder / asked.name)
        packed = asked.data is not None and kind_of(self.library.data_folder(asked.data)) == "packed data set"
        settings = None if packed else job.plan.config.model_dump(mode="json")  # what is packed is read by torch
        return answer({"command": command("train", job), "settings": settings})

    async def go_on(self, request: Request) -> Response:
        """A run is trained on."""
        asked, found = await body_of(request, Continued), self._found(request)
        if found.kind not in VERBS:
            raise InputError(f"expected a run, got {found.place}, which is none that can be trained; train a new one")
        if self.watcher.seen[found.id].card["state"] == "training":
            raise InputError(f"expected a run that nobody trains, got {found.place}; stop it first, or wait")
        return await self._train(found, await asyncio.to_thread(asked.job, found))

    async def stop(self, request: Request) -> Response:
        """Asks a training to save and stop."""
        asked, id = await body_of(request, Stop), request.path_params["id"]
        if id not in self.watcher.seen:
            raise UnknownId(id)
        self.trainings.stop(id, asked.now)
        return answer({})

    async def stored_schedules(self, request: Request) -> Response:
        return answer(self.schedules.list())

    async def store_schedule(self, request: Request) -> Response:
        asked = await body_of(request, StoredSchedule)
        self.schedules.write(asked)
        return answer({"id": asked.name})

    async def _train(self, found: Found, job: TrainSettings | TrainCodecSettings) -> Response:
        verb = VERBS[found.kind]
        self.trainings.start(found.id, [verb, *words(job)])
        await self.watcher.begin(found)
        return answer({"run": found.id, "command": command(verb, job)})

    def _found(self, request: Request) -> Found:
        return self.library.found(request.path_params["id"])


def answer(value: Any, status: int = 200) -> JSONResponse:
    """A value as JSON, with null for what JSON has no number for."""
    return JSONResponse(finite(value), status)


async def body_of(request: Request, kind: type[S]) -> S:
    """What a request asks, in JSON; InputError where that is no such thing."""
    return parse(kind, json_object(await request.body() or b"{}", "the request"), "the request")
