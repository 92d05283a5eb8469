"""The studio's events: all that counts, in order, to whoever listens, however slowly."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import pytest
from studio_calls import SECONDS, Event, StudioProcess, opened_studio, read_events

from ancestral.web.event_ring import EventRing
from ancestral.web.event_stream import MOST_BEHIND, MOST_STREAMS, EventStream

T = TypeVar("T")
SERVER = Path(__file__).with_name("event_server.py")


class EventServer:
    """`event_server.py` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = int(self.said())

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def publish(self, name: str, count: int, size: int, pause: int) -> None:
        """Asks for events; `said` returns when all are published."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {count} {size} {pause}\n")
        self.process.stdin.flush()

    def listen(self, stack: ExitStack) -> Iterator[Event]:
        """A listener, from its greeting on."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        stack.callback(connection.close)
        connection.request("GET", "/api/events")
        events = read_events(connection.getresponse())
        assert next(events).name == "hello"
        return events

    def memory(self) -> int:
        """Bytes of it that are in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """One in which nothing happens but what a test here does."""
    with opened_studio(tmp_path_factory.mktemp("studio")) as process:
        yield process


def run(asked: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, in a thread of its own: in that of the tests Playwright may have a loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asked).result()


@pytest.fixture
def server() -> Iterator[EventServer]:
    with subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield EventServer(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_fifty_listeners_are_told_every_frame_at_once(server: EventServer) -> None:
    with ExitStack() as stack:
        listeners = [server.listen(stack) for _ in range(50)]
        server.publish("frame", count=50, size=100, pause=20)
        assert server.said() == "published\n"
        heard = [[next(events) for _ in range(50)] for events in listeners]
        assert server.memory() < 80 * 2**20
    assert all([event.data["i"] for event in each] == [*range(50)] for each in heard)
    ids = [event.id for event in heard[0]]
    assert all([event.id for event in each] == ids for each in heard) and ids == sorted(set(ids))


def test_a_frame_arrives_at_each_of_fifty_within_a_quarter_of_a_second(server: EventServer) -> None:
    """The 99th of 100, as one thread that reads all of them sees it."""

    async def arrived(port: int) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: here\r\n\r\n")
        late = []
        while len(late) < 50:
            line = await reader.readline()
            if line.startswith(b"data: ") and b'"at"' in line:
                late.append(time.monotonic() - json.loads(line[6:])["at"])
        writer.close()
        return late

    async def all_arrived() -> list[list[float]]:
        listening = [asyncio.create_task(arrived(server.port)) for _ in range(50)]
        await asyncio.sleep(0.5)  # those that come later are told what they missed all the same
        server.publish("log", count=50, size=100, pause=20)
        return await asyncio.gather(*listening)

    late = [each for listener in run(all_arrived()) for each in listener]
    assert quantiles(late, n=100)[-1] < 0.25
    assert server.said() == "published\n"


def test_who_does_not_read_costs_little_and_delays_nobody(server: EventServer) -> None:
    """8 MB of events are sent; a ring that holds 2,048 of them is not what he costs, so it is full before he comes."""
    with ExitStack() as stack:
        reading = server.listen(stack)
        server.publish("log", count=2048, size=4000, pause=0)
        assert server.said() == "published\n"
        before = [next(reading) for _ in range(2048)]
        full = server.memory()
        for _ in range(10):
            stuck = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(b"GET /api/events?from=%d HTTP/1.1\r\nHost: here\r\n\r\n" % before[100].id)
        server.publish("log", count=2048, size=4000, pause=0)
        assert server.said() == "published\n"
        after = [next(reading) for _ in range(2048)]
        assert (server.memory() - full) / 10 < 4 * 2**20
    assert [event.data["i"] for event in after] == [*range(2048)]


def test_a_listener_that_comes_back_hears_what_it_missed_and_no_more(studio: StudioProcess) -> None:
    """Here of a run that comes and goes, as after a time without network."""
    with studio.events() as events:
        hello = next(events)
        assert hello.name == "hello" and hello.data["id"] == studio.get("/api/state")["id"]
        (studio.folder / "new" / "checkpoints").mkdir(parents=True)
        (studio.folder / "new" / "config.json").write_text("{}")
        first = next(events)
        assert (first.name, first.data["id"], first.data["state"]) == ("run", "new", "stopped")
    (studio.folder / "new" / "checkpoints").rmdir()
    (studio.folder / "new" / "config.json").unlink()
    (studio.folder / "new").rmdir()
    with studio.events(first.id) as events:
        assert [next(events).name for _ in range(2)] == ["hello", "gone"]
    with studio.events(hello.id) as events:
        assert [next(events).name for _ in range(3)] == ["hello", "run", "gone"]
    for other in (1, first.id + 10**9):  # of long ago, and of another start of the studio
        with studio.events(other) as events:
            assert next(events).data == {"reload": True}


def test_there_are_no_more_streams_than_sixty_four(studio: StudioProcess) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS):
            assert next(stack.enter_context(studio.events())).name == "hello"
        refused = studio.ask("GET", "/api/events", headers=studio.own_headers())
        assert (refused.status, refused.body) == (429, b"")
    while studio.ask("HEAD", "/api/events", headers=studio.own_headers()).status == 429:
        pass  # those that have gone are noticed


def names_and_numbers(ring: EventRing, after: int) -> list[tuple[str, Any]] | None:
    """What a listener is told of the events after one."""
    events = ring.since(after)
    if events is None:
        return None
    fields = [dict(line.split(": ", 1) for line in each.text.decode().splitlines() if line) for each in events]
    return [(each["event"], json.loads(each["data"]).get("i")) for each in fields]


def test_a_ring_that_is_full_forgets_progress_first_and_then_what_is_oldest() -> None:
    ring = EventRing(most=8)
    start = ring.last
    ring.publish("log", {"run": "a", "i": 0})
    for i in range(1, 20):
        ring.publish("frame", {"job": "1", "i": i})
    told = names_and_numbers(ring, start)
    assert told is not None and told[0] == ("log", 0) and told[-1] == ("frame", 19), (
        "the log is not forgotten for frames"
    )
    for i in range(20, 30):
        ring.publish("log", {"run": "a", "i": i})
    assert names_and_numbers(ring, start) is None, "too old: all is to be fetched again"
    assert names_and_numbers(ring, ring.last - 2) == [("log", 28), ("log", 29)]
    assert names_and_numbers(ring, ring.last) == [] and names_and_numbers(ring, ring.last + 1) is None


def test_frames_of_a_job_are_forgotten_when_it_ends_and_its_state_is_not() -> None:
    ring = EventRing()
    start = ring.last
    job = {"id": "1", "state": "running", "i": None}
    ring.publish("job", {**job, "frames": {"steps": [1]}, "i": 0})
    for i in range(3):
        ring.publish("frame", {"job": "1", "i": i})
        ring.publish("frame", {"job": "2", "i": i})
        ring.publish("job", {**job, "i": i})
    ring.publish("job", {**job, "state": "done", "i": 9})
    assert names_and_numbers(ring, start) == [("job", 0), *[("frame", i) for i in range(3)], ("job", 9)]


async def heard(ring: EventRing, after: int, wanted: int) -> list[str]:
    """What a stream sends, until it has sent so many bodies."""
    sent: list[str] = []
    enough = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b"").decode())
        if len(sent) > wanted:
            enough.set()
            await asyncio.Event().wait()

    async def receive() -> Any:
        await enough.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "headers": [], "query_string": f"from={after}".encode()}
    await EventStream(ring, "0")(scope, receive, send)
    return sent


def test_a_listener_far_behind_is_told_the_newest_of_what_replaces_another() -> None:
    ring = EventRing()
    start = ring.last
    for i in range(MOST_BEHIND):
        ring.publish("frame", {"job": "1", "i": i})
        ring.publish("log", {"run": "a", "i": i})
    _, _, news = run(heard(ring, start, 2))
    assert news.count("event: log") == MOST_BEHIND and news.count("event: frame") == 1
