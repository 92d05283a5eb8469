"""What changes in the runs of a folder, seen from outside: one look a second, at times and sizes of files alone.

A run's files are read when one of them has changed. Whether a run is being trained is asked of its lock when something
has changed, and while it is trained; never of runs that lie still, lest the question be in a trainer's way.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ancestral.web.library import Found, Library
from ancestral.web.log_tail import LogTail
from ancestral.web.summaries import NUMBERS, settings_file, summary
from ancestral.web.trainings import Trainings

SECONDS = 1.0
FILES = ("log.jsonl", "timing.jsonl", "samples", "checkpoints", "pipeline", *NUMBERS.values())
Publish = Callable[[str, dict[str, Any]], None]
News = list[tuple[str, dict[str, Any]]]


class LastLook(NamedTuple):
    """A run as it was at the last look."""

    mark: tuple[tuple[int, int, int], ...]  # change, size and number of each of its files
    card: dict[str, Any]
    tail: LogTail


class RunWatcher:
    """Publishes `run`, `log`, `grid` and `gone`."""

    def __init__(self, library: Library, trainings: Trainings, publish: Publish) -> None:
        self.library, self.trainings, self.publish = library, trainings, publish
        self.seen: dict[str, LastLook] = {}
        self.begun: dict[str, Found] = {}  # runs that were asked for and have no folder yet
        self.order = asyncio.Lock()  # what is seen later is published later
        self.look()

    def cards(self) -> list[dict[str, Any]]:
        """All runs as they were at the last look, the newest first."""
        return sorted((seen.card for seen in self.seen.values()), key=lambda card: -float(card["changed"]))

    async def watch(self) -> None:
        """Looks and publishes, for ever."""
        while True:
            await asyncio.sleep(SECONDS)
            await self._tell(self.look)

    async def begin(self, found: Found) -> None:
        """A training of a run was begun, which has a folder soon."""

        def look() -> News:
            self.begun[found.id] = found
            return self._news_of(found, has_begun=True)

        await self._tell(look)

    async def _tell(self, look: Callable[[], News]) -> None:
        """Publishes what is new, which is looked for in a thread."""
        async with self.order:
            for name, data in await asyncio.to_thread(look):
                self.publish(name, data)

    def look(self) -> News:
        """What has changed since the last look."""
        there = self.library.scan()
        self.begun = {id: found for id, found in self.begun.items() if id not in there}
        there = {**there, **self.begun}
        news: News = [("gone", {"run": id}) for id in self.seen if id not in there]
        self.seen = {id: seen for id, seen in self.seen.items() if id in there}
        for found in there.values():
            news += self._news_of(found)
        return news

    def _news_of(self, found: Found, has_begun: bool = False) -> News:
        """The same of one run, whose training may just have begun; its card comes before what belongs to it."""
        before, mark = self.seen.get(found.id), mark_of(found)
        lies_still = before is not None and before.mark == mark and before.card["state"] != "training"
        if lies_still and not has_begun:
            return []
        card = self._card(found)
        tail = before.tail if before else LogTail(found.path / "log.jsonl", from_the_end=found.path.is_dir())
        records = tail.news()
        self.seen[found.id] = LastLook(mark, card, tail)
        if before is not None and before.card == card and not records:
            return []
        known = set(before.card["grids"]) if before else set(card["grids"])
        news: News = [("run", card)] if before is None or before.card != card else []
        news += [("log", {"run": found.id, "record": record}) for record in records]
        return news + [("grid", {"run": found.id, "step": step}) for step in card["grids"] if step not in known]

    def _card(self, found: Found) -> dict[str, Any]:
        """The card, with what is known of a training that the page began."""
        if found.kind not in ("run", "autoencoder"):
            return summary(found)
        card = {**summary(found), "stopping": False}
        if self.trainings.process(found.id) is not None:  # also before it holds the run's own lock
            return {**card, "state": "training", "stopping": self.trainings.is_stopping(found.id), "fault": ""}
        fault = "" if card["state"] == "training" else self.trainings.fault(found.id, since=card["changed"])
        return {**card, "fault": card["fault"] or fault} if found.path.is_dir() else {**card, "fault": fault}


def mark_of(found: Found) -> tuple[tuple[int, int, int], ...]:
    """What tells whether a run has changed."""
    place = str(found.path)
    return tuple(_mark(f"{place}/{name}") for name in (settings_file(found).name, *FILES))


def _mark(path: str) -> tuple[int, int, int]:
    try:
        about = os.stat(path)  # noqa: PTH116, since paths of their own make a look at many runs four times as long
    except OSError:
        return 0, 0, 0
    return about.st_mtime_ns, about.st_size, about.st_ino
