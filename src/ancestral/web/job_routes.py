"""The endpoints of jobs and of uploaded images."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from ancestral.errors import InputError
from ancestral.web.job_kinds import AskedJob
from ancestral.web.job_queue import JobQueue, QueuedJob, QueueFull, type_of
from ancestral.web.library import Library, UnknownId
from ancestral.web.routes import answer, body_of
from ancestral.web.uploads import Uploads

PIECE = 2**20  # bytes of frames that are sent at once


class JobRoutes(NamedTuple):
    """Handlers of requests."""

    jobs: JobQueue
    library: Library
    uploads: Uploads

    def routes(self) -> list[Route]:
        return [
            Route("/api/jobs", self.list, methods=["GET"]),
            Route("/api/jobs", self.begin, methods=["POST"]),
            Route("/api/commands", self.command, methods=["POST"]),
            Route("/api/jobs/{id}", self.job, methods=["GET"]),
            Route("/api/jobs/{id}", self.stop, methods=["DELETE"]),
            Route("/api/jobs/{id}/frames", self.frames),
            Route("/api/jobs/{id}/files/{number:int}", self.file),
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/api/uploads/{id}.png", self.uploaded),
        ]

    async def list(self, request: Request) -> Response:
        return answer([job.tree() for job in self.jobs.jobs.values()])

    async def begin(self, request: Request) -> Response:
        """Queues a job."""
        asked = await body_of(request, AskedJob)
        order = asked.order(self.library, self.uploads)
        try:
            job = self.jobs.add(asked.run, asked.view, asked.settings, order, asked.replace)
        except QueueFull:
            return answer({"error": "expected fewer jobs, got as many as may wait; stop some, or wait for them"}, 429)
        return answer({"id": job.id, "command": order.command}, 202)

    async def command(self, request: Request) -> Response:
        """The command that does what a job would."""
        asked = await body_of(request, AskedJob)
        order = asked.order(self.library, self.uploads)
        self.jobs.warm(order, asked.run)
        return answer({"command": order.command})

    async def job(self, request: Request) -> Response:
        return answer(self._job(request).tree())

    async def stop(self, request: Request) -> Response:
        self.jobs.stop(self._job(request).id)
        return answer({})

    async def frames(self, request: Request) -> Response:
        """Some of the frames, uint8 [step][x_t, x_0][image][C][H][W]; those not yet there are left out."""
        job = self._job(request)
        if job.frames is None:
            raise UnknownId("frames")
        count = job.frames["count"]
        first, last = (whole(request, name, usual) for name, usual in (("from", 0), ("to", count)))
        begin, end = (min(each, count) * job.frame_bytes for each in (first, last))
        length = {"content-length": str(max(0, end - begin))}
        pieces = pieces_of(job.frames_file, begin, end)
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=length)

    async def file(self, request: Request) -> Response:
        """A file that the job has written."""
        files, number = self._job(request).files, request.path_params["number"]
        if number >= len(files) or not files[number].is_file():
            raise UnknownId(str(number))
        kind = type_of(files[number])
        name = None if kind == "image/png" else files[number].name
        return FileResponse(files[number], media_type=kind, filename=name)

    async def upload(self, request: Request) -> Response:
        return answer(await self.uploads.add(await request.body()))

    async def uploaded(self, request: Request) -> Response:
        return FileResponse(self.uploads.served(request.path_params["id"]), media_type="image/png")

    def _job(self, request: Request) -> QueuedJob:
        return self.jobs.job(request.path_params["id"])


def whole(request: Request, name: str, usual: int) -> int:
    """A whole number that a request names."""
    text = request.query_params.get(name, str(usual))
    if not text.isdecimal() or len(text) > 9:
        raise InputError(f"expected a whole number for {name}, got {text!r}; frames are counted from 0")
    return int(text)


def pieces_of(file: Path, begin: int, end: int) -> Iterator[bytes]:
    """What lies between two places of a file."""
    with file.open("rb") as opened:
        opened.seek(begin)
        for place in range(begin, end, PIECE):
            yield opened.read(min(PIECE, end - place))
