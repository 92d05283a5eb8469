"""The last events of the studio, by number, for everyone who listens.

Each event is encoded once and kept once: a listener is a number, that of the last event it was sent, and whoever reads
slowly costs nobody anything. Of what has a subject (a job's frames, a job, a run) only the newest event counts, so a
listener who is behind is told that one alone: it loses progress, and never a state.
"""

import asyncio
import json
import time
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from ancestral.training.logs import finite

MOST_EVENTS = 2048
ENDS = ("done", "stopped", "failed")
"""States of a job that change no more."""
SUBJECTS = {"frame": "job", "job": "id", "run": "id", "worker": "run"}
"""Events of which a newer one about the same thing says all, and the field that names the thing."""


class Event(NamedTuple):
    id: int
    subject: Hashable  # None: it stands for itself
    text: bytes  # as it is sent


class EventRing:
    """Publishes events, in the thread of the loop alone; numbers go up over restarts, too."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self.most, self.closed = most, False
        self.last = self.forgotten = int(time.time() * 1000)  # the newest event, and the newest that is no longer here
        self.events: list[Event] = []
        self.waiting: set[asyncio.Event] = set()

    def publish(self, name: str, data: dict[str, Any]) -> None:
        """Tells all listeners, as soon as they listen."""
        replaces = name in SUBJECTS and not data.get("frames")  # which a job tells once
        subject = (name, data.get(SUBJECTS[name])) if replaces else None
        if name == "job" and data["state"] in ENDS:  # nobody follows it any more
            over = {("frame", data["id"]), ("job", data["id"])}
            self.events = [event for event in self.events if event.subject not in over]
        self.last += 1
        self.events.append(Event(self.last, subject, encoded(self.last, name, data)))
        if len(self.events) > self.most:
            self._forget()
        self._wake()

    def since(self, number: int) -> Sequence[Event] | None:
        """All that came after an event; None: nobody knows any more what that was."""
        if not self.forgotten <= number <= self.last:
            return None
        first = next((i for i in range(len(self.events), 0, -1) if self.events[i - 1].id <= number), 0)
        return self.events[first:]

    async def news(self, number: int) -> None:
        """Waits until there is an event after this one, or no more will be."""
        arrived = asyncio.Event()
        self.waiting.add(arrived)
        try:
            while self.last <= number and not self.closed:
                arrived.clear()
                await arrived.wait()
        finally:
            self.waiting.discard(arrived)

    def close(self) -> None:
        """Sends all listeners home."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for arrived in self.waiting:
            arrived.set()

    def _forget(self) -> None:
        """Makes room: what a newer event says as well goes first, then what is oldest."""
        self.events = newest(self.events)
        if (over := len(self.events) - 3 * self.most // 4) > 0:
            self.forgotten = self.events[over - 1].id
            del self.events[:over]


def newest(events: Sequence[Event]) -> list[Event]:
    """Without those of which a later one says as much."""
    last = {event.subject: event.id for event in events}
    return [event for event in events if event.subject is None or last[event.subject] == event.id]


def encoded(number: int, name: str, data: dict[str, Any]) -> bytes:
    """An event as server-sent events are written."""
    body = json.dumps(finite(data), allow_nan=False, separators=(",", ":"))
    return f"id: {number}\nevent: {name}\ndata: {body}\n\n".encode()
