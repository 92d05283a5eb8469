"""A studio in a process of its own, and requests to it: those of its page, and any other."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ancestral.web.trainings import Trainings

SECONDS = 180  # that anything may take
LONG = 50_000  # steps, minutes of training: no test waits for them, and one that is killed leaves nothing for ever
TINY: dict[str, Any] = {
    "network": {"widths": [8], "layers": 1, "attention": [], "middle_attention": False, "norm_groups": 4},
    "training": {"batch_size": 8, "log_every_steps": 10, "sample_every_steps": 100, "checkpoint_every_steps": 100},
    "compute": {"precision": "float32"},
    "data": {"validation": 0.01},
    "sampling": {"steps": 2},
}
"""Settings of a run that is trained in a second."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Event(NamedTuple):
    id: int
    name: str
    data: Any


class StudioProcess:
    """`ancestral studio FOLDER`, once it listens; .url has no fragment, .address has the token in it."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "ancestral", "studio", folder, "--no-browser", "--json", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.address = json.loads(line)["address"]
        self.url, _, self.token = self.address.partition("#token=")
        self.host, self.port = urlsplit(self.url).hostname or "", urlsplit(self.url).port or 0

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """The answer to a request with just these headers, and those that HTTP demands where they do not say others."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)) as connection:
            connection.putrequest(method, path, skip_host="host" in given, skip_accept_encoding=True)
            for name, value in given.items():
                if value != "":
                    connection.putheader(name, value)
            if body is not None and "content-length" not in given and "transfer-encoding" not in given:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def own_headers(self) -> dict[str, str]:
        """Those that the page sends."""
        return {"authorization": f"Bearer {self.token}", "x-studio": "1", "sec-fetch-site": "same-origin"}

    def get(self, path: str) -> Any:
        """What the page gets, which is JSON."""
        answer = self.ask("GET", path, headers=self.own_headers())
        assert answer.status == 200, answer
        return answer.value

    def post(self, path: str, body: Any) -> Answer:
        """The answer to what the page sends."""
        return self.ask("POST", path, json.dumps(body).encode(), self.own_headers())

    @contextmanager
    def events(self, after: int | None = None) -> Iterator[Iterator[Event]]:
        """What the page hears, from now or after the event of a number."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)) as connection:
            last = {} if after is None else {"last-event-id": str(after)}
            connection.request("GET", "/api/events", headers={**self.own_headers(), **last})
            response = connection.getresponse()
            assert response.status == 200
            yield read_events(response)

    def wait(self, id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The card of a run, once it fits."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            cards = {card["id"]: card for card in self.get("/api/state")["runs"]}
            if id in cards and fits(cards[id]):
                return cards[id]
            time.sleep(0.05)
        raise AssertionError(f"{cards} in {SECONDS} s; {[*map(Path.read_text, self.folder.glob('.studio/*.output'))]}")

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Ends it; its exit code, and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


def read_events(response: http.client.HTTPResponse) -> Iterator[Event]:
    """Events as they come; comments are left out."""
    fields: dict[str, str] = {}
    for line in iter(response.readline, b""):
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


@contextmanager
def opened_studio(folder: Path, *words: str | Path) -> Iterator[StudioProcess]:
    """A studio for as long as that; the trainings that it began are stopped with it."""
    studio = StudioProcess(folder, *words)
    try:
        yield studio
    finally:
        trainings = Trainings(folder)
        for process in map(trainings.process, trainings.running()):
            if process is not None:
                os.kill(process, signal.SIGKILL)
        studio.stop()
