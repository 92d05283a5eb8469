"""The endpoint that sends events as they come: server-sent events, for pages that read them by `fetch`."""

import asyncio
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ancestral.web.event_ring import EventRing, encoded, newest

MOST_STREAMS = 64
MOST_BEHIND = 64  # events that a listener is sent one by one; of more, those that no newer one replaces
MOST_AT_ONCE = 2**16  # bytes, about, in one piece
QUIET_SECONDS = 15.0  # after which a comment is sent, so that whoever has gone is noticed
START = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class EventStream:
    """Sends what came after the event that the header `last-event-id` or the query `from` names, and goes on."""

    def __init__(self, ring: EventRing, version: str) -> None:
        self.ring, self.version, self.streams = ring, version, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.streams >= MOST_STREAMS:
            await Response(status_code=429)(scope, receive, send)
            return
        self.streams += 1
        sending = asyncio.create_task(self._send(asked(scope, self.ring.last), send))
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.streams -= 1
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, number: int, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": START})
        said = False
        while not self.ring.closed:
            events = self.ring.since(number)
            if events is None or not said:
                hello = {"reload": True} if events is None else {"version": self.version, "id": number}
                number, said = self.ring.last if events is None else number, True
                await piece(send, encoded(number, "hello", hello))
            elif events:
                events = events if len(events) <= MOST_BEHIND else newest(events)
                text = b""
                for event in events:
                    text += event.text
                    number = event.id
                    if len(text) > MOST_AT_ONCE:
                        break
                await piece(send, text)
            else:
                try:
                    await asyncio.wait_for(self.ring.news(number), QUIET_SECONDS)
                except TimeoutError:
                    await piece(send, b":\n\n")
        await send({"type": "http.response.body", "body": b""})


async def piece(send: Send, text: bytes) -> None:
    """Sends a part of the body; waits while the listener does not read."""
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def disconnected(receive: Receive) -> None:
    """Waits until the listener has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def asked(scope: Scope, last: int) -> int:
    """The event after which a listener wants to hear; the last one where it does not say."""
    headers, query = Headers(scope=scope), parse_qs(scope["query_string"].decode("latin-1"))
    word = headers.get("last-event-id") or query.get("from", [""])[0]
    return int(word) if word.isdecimal() and len(word) < 20 else last
