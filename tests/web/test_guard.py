"""Who is served: only the page that was printed, by exact rules; a refusal says nothing."""

from pathlib import Path
from typing import Any

import pytest
from studio_calls import StudioProcess

PNG = b"\x89PNG\r\n\x1a\n"


HOSTILE: dict[str, tuple[str, str, dict[str, str], bytes | None, int]] = {
    "no token": ("GET", "/api/state", {"authorization": ""}, None, 401),
    "another token": ("GET", "/api/state", {"authorization": "Bearer " + "A" * 32}, None, 401),
    "a token that is no ASCII": ("GET", "/api/state", {"authorization": "Bearer \xe9"}, None, 401),
    "the token in the query": ("GET", "/api/state?token={token}", {"authorization": ""}, None, 401),
    "the token as a cookie": ("GET", "/api/state", {"authorization": "", "cookie": "token={token}"}, None, 401),
    "no token for the events": ("GET", "/api/events", {"authorization": ""}, None, 401),
    "another host": ("GET", "/", {"host": "evil.example"}, None, 421),
    "a host that begins as ours": ("GET", "/api/state", {"host": "127.0.0.1.evil.example:{port}"}, None, 421),
    "a host at another port": ("GET", "/api/state", {"host": "127.0.0.1:1"}, None, 421),
    "a host without the port": ("GET", "/api/state", {"host": "localhost"}, None, 421),
    "another origin": ("GET", "/api/state", {"origin": "http://evil.example"}, None, 403),
    "an origin at another port": ("GET", "/api/state", {"origin": "http://127.0.0.1:1"}, None, 403),
    "the origin null": ("POST", "/api/runs", {"origin": "null"}, b"{}", 403),
    "another site's request": ("GET", "/api/state", {"sec-fetch-site": "cross-site"}, None, 403),
    "another port's request": ("GET", "/api/state", {"sec-fetch-site": "same-site"}, None, 403),
    "a form's request": ("POST", "/api/runs", {"x-studio": ""}, b"{}", 403),
    "a deletion without the header": ("DELETE", "/api/jobs/1", {"x-studio": ""}, None, 403),
    "a preflight": ("OPTIONS", "/api/runs", {"origin": "http://evil.example"}, None, 403),
    "a path out of the scripts": ("GET", "/static/share/../web/settings.py", {}, None, 404),
    "an escaped path out of them": ("GET", "/static/share/..%2f..%2ferrors.py", {}, None, 404),
    "a program of ours": ("GET", "/static/share/page.py", {}, None, 404),
    "a path in place of a run": ("GET", "/api/runs/..%2f..%2fetc", {}, None, 404),
    "a run that is none": ("GET", "/api/runs/nobody", {}, None, 404),
    "a path in place of numbers": ("GET", "/api/runs/tiny/numbers/..%2fconfig", {}, None, 404),
    "a file that is no numbers": ("GET", "/api/runs/tiny/numbers/config", {}, None, 404),
    "a grid that is none": ("GET", "/api/runs/tiny/grids/-1.png", {}, None, 404),
    "a body that is too long": ("POST", "/api/runs", {"content-length": str(2**20 + 1)}, b"", 413),
    "an upload that is too long": ("POST", "/api/uploads", {"content-length": str(2**24 + 1)}, b"", 413),
    "a body of no length": ("POST", "/api/runs", {"transfer-encoding": "chunked"}, b"0\r\n\r\n", 411),
}
"""What is sent -> method, path, what differs from the page's headers, body, and how it is answered: without a word."""


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_page_does_not_send_is_refused_without_a_word(name: str, studio: StudioProcess) -> None:
    method, path, headers, body, status = HOSTILE[name]
    told = {"token": studio.token, "port": studio.port}
    changed = {header: value.format_map(told) for header, value in headers.items()}
    answer = studio.ask(method, path.format_map(told), body, {**studio.own_headers(), **changed})
    assert (answer.status, answer.body) == (status, b"")
    assert not any(header.startswith("access-control-") for header in answer.headers)
    assert "set-cookie" not in answer.headers and "server" not in answer.headers


FAULTY: dict[str, Any] = {
    "a path as its name": {"name": "../x", "preset": "digits"},
    "a hidden name": {"name": ".studio", "preset": "digits"},
    "a name that is there": {"name": "tiny", "preset": "digits"},
    "no preset": {"name": "x"},
    "a path as its preset": {"name": "x", "preset": "/etc"},
    "a path as its data": {"name": "x", "preset": "digits", "settings": {"data": {"source": "/etc"}}},
    "an address as its data": {"name": "x", "preset": "digits", "settings": {"data": {"source": "http://a.example"}}},
    "a folder of an encoder": {
        "name": "x",
        "preset": "digits",
        "settings": {"text": {"name": "frozen", "folder": "/"}},
    },
    "a setting that is none": {"name": "x", "preset": "digits", "settings": {"out": "/tmp"}},
    "a table that is none": {"name": "x", "preset": "digits", "settings": {"training": 3}},
    "more than is asked": {"name": "x", "preset": "digits", "out": "/tmp"},
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_training_with_a_faulty_request_is_not_begun(name: str, studio: StudioProcess) -> None:
    before = sorted(studio.folder.rglob("*"))
    answer = studio.post("/api/runs", FAULTY[name])
    assert answer.status == 422 and {*answer.value} <= {"error", "setting", "contract"}
    assert "\n" not in answer.value["error"]
    assert answer.headers["content-type"] == "application/json"
    assert sorted(studio.folder.rglob("*")) == before


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"name": NaN}', b"[" * 10_000, b'{"a": 1, "a": 2}'])
def test_a_body_that_is_no_json_is_told_in_a_line(body: bytes, studio: StudioProcess) -> None:
    answer = studio.ask("POST", "/api/runs", body, studio.own_headers())
    assert answer.status == 422 and "\n" not in answer.value["error"]


def test_a_folder_to_train_on_is_one_that_was_found(studio: StudioProcess) -> None:
    answer = studio.post("/api/runs", {"name": "x", "data": "../../etc"})
    assert (answer.status, answer.body) == (404, b"")


def test_what_leads_out_of_a_run_is_not_there(studio: StudioProcess, tmp_path: Path) -> None:
    """Also through links, of a file and of its folder."""
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "step-00000007.png").write_bytes(PNG)
    run = studio.folder / "tiny"
    (run / "rate.json").symlink_to(tmp_path / "secret.json")
    (run / "samples").rename(run / "others")
    try:
        (run / "samples").symlink_to(tmp_path)
        for path in ("numbers/rate", "grids/7.png"):
            answer = studio.ask("GET", f"/api/runs/tiny/{path}", headers=studio.own_headers())
            assert (answer.status, answer.body) == (404, b"")
    finally:
        (run / "samples").unlink()
        (run / "others").rename(run / "samples")
        (run / "rate.json").unlink()


def test_the_page_itself_holds_no_secret_and_needs_none(studio: StudioProcess) -> None:
    """A link from elsewhere may lead to it, and it is shown in no frame and runs only scripts of its own."""
    for path in ("/", "/static/share/mask.js"):
        answer = studio.ask("GET", path, headers={"sec-fetch-site": "cross-site"})
        assert answer.status == 200 and studio.token.encode() not in answer.body
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy
        assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_every_name_of_this_machine_is_served(host: str, studio: StudioProcess) -> None:
    own = f"{host}:{studio.port}"
    headers = {**studio.own_headers(), "host": own, "origin": f"http://{own}"}
    assert studio.ask("GET", "/api/state", headers=headers).status == 200
