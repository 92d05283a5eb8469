"""An event stream on a free port, told by lines on stdin what to publish: NAME COUNT BYTES MILLISECONDS-BETWEEN."""

import asyncio
import socket
import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from ancestral.web.event_ring import EventRing
from ancestral.web.event_stream import EventStream


async def publish(ring: EventRing) -> None:
    """Publishes what is asked, with the time at which it was, and says when it has."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, count, size, pause = line.split()
        for i in range(int(count)):
            ring.publish(name, {"job": "1", "i": i, "at": time.monotonic(), "filling": "x" * int(size)})
            await asyncio.sleep(int(pause) / 1000)
        print("published", flush=True)


async def serve() -> None:
    ring, listening = EventRing(), socket.create_server(("127.0.0.1", 0), backlog=128)
    app = Starlette(routes=[Route("/api/events", EventStream(ring, "0"), methods=["GET"])])
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_level="warning", lifespan="off"))
    print(listening.getsockname()[1], flush=True)
    publishing = asyncio.create_task(publish(ring))
    serving = asyncio.create_task(server.serve([listening]))
    await publishing
    ring.close()
    server.should_exit = True
    await serving


asyncio.run(serve())
