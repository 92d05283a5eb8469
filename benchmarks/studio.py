"""`python -m benchmarks.studio`: how soon the server and the page of `ancestral studio` answer, beside their bounds.

A studio is started on a folder of its own, with the digits that come along and an untrained network of 28x28, and used
in Chromium and by requests of its own. Times are by the clock: other work on the machine counts.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

import torch
from playwright.sync_api import Page, sync_playwright

from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import ImageSpec

CHROMIUM = "/usr/bin/chromium"
DIGITS = "model:digits"
STREAMS = 50
PAUSE = 10  # seconds without a network
LONG = 600  # steps of a draw that such a pause is within
FIRST = """async () => {
  const slider = document.querySelector(".film-bar input[type=range]");
  slider.max = 9999;
  const begun = performance.now();
  [...document.querySelectorAll("main button")].find((each) => each.textContent === "Draw").click();
  while (slider.max === "9999") await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}"""
SCRUB = """async () => {
  const slider = document.querySelector(".film-bar input[type=range]"), work = [], frames = [];
  const frame = () => new Promise(requestAnimationFrame);
  let before = await frame();
  for (let i = 0; i < 180; i++) {
    const begun = performance.now();
    slider.value = Math.round((slider.max / 2) * (1 + Math.sin(i / 9)));
    slider.dispatchEvent(new Event("input"));
    work.push(performance.now() - begun);
    const now = await frame();
    frames.push(now - before);
    before = now;
  }
  return { work, frames };
}"""
STOP = """async () => {
  const stop = [...document.querySelectorAll("main button")].find((each) => each.textContent === "Stop");
  const begun = performance.now();
  stop.click();
  while (!stop.hidden) await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}"""
STROKE = """() => {
  const canvas = document.querySelector(".layers canvas[role=application]"), taken = [];
  const { left, top, width, height } = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const act = (kind, i) => {
    const [x, y] = [0.5 + 0.4 * Math.sin(i / 9), 0.5 + 0.4 * Math.cos(i / 7)];
    const at = { clientX: left + width * x, clientY: top + height * y };
    const begun = performance.now();
    canvas.dispatchEvent(new PointerEvent(kind, { ...at, pointerId: 1, button: 0, buttons: 1 }));
    taken.push(performance.now() - begun);
  };
  act("pointerdown", 0);
  for (let i = 0; i < 200; i++) act("pointermove", i);
  act("pointerup", 200);
  return taken;
}"""
AFTER = "document.querySelector('.film-view .moment')?.textContent.includes('after')"
POSITIONS = "Number(document.querySelector('.film-bar input[type=range]').max)"


class Studio:
    """A studio in a process of its own, once it listens."""

    def __init__(self, folder: str) -> None:
        words = [sys.executable, "-m", "ancestral", "studio", folder, "--no-browser", "--json"]
        begun = perf_counter()
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())["address"]
        self.seconds = perf_counter() - begun
        url, _, token = self.address.partition("#token=")
        self.place = urlsplit(url).netloc
        self.headers = {"authorization": f"Bearer {token}", "x-studio": "1", "content-type": "application/json"}

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        with closing(http.client.HTTPConnection(self.place, timeout=60)) as connection:
            connection.request(method, path, json.dumps(body) if body else None, self.headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 300, (answer.status, content)
            return json.loads(content) if content else None

    def events(self) -> Iterator[tuple[str, Any]]:
        """What is heard from now on."""
        with closing(http.client.HTTPConnection(self.place, timeout=60)) as connection:
            connection.request("GET", "/api/events", headers=self.headers)
            name = ""
            for line in connection.getresponse():
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)

    def draw(self, run: str, images: int, steps: int, view: str = "benchmark") -> str:
        """Begins to draw; the id of the job."""
        settings = {"num_images": images, "sampling": {"sampler": "ddim", "steps": steps}}
        return str(
            self.ask("POST", "/api/jobs", {"kind": "sample", "run": run, "view": view, "settings": settings})["id"]
        )

    def ended(self, job: str) -> Any:
        while (tree := self.ask("GET", f"/api/jobs/{job}"))["state"] not in ("done", "stopped", "failed"):
            sleep(0.02)
        return tree

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in children if "libtorch" in Path(f"/proc/{each}/maps").read_text()]

    def megabytes(self) -> float:
        """Memory of the server alone."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    print("| test | | bound | measured |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        spec = ImageSpec(channels=1, height=28, width=28)
        Pipeline.fresh(PRESETS["mnist"](), spec, torch.device("cpu")).save(Path(folder, "mnist"))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        studio = Studio(folder)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            for name, what, bound, measure in MEASURED:
                print(f"| {name} | {what} | {bound} | {measure(page, studio)} |", flush=True)
        finally:
            studio.end()
            browser.close()


