"""Jobs of the studio in real worker processes: what they generate, how they end, what is refused."""

import io
import os
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from studio_calls import Event, StudioProcess

from ancestral.cli.main import main

STEPS = 7
SOON = 5.0  # seconds, on a machine that is busy with much else
NO_END = {"steps": 1000, "sampler": "ddim"}


class Ended(NamedTuple):
    """A job that has ended, and what was heard of it, with the seconds since it was asked for."""

    job: dict[str, Any]
    heard: list[tuple[float, Event]]

    def times(self, name: str) -> list[float]:
        return [seconds for seconds, event in self.heard if event.name == name]


class Following:
    """What a studio says from now on."""

    def __init__(self, studio: StudioProcess, events: Iterator[Event]) -> None:
        self.studio, self.events = studio, events

    def begin(self, kind: str = "sample", settings: Any = None, view: str = "draw", replace: bool = False) -> str:
        body = {"kind": kind, "run": "tiny", "view": view, "settings": settings or {}, "replace": replace}
        answer = self.studio.post("/api/jobs", body)
        assert answer.status == 202, answer
        return str(answer.value["id"])

    def until(self, job: str, name: str, **data: Any) -> tuple[float, Event]:
        """The next event of that name on a job that holds these data."""
        begun = time.monotonic()
        for event in self.events:
            own = event.data.get("job", event.data.get("id"))
            own = own["id"] if isinstance(own, dict) else own
            if event.name == name and own == job and data.items() <= event.data.items():
                return time.monotonic() - begun, event
        raise AssertionError("the studio says no more")

    def end(self, job: str) -> Ended:
        """A job once it has ended."""
        begun, heard = time.monotonic(), list[tuple[float, Event]]()
        for event in self.events:
            heard.append((time.monotonic() - begun, event))
            if event.name == "result" and event.data["job"]["id"] == job:
                return Ended(event.data["job"], heard)
        raise AssertionError("the studio says no more")

    def delete(self, job: str) -> None:
        assert self.studio.ask("DELETE", f"/api/jobs/{job}", headers=self.studio.own_headers()).status == 200


@contextmanager
def following(studio: StudioProcess) -> Iterator[Following]:
    with studio.events() as events:
        assert next(events).name == "hello"
        yield Following(studio, events)


@pytest.fixture
def told(studio: StudioProcess) -> Iterator[Following]:
    with following(studio) as found:
        yield found


def body(studio: StudioProcess, path: str) -> bytes:
    answer = studio.ask("GET", path, headers=studio.own_headers())
    assert answer.status == 200, answer
    return answer.body


