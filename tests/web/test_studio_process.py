"""`ancestral studio` as a process: how it starts, where it listens, and how it ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studio_calls import SECONDS, TINY, opened_studio

from ancestral.cli.main import main

STARTED = """
import os, sys
from ancestral.web import server
begun = server.Server._serve

async def served(self, sockets=None):
    self.stop = lambda: True
    await begun(self, sockets)
    print(os.times().user + os.times().system, "torch" in sys.modules, "numpy" in sys.modules, file=sys.stderr)

server.Server._serve = served
from ancestral.cli.main import main
sys.exit(main(["studio", sys.argv[1], "--no-browser"]))
"""
LACKING = """
import sys
sys.modules["uvicorn"] = None
from ancestral.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """`ancestral studio WORDS`, which is expected to end by itself."""
    given = [sys.executable, "-m", "ancestral", "studio", *map(str, words)]
    return subprocess.run(given, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_it_listens_within_two_seconds_and_never_imports_torch(tmp_path: Path) -> None:
    """Seconds of the processor, of which a busy machine gives fewer."""
    words = [sys.executable, "-c", STARTED, str(tmp_path / "runs")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    seconds, torch, numpy = ended.stderr.split()[-3:]
    assert (torch, numpy) == ("False", "False") and float(seconds) < 2
    assert (tmp_path / "runs").is_dir()


def test_after_all_it_does_it_has_not_imported_torch(tiny: Path, tmp_path: Path) -> None:
    """Neither by looking at runs nor by planning one; the files that a process has mapped tell."""
    shutil.copytree(tiny, tmp_path / "tiny")
    with opened_studio(tmp_path) as studio:
        studio.get("/api/state")
        studio.get("/api/runs/tiny")
        studio.get("/api/runs/model:digits")
        assert studio.post("/api/plans", {"name": "x", "preset": "digits", "settings": TINY}).status == 200
        mapped = Path(f"/proc/{studio.process.pid}/maps").read_text()
    assert "libpython" in mapped or "python" in mapped
    assert "libtorch" not in mapped and "numpy" not in mapped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_though_somebody_listens(number: int, code: int, tmp_path: Path) -> None:
    with opened_studio(tmp_path / "runs") as studio, studio.events() as events:
        assert next(events).name == "hello"
        ended, said = studio.stop(number)
        assert (ended, said) == (code, "stopping the studio; once more to leave at once\n")
        assert [*events] == [], "the stream has ended"


def test_a_port_that_is_taken_is_another_unless_it_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = command(tmp_path, "--no-browser", "--port", str(port))
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"got {port}" in refused.stderr and "choose another" in refused.stderr
    with opened_studio(tmp_path) as first, opened_studio(tmp_path) as second:
        assert first.port != second.port and first.token != second.token
        assert second.ask("GET", "/api/state", headers=first.own_headers()).status == 401


def test_a_browser_is_led_to_the_page_by_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    """What stands on a command line, every user of a machine may read: the token is none of it."""
    browser, shown, folder = tmp_path / "browser", tmp_path / "shown", tmp_path / "runs"
    browser.write_text(f'#!/bin/sh\necho "$@" > {shown}.new && mv {shown}.new {shown}\n')
    browser.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "ancestral", "studio", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": str(browser)},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    while not shown.exists():
        assert process.poll() is None
        time.sleep(0.01)
    file = folder / ".studio" / "open.html"
    assert shown.read_text().strip() == file.resolve().as_uri()
    assert address in file.read_text() and "#token=" in address and file.stat().st_mode & 0o777 == 0o600
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert not file.exists()


def test_a_unix_socket_is_its_owners_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "studio.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "ancestral", "studio", str(tmp_path / "runs"), "--socket", str(path), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    token = json.loads(process.stdout.readline())["address"].rpartition("token=")[2]
    assert path.stat().st_mode & 0o777 == 0o600

    def answered(host: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            head = (
                f"GET /api/state HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            )
            client.sendall(head.encode())
            return client.makefile("rb").readline()

    assert b" 200 " in answered("localhost:9000"), "through a tunnel from any port"
    assert b" 421 " in answered("evil.example:9000")
    in_use = command(tmp_path, "--socket", path)
    assert in_use.returncode == 2 and "nobody listens on" in in_use.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and not path.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "192.168.1.5"], "--others-may-reach-it"),
        (["--host", "0.0.0.0", "--others-may-reach-it"], "one address of this machine"),
        (["--host", "example.org"], "expected an address"),
        (["--socket", "a.sock", "--port", "8800"], "got both"),
        (["--data", "nowhere"], "expected a folder for --data"),
        (["--port", "70000"], "--port"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", str(tmp_path / "runs"), "--no-browser", *words]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """And all that needs none of it goes on."""
    script = (
        "import sys; sys.modules['uvicorn'] = None; from ancestral.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    for words, code in ((["studio", str(tmp_path)], 2), (["studio", "--help"], 0)):
        ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert ended.returncode == code
        assert code == 0 or ("pip install 'ancestral[studio]'" in ended.stderr and ended.stderr.count("\n") == 1)