def _listening(page: Page, studio: Studio) -> str:
    has_torch = "libtorch" in Path(f"/proc/{studio.process.pid}/maps").read_text()
    return f"{studio.seconds:.2f} s{', with torch' if has_torch else ''}"


def _usable(page: Page, studio: Studio) -> str:
    return f"{median(_opened(page, studio) for _ in range(5)):.2f} s"


def _first(page: Page, studio: Studio) -> str:
    found = []
    for run in (DIGITS, "mnist"):
        studio.ended(studio.draw(run, 16, 5))
        _show(page, studio, f"draw?run={run}&images=16&sampler=ddim&steps=20", "Draw")
        found.append(median(_drawn(page) for _ in range(5)) / 1e3)
    return "{:.3f} and {:.3f} s".format(*found)


def _stopped(page: Page, studio: Studio) -> str:
    _show(page, studio, f"draw?run={DIGITS}&images=64&sampler=ddim&steps=1000", "Draw")
    page.evaluate(FIRST)
    said = page.evaluate(STOP)
    return f"{_calls_after_stop(studio)}, {said / 1e3:.3f} s"


def _scrubbed(page: Page, studio: Studio) -> str:
    _show(page, studio, f"draw?run={DIGITS}&images=64&sampler=ddim&steps=50", "Draw")
    _drawn(page)
    found = page.evaluate(SCRUB)
    work, frames = sorted(found["work"]), sorted(found["frames"])
    late = int(0.95 * len(frames))
    return f"{median(frames):.1f} and {frames[late]:.1f} ms, of which {median(work):.1f} and {work[late]:.1f} are work"


def _opened(page: Page, studio: Studio) -> float:
    """Seconds from the navigation to links of views and runs."""
    page.goto("about:blank")
    page.goto(studio.address)
    page.wait_for_selector("#views a")
    page.wait_for_selector("#runs a", state="attached")
    return float(page.evaluate("performance.now()")) / 1e3


def _show(page: Page, studio: Studio, view: str, button: str) -> None:
    page.goto("about:blank")
    page.goto(f"{studio.address}&#/{view}")
    page.wait_for_selector(f"main button:text-is('{button}')")


def until(page: Page, expression: str) -> None:
    """Returns once an expression is true; the page's policy keeps Playwright from waiting for one."""
    page.evaluate(f"async () => {{ while (!({expression})) await new Promise((done) => setTimeout(done, 5)); }}")


def _drawn(page: Page) -> float:
    """Milliseconds to the first frame of what the form asks; all of it is drawn then."""
    first = page.evaluate(FIRST)
    until(page, AFTER)
    return float(first)


def _calls_after_stop(studio: Studio) -> int:
    """Steps of a draw of 64 images that are generated once a request to stop is answered."""
    events = studio.events()
    next(events)
    job = studio.draw(DIGITS, 64, 1000)
    for name, data in events:
        if name == "frame" and data["job"] == job and data["i"] >= 10:
            break
    studio.ask("DELETE", f"/api/jobs/{job}")
    at = studio.ask("GET", f"/api/jobs/{job}")["frames"]["count"]
    return int(studio.ended(job)["frames"]["count"] - at)