def workers(studio: StudioProcess) -> list[int]:
    """The processes that a studio has begun to compute in."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(each.name)] * (
                    parent == studio.process.pid and b"web.worker" in (each / "cmdline").read_bytes()
                )
            except OSError:
                pass
    return found


def test_frames_and_images_are_those_of_the_command_line(
    studio: StudioProcess, told: Following, tmp_path: Path
) -> None:
    settings = {"num_images": 3, "seed": "5", "classes": "4,2", "sampling": {"steps": STEPS}}
    ended = told.end(told.begin(settings=settings))
    run, line = studio.folder / "tiny", ended.job["command"].split()
    assert line[:2] == ["ancestral", "sample"] and Path(line[2]).resolve() == run.resolve()
    assert main([*line[1:], "--each", "--out", str(tmp_path / "a"), "--arrays", str(tmp_path / "a.npz")]) == 0
    arrays = np.load(tmp_path / "a.npz")
    expected = np.stack([arrays["x_t"], arrays["x_0"]], 1)
    levels = np.clip(np.round((expected.astype(np.float64) + 1) * 127.5), 0, 255)
    frames = ended.job["frames"]
    assert frames["count"] == STEPS + 1 and frames["images"] == 3 and frames["labels"] == ["4", "2", "4"]
    assert [each["t"] for each in frames["steps"]] == arrays["t"].tolist()
    assert [each["s"] for each in frames["steps"]] == [*arrays["t"].tolist()[1:], 0]
    alpha, sigma = (np.array([each[name] for each in frames["steps"]]) for name in ("alpha", "sigma"))
    assert alpha**2 + sigma**2 == pytest.approx(1)
    sent = np.frombuffer(body(studio, f"/api/jobs/{ended.job['id']}/frames"), np.uint8)
    assert np.abs(sent.reshape(expected.shape) - levels).max() <= 1 and (sent == levels.ravel()).mean() > 0.99
    some = body(studio, f"/api/jobs/{ended.job['id']}/frames?from=2&to=4")
    assert some == sent.reshape(expected.shape)[2:4].tobytes()
    heard = [event.data["i"] for _, event in ended.heard if event.name == "frame"]
    assert heard == [*range(STEPS + 1)]
    for number, seed in enumerate((5, 6, 7)):
        assert ended.job["files"][number]["name"] == f"seed-{seed}.png"
        own = body(studio, f"/api/jobs/{ended.job['id']}/files/{number}")
        assert own == (tmp_path / "a" / f"seed-{seed}.png").read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(own)))
        assert (sent.reshape(expected.shape)[-1, 0, number, 0] == pixels).all()


def test_a_job_stops_after_the_call_that_it_is_at(studio: StudioProcess, told: Following) -> None:
    job = told.begin(settings={"num_images": 64, "sampling": NO_END})
    told.until(job, "frame")
    asked = time.monotonic()
    told.delete(job)
    seconds, _ = told.until(job, "job", state="stopping")
    assert seconds < SOON
    ended = told.end(job)
    assert time.monotonic() - asked < SOON
    assert ended.job["state"] == "stopped" and ended.job["frames"]["count"] < 20
    assert ended.job["done"] <= ended.job["frames"]["count"] <= ended.job["done"] + 2
    assert [each["name"] for each in ended.job["files"]] == []


def test_a_job_that_waits_is_stopped_at_once_and_a_newer_one_replaces_it(told: Following) -> None:
    first = told.begin(settings={"sampling": NO_END})
    other = told.begin(view="a")
    told.delete(other)
    assert told.end(other).job["state"] == "stopped"
    told.until(first, "frame")
    last = told.begin(settings={"num_images": 1, "sampling": {"steps": 2}}, replace=True)
    ended = told.end(first)
    assert ended.job["state"] == "stopped" and ended.job["why"] == "a newer one of the same view has replaced it"
    assert told.end(last).job["state"] == "done"


def test_as_many_jobs_wait_as_may(studio: StudioProcess, told: Following) -> None:
    first = told.begin(settings={"sampling": NO_END}, view="0")
    told.until(first, "frame")
    waiting = [told.begin(view=str(i)) for i in range(32)]
    answer = studio.post("/api/jobs", {"kind": "sample", "run": "tiny", "settings": {}})
    assert answer.status == 429 and "expected fewer jobs" in answer.value["error"]
    for job in [*waiting, first]:
        told.delete(job)
    assert told.end(first).job["state"] == "stopped"


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_job_alone(studio: StudioProcess, told: Following) -> None:
    job = told.begin(settings={"sampling": NO_END})
    told.until(job, "frame")
    killed = time.monotonic()
    for process in workers(studio):
        os.kill(process, signal.SIGKILL)
    ended = told.end(job)
    assert time.monotonic() - killed < SOON
    assert ended.job["state"] == "failed" and "was killed by signal 9" in ended.job["why"]
    assert told.end(told.begin(settings={"num_images": 1})).job["state"] == "done"


def test_measurements_keep_nobody_waiting_and_stop_in_the_middle(studio: StudioProcess, told: Following) -> None:
    measuring = told.begin("likelihood", {"num_images": None, "timesteps": None, "yes": True})
    told.until(measuring, "job", state="running")
    assert told.end(told.begin(settings={"num_images": 1})).job["state"] == "done"
    asked = time.monotonic()
    told.delete(measuring)
    ended = told.end(measuring)
    assert ended.job["state"] == "stopped" and time.monotonic() - asked < 2 * SOON
    assert len(workers(studio)) == 2


def test_the_server_imports_no_torch(studio: StudioProcess) -> None:
    """Whatever it was asked by the tests before."""
    assert "libtorch" not in Path(f"/proc/{studio.process.pid}/maps").read_text()


REFUSED = [
    ({"kind": "paint"}, "expected a kind of job, got 'paint'"),
    ({"kind": "sample", "run": None}, "expected a run to sample, got none; choose one"),
    ({"settings": {"num_images": 257}}, "expected at most 256 for num_images on this page, got 257"),
    ({"settings": {"num_images": 0}}, "sample: num_images: expected at least 1, got 0"),
    ({"settings": {"sampling": {"steps": 1001}}}, "expected at most 1,000 for steps on this page"),
    ({"settings": {"sampling": {"eta": 1, "sampler": "heun"}}}, "settings: expected no eta with the sampler heun"),
    ({"settings": {"sampling": {"stepz": 3}}}, "settings: unknown setting stepz; did you mean steps?"),
    ({"settings": {"out": "/tmp/x"}}, "expected no out from this page, got '/tmp/x'; use the command line"),
    ({"settings": {"prompts": "/etc/passwd"}}, "expected no prompts from this page"),
    ({"settings": {"film": "../../x.gif"}}, "expected no film from this page"),
    ({"settings": {"blend": "1,2"}}, "expected --prompt with --blend, got none"),
    ({"settings": []}, "the request: settings: expected a table of settings, got []"),
    ({"kind": "edit", "settings": {"task": "paint"}}, "expected a task, got 'paint'"),
    ({"kind": "edit", "settings": {"task": "canvas", "size": [2048, 8]}}, "expected at most 1,024 for sides"),
    ({"kind": "edit", "settings": {"task": "vary", "images": ["../x"]}}, "expected the id of an image that was sent"),
    ({"kind": "edit", "settings": {"task": "tile", "sampling": {"guidance": 2}}}, "expected --classes or --prompt"),
]


@pytest.mark.parametrize(("asked", "why"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(studio: StudioProcess, asked: dict[str, Any], why: str) -> None:
    for path in ("/api/jobs", "/api/commands"):
        answer = studio.post(path, {"kind": "sample", "run": "tiny", "settings": {}, **asked})
        assert answer.status == 422 and answer.value["error"].startswith(why), answer
        assert "\n" not in answer.value["error"]


def test_what_turns_out_wrong_fails_the_job_in_one_line(told: Following) -> None:
    ended = told.end(told.begin(settings={"classes": "nobody"}))
    assert ended.job["state"] == "failed" and ended.job["why"].startswith("expected"), ended.job
    assert "\n" not in ended.job["why"] and ended.job["files"] == [] and ended.job["frames"] is None


def test_what_has_no_such_id_is_not_there(studio: StudioProcess) -> None:
    assert studio.post("/api/jobs", {"kind": "sample", "run": "../tiny", "settings": {}}).status == 404
    for path in ("/api/jobs/x", "/api/jobs/x/frames", "/api/uploads/x.png", "/api/uploads/..%2fx.png"):
        assert studio.ask("GET", path, headers=studio.own_headers()).status == 404


def test_a_command_is_told_and_nothing_is_begun(studio: StudioProcess) -> None:
    before = studio.get("/api/jobs")
    asked = {"num_images": 2, "film": "film.gif", "sampling": {"steps": 3, "guidance": 2.5}}
    answer = studio.post("/api/commands", {"kind": "sample", "run": "model:digits", "settings": asked})
    assert answer.value == {
        "command": "ancestral sample digits --num-images 2 --film film.gif --steps 3 --guidance 2.5"
    }
    swept = studio.post("/api/commands", {"kind": "sweep", "run": "tiny", "settings": {"images": 30}})
    assert swept.value["command"].endswith("tiny --images 30"), "a number of images, which nobody sent"
    assert studio.get("/api/jobs") == before


def png(width: int, height: int, body: bytes) -> bytes:
    """A grey PNG file of that size, whatever is in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def picture(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


HOSTILE = [
    (b"", "is not a PNG, JPEG"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "is not a PNG, JPEG"),
    (b"<html><script>1</script>", "is not a PNG, JPEG"),
    (png(60_000, 60_000, b"\0" * 1000), "a side longer than"),
    (png(12_000, 12_000, b"\0" * 1000), "is 12000 x 12000 pixels, more than the 64,000,000 allowed"),
    (picture(np.zeros((50, 50, 3), np.uint8))[:-30], "is damaged"),
    (picture(np.zeros((50, 50, 3), np.uint8), "TIFF")[:99], "TIFF"),
]


@pytest.mark.parametrize(("content", "why"), HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_what_is_no_image_is_refused(studio: StudioProcess, content: bytes, why: str) -> None:
    answer = studio.ask("POST", "/api/uploads", content, studio.own_headers())
    assert answer.status == 422 and why in answer.value["error"], answer


def test_too_long_an_upload_is_refused_unread(studio: StudioProcess) -> None:
    headers = {**studio.own_headers(), "content-length": str(17 * 2**20)}
    assert studio.ask("POST", "/api/uploads", b"", headers).status == 413


def test_an_edit_of_sent_images_keeps_what_is_to_be_kept(studio: StudioProcess, told: Following) -> None:
    pixels, mask = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3, np.zeros((8, 8), np.uint8)
    mask[2:6, 3:] = 255
    ids = []
    for content in (picture(pixels), picture(mask)):
        answer = studio.ask("POST", "/api/uploads", content, studio.own_headers())
        assert answer.status == 200 and answer.value["recipe"] is None and answer.value["width"] == 8
        ids.append(answer.value["id"])
    again = body(studio, f"/api/uploads/{ids[0]}.png")
    assert (np.asarray(Image.open(io.BytesIO(again))) == pixels).all()
    settings = {"task": "inpaint", "images": ids[:1], "mask": ids[1], "num_images": 2, "rounds": 2}
    ended = told.end(told.begin("edit", {**settings, "sampling": {"steps": 3}}))
    assert ended.job["state"] == "done", ended.job
    frames = ended.job["frames"]
    grid = [each["t"] for each in frames["steps"]]
    assert frames["count"] == len(grid) == 6 and grid[0] == grid[1] > grid[2] == grid[3] > grid[4] > grid[5] == 0
    sent = np.frombuffer(body(studio, f"/api/jobs/{ended.job['id']}/frames?from=5&to=6"), np.uint8)
    sent = sent.reshape(2, 2, 8, 8)
    assert (sent[:, :, mask == 0] == pixels[mask == 0]).all() and (sent[0] == sent[1]).all()
    number = [each["name"] for each in ended.job["files"]].index("inpaint-seed-1.png")
    own = body(studio, f"/api/jobs/{ended.job['id']}/files/{number}")
    assert (np.asarray(Image.open(io.BytesIO(own))) == sent[0, 1]).all()


def test_an_image_says_how_it_is_generated_again(studio: StudioProcess, told: Following) -> None:
    job = told.end(told.begin(settings={"num_images": 1, "seed": 4, "sampling": {"steps": 3, "eta": 0.5}})).job
    own = body(studio, f"/api/jobs/{job['id']}/files/0")
    recipe = studio.ask("POST", "/api/uploads", own, studio.own_headers()).value["recipe"]
    assert (recipe["seed"], recipe["classes"], recipe["num_images"], recipe["prompt"]) == ("4", "0", 1, [])
    settings = {"num_images": 1, "seed": recipe["seed"], "classes": recipe["classes"], "sampling": recipe["settings"]}
    again = told.end(told.begin(settings=settings)).job
    images = [Image.open(io.BytesIO(each)) for each in (own, body(studio, f"/api/jobs/{again['id']}/files/0"))]
    assert images[0].tobytes() == images[1].tobytes() and images[0].info == images[1].info


def test_what_is_no_picture_is_served_as_a_file_to_keep(studio: StudioProcess, told: Following) -> None:
    job = told.end(told.begin("share", {"samplers": ["ddim"], "step_counts": [2], "num_images": 1})).job
    assert job["state"] == "done", job
    assert (studio.folder / "tiny" / "share.html").is_file()
    answer = studio.ask("GET", f"/api/jobs/{job['id']}/files/0", headers=studio.own_headers())
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="share.html"'
