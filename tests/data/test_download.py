"""Downloads against a server that breaks off, lies, or is not there."""

from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from ancestral.data import builtin
from ancestral.data import download as module
from ancestral.data.datasets import load
from ancestral.data.download import RemoteFile, download
from ancestral.errors import InputError
from ancestral.progress import ProgressEvent, finish
from ancestral.settings import DataSettings

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; drops each connection after `per_connection` bytes; honours ranges or does not."""

    per_connection = len(CONTENT)
    ranges = True
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested: list[str | None] = []
        self.sent = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are none of the test's concern."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requested.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if wanted and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.server.sent += len(body[: self.server.per_connection])  # before the client can have it all and look
        self.wfile.write(body[: self.server.per_connection])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def remote(server: Server, *urls: str, sha: str = sha256(CONTENT).hexdigest()) -> RemoteFile:
    here = f"http://127.0.0.1:{server.server_address[1]}/file"
    return RemoteFile("file.gz", len(CONTENT), sha, urls or (here,))


def test_a_file_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[ProgressEvent] = []
    path = finish(download(remote(server), tmp_path / "new", "there"), seen.append)
    assert path.read_bytes() == CONTENT and [*path.parent.iterdir()] == [path]
    done = [progress.done for progress in seen]
    assert done == sorted(done) and seen[-1] == ("downloading file.gz", len(CONTENT), len(CONTENT))
    finish(download(remote(server), tmp_path / "new", "there"))
    assert len(server.requested) == 1, "what is there is not fetched again"


def test_a_dropped_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.per_connection = 70_000
    assert finish(download(remote(server), tmp_path, "there")).read_bytes() == CONTENT
    assert server.requested == [f"bytes={start}-" for start in range(0, 300_000, 70_000)]
    assert server.sent == len(CONTENT), "no byte is sent twice"


def test_a_later_call_goes_on_where_one_was_killed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(CONTENT[:123_456])
    assert finish(download(remote(server), tmp_path, "there")).read_bytes() == CONTENT
    assert server.requested == ["bytes=123456-"]


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.gz.part").write_bytes(b"something else")
    assert finish(download(remote(server), tmp_path, "there")).read_bytes() == CONTENT


def test_another_file_is_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected sha256 0000.* got .*; put the file into there"):
        finish(download(remote(server, sha="0" * 64), tmp_path, "there"))
    assert [*tmp_path.iterdir()] == [], "the next call starts afresh"


def test_a_damaged_part_heals_at_the_second_call(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="sha256"):
        finish(download(remote(server), tmp_path, "there"))
    assert finish(download(remote(server), tmp_path, "there")).read_bytes() == CONTENT


def test_an_endless_file_is_cut_at_its_known_size(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT + b"more" * 1000
    assert finish(download(remote(server), tmp_path, "there")).read_bytes() == CONTENT


def test_the_second_mirror_is_tried(server: Server, tmp_path: Path) -> None:
    file = remote(server, "http://127.0.0.1:9/closed", *remote(server).urls)
    assert finish(download(file, tmp_path, "there")).read_bytes() == CONTENT


def test_a_server_that_sends_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.per_connection = 0
    with pytest.raises(InputError, match="cannot download"):
        finish(download(remote(server), tmp_path, "there"))
    assert len(server.requested) == module.ATTEMPTS


def test_offline_says_where_to_put_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    first, *others = builtin.MNIST.files
    offline = RemoteFile(first.name, first.size, first.sha256, ("http://127.0.0.1:9/closed",))
    dataset = builtin.IdxDataset("mnist", builtin.MNIST.class_names, (offline, others[0], others[1], others[2]))
    with pytest.raises(InputError, match=r"put the file into .*downloads/mnist, or .*ANCESTRAL_DATA") as caught:
        finish(builtin.idx_dataset(dataset, DataSettings(source="mnist")))
    assert "\n" not in str(caught.value)


@pytest.mark.network
def test_mnist_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    assert len(load(DataSettings(source="mnist")).test) == 10_000