def _streams(page: Page, studio: Studio) -> str:
    """How late each stream hears of each frame, after the first that does."""
    heard: list[dict[int, float]] = [{} for _ in range(STREAMS)]
    ready = threading.Barrier(STREAMS + 1)

    def listen(frames: dict[int, float]) -> None:
        events = studio.events()
        next(events)
        ready.wait()
        for name, data in events:
            if name == "frame":
                frames[data["i"]] = monotonic()
            if name == "result":
                return

    threads = [threading.Thread(target=listen, args=(each,)) for each in heard]
    for thread in threads:
        thread.start()
    ready.wait()
    with socket.create_connection(tuple(studio.place.rsplit(":", 1))) as stuck:
        lines = [f"{name}: {value}" for name, value in {"host": studio.place, **studio.headers}.items()]
        stuck.sendall("\r\n".join(["GET /api/events HTTP/1.1", *lines, "", ""]).encode())
        steps = studio.ended(studio.draw(DIGITS, 16, 50))["frames"]["count"]
        megabytes = studio.megabytes()
        for thread in threads:
            thread.join()
    whole = sum(len(frames) == steps for frames in heard)
    late = sorted(at[i] - min(each[i] for each in heard if i in each) for at in heard for i in at)
    return (
        f"{whole} of {STREAMS} had all {steps}, {1e3 * late[int(0.99 * len(late))]:.0f} ms (99 %), {megabytes:.0f} MB"
    )


def _killed(page: Page, studio: Studio) -> str:
    events = studio.events()
    next(events)
    job = studio.draw(DIGITS, 64, 1000)
    next(data for name, data in events if name == "frame" and data["job"] == job)
    begun = monotonic()
    for worker in studio.workers():
        os.kill(worker, signal.SIGKILL)
    next(data for name, data in events if name == "job" and data["id"] == job and data["state"] == "failed")
    failed, begun = monotonic() - begun, monotonic()
    assert studio.ended(studio.draw(DIGITS, 4, 5))["state"] == "done"
    return f"{failed:.2f} s, {monotonic() - begun:.1f} s"


def _offline(page: Page, studio: Studio) -> str:
    """What a page has of a draw during which it heard nothing for some seconds, and how soon."""
    _show(page, studio, f"draw?run={DIGITS}&images=64&sampler=ddim&steps={LONG}", "Draw")
    page.evaluate(FIRST)
    page.context.set_offline(True)
    sleep(PAUSE)
    job = next(each["id"] for each in studio.ask("GET", "/api/state")["jobs"] if each["state"] == "running")
    page.context.set_offline(False)
    there, begun = studio.ask("GET", f"/api/jobs/{job}")["frames"]["count"], monotonic()
    until(page, f"{POSITIONS} >= {there}")
    seconds = monotonic() - begun
    until(page, AFTER)
    return f"none of {LONG} is; those of the pause are there after {seconds:.1f} s"


def _painted(page: Page, studio: Studio) -> str:
    job = studio.draw(DIGITS, 4, 5)
    studio.ended(job)
    _show(page, studio, f"edit?run={DIGITS}&task=inpaint&of={job}&image=0", "Generate")
    taken = page.evaluate(STROKE)
    return f"{median(taken):.1f} and {max(taken):.1f} ms"


def _dragged(page: Page, studio: Studio) -> str:
    _show(page, studio, f"schedule?run={DIGITS}", "Export JSON")
    page.wait_for_selector(".curve circle")
    box = page.locator(".curve circle").nth(1).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(60):
        page.mouse.move(x + i / 4, y + i)
    page.mouse.up()
    taken: Sequence[float] = page.evaluate("performance.getEntriesByName('schedule').map(({ duration }) => duration)")
    return f"{median(taken):.1f} and {max(taken):.1f} ms"


MEASURED: Sequence[tuple[str, str, str, Callable[[Page, Studio], str]]] = (
    ("T1", "start to listening, without torch", "2 s", _listening),
    ("T2", "navigation to a page that is usable", "1 s", _usable),
    ("T3", "a click to the first frame of 16 images, 8x8 and 28x28", "0.3 and 1 s", _first),
    ("T4", "a stop: calls after it arrived, a click to the page that says so", "1, 0.5 s and a call", _stopped),
    ("T5", "a frame while 50 steps of 64 images are scrubbed, median and 95 %", "17 and 25 ms", _scrubbed),
    ("T6", f"{STREAMS} streams and a stuck one during a draw", "all frames, 250 ms (99 %), 80 MB", _streams),
    ("T7", "the worker is killed: to the failure said, to the next draw", "1 and 20 s", _killed),
    ("T9", f"{PAUSE} s without a network during a draw", "no frame is lost", _offline),
    ("T13", "an event of a stroke of 200 points, median and longest", "4 ms", _painted),
    ("T14", "the schedule while a point is dragged, median and longest", "16 ms", _dragged),
)

if __name__ == "__main__":
    main()
