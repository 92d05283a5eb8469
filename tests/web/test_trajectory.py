"""The view of a trajectory, in Chromium: every step, at the pace of a screen, and the way of one pixel."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browsers import Browser, Page
from page_calls import begun, canvas, complaints, ended, fill, opened, press, shows, wall
from studio_calls import StudioProcess

IMAGES, STEPS = 64, 50
SLIDER = "document.querySelector('.film-bar input')"
SCRUB = f"""(async () => {{
  const slider = {SLIDER}, times = [];
  for (let frame = 0, before = performance.now(); frame < 180; frame++) {{
    slider.value = String(Math.abs((frame % 100) - 50));
    slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - before);
    before = performance.now();
  }}
  return times;
}})()"""
WORK = f"""(async () => {{
  const slider = {SLIDER}, times = [], own = window.requestAnimationFrame;
  let drawn = () => {{}};
  window.requestAnimationFrame = (act) => ((drawn = act), 1);
  for (let frame = 0; frame < 100; frame++) {{
    const begun = performance.now();
    slider.value = String(frame % 50);
    slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
    drawn(begun);
    times.push(performance.now() - begun);
  }}
  window.requestAnimationFrame = own;
  return times;
}})()"""


@pytest.fixture(scope="module")
def drawn(studio: StudioProcess) -> Iterator[dict[str, Any]]:
    """A job that has drawn 64 images in 50 steps."""
    settings = {"num_images": IMAGES, "sampling": {"steps": STEPS}}
    asked = {"kind": "sample", "run": "model:digits", "view": "test", "settings": settings}
    with studio.events() as events:
        id = studio.post("/api/jobs", asked).value["id"]
        job = next(each.data["job"] for each in events if each.name == "result" and each.data["job"]["id"] == id)
    assert job["state"] == "done", job
    yield job


@pytest.fixture
def film(drawn: dict[str, Any], studio: StudioProcess) -> np.ndarray:
    """Its frames, (K, 2, B, H, W)."""
    answer = studio.ask("GET", f"/api/jobs/{drawn['id']}/frames", headers=studio.own_headers())
    return np.frombuffer(answer.body, np.uint8).reshape(STEPS + 1, 2, IMAGES, 8, 8)


@pytest.fixture
def page(chromium: Browser, studio: StudioProcess, drawn: dict[str, Any]) -> Page:
    """The view of that job, whole."""
    found = opened(chromium, studio, f"#/trajectory?run=model%3Adigits&job={drawn['id']}", "The chosen pixel")
    found.wait(f"{SLIDER}.max === '{STEPS}'")
    return found


def key(page: Page, place: str, *names: str) -> None:
    page.evaluate(f"document.querySelector({json.dumps(place)}).focus()")
    for name in names:
        page.key(name)


def test_every_step_is_shown_by_keys(page: Page, film: np.ndarray) -> None:
    for which, name in ((1, "x₀ estimate"), (0, "xₜ")):
        press(page, name)
        key(page, ".film-bar input", "Home")
        assert (wall(page, IMAGES) == film[0, which]).all()
        key(page, ".film-bar input", "ArrowRight", "ArrowRight")
        assert (wall(page, IMAGES) == film[2, which]).all()
        assert "step 3 of 50, t = " in page.evaluate(f"{SLIDER}.getAttribute('aria-valuetext')")
        key(page, ".film-bar input", "End")
        assert (wall(page, IMAGES) == film[-1, which]).all()
    key(page, ".film-bar input", "Home", "Space")
    page.wait(f"Number({SLIDER}.value) > 3")
    key(page, ".film-bar input", "Space")
    stopped = page.evaluate(f"{SLIDER}.value")
    assert page.evaluate(f"new Promise((done) => setTimeout(() => done({SLIDER}.value), 200))") == stopped
    assert complaints(page) == []


def test_scrubbing_keeps_pace_with_the_screen(page: Page) -> None:
    """Of 64 images, of which every one is drawn anew at each step."""
    taken, work = np.array(page.evaluate(SCRUB)), np.array(page.evaluate(WORK))
    median, late = np.percentile(taken, [50, 95])
    print(f"frames {median:.1f} ms, p95 {late:.1f}; work {np.median(work):.2f} ms, p99 {np.percentile(work, 99):.2f}")
    assert np.median(work) < 8, "of 16 ms"
    assert median < 40, "on a machine that is busy with other things"


def test_a_pixel_is_followed_and_the_schedule_marks_the_place(page: Page, film: np.ndarray) -> None:
    key(page, ".film-wall canvas", "ArrowDown", "ArrowRight")  # image 9 + 1
    key(page, ".layers canvas", *["ArrowLeft"] * 4, *["ArrowUp"] * 2)  # column 0, row 2
    key(page, ".film-bar input", "Home", *["ArrowRight"] * 7)
    assert (canvas(page, ".layers canvas")[..., 0] == film[7, 1, 9]).all()
    x_t, x_0 = film[7, :, 9, 2, 0]
    assert f"column 1, row 3: xₜ {x_t}, x₀ estimate {x_0} of 255" in page.evaluate(
        "document.querySelector('main').textContent"
    )
    page.evaluate(
        "[...document.querySelectorAll('section')].find((each) => each.ariaLabel === 'The chosen pixel')"
        ".querySelector('summary').click()"
    )
    page.wait(shows("As a table"))
    rows = page.evaluate(
        "[...document.querySelectorAll('section[aria-label=\"The chosen pixel\"] tbody tr')]"
        ".map((row) => [...row.children].map((each) => Number(each.textContent)))"
    )
    assert rows and all([x, y] == [*film[int(i) - 1, :, 9, 2, 0]] for i, x, y in rows)

    place = "Number(document.querySelector('.place').getAttribute('x1'))"
    for axis in ("step", "t", "log-SNR"):
        fill(page, Along={"step": "step", "t": "t", "log-SNR": "snr"}[axis])
        places = []
        for move in ("Home", "ArrowRight", "End"):
            key(page, ".film-bar input", move)
            places.append(page.evaluate(place))
        assert places == sorted(places) and 0 < places[0] < places[1] < places[2], axis
    page.evaluate(
        """(() => {
          const drawn = document.querySelector("section[aria-label='Share of the signal'] svg");
          const { left, top } = drawn.getBoundingClientRect();
          drawn.dispatchEvent(new MouseEvent("click", { clientX: left + 58, clientY: top + 20, bubbles: true }));
        })()"""
    )
    assert page.evaluate(f"{SLIDER}.value") == "0"


def test_images_go_on_in_another_way_beside_what_they_became(
    page: Page, film: np.ndarray, studio: StudioProcess
) -> None:
    key(page, ".film-bar input", "Home", *["ArrowRight"] * 9)
    fill(page, Class="7", Sampler="ancestral")
    page.wait(shows("--branch 9 --then-classes 7 --then-sampler ancestral"))
    press(page, "Branch")
    page.wait(shows("right after step 9 by class 7, ancestral. At the end: They differ"))
    job = page.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('branch')")
    answer = studio.ask("GET", f"/api/jobs/{job}/frames", headers=studio.own_headers())
    branch = np.frombuffer(answer.body, np.uint8).reshape(film.shape)
    assert (branch[:10, 0] == film[:10, 0]).all() and (branch[10:, 0] != film[10:, 0]).any((1, 2, 3)).all()
    assert {*studio.get(f"/api/jobs/{job}")["frames"]["labels"][:2]} == {"0, then 7", "1, then 7"}
    key(page, ".film-bar input", "End")
    seen = canvas(page, ".film-wall canvas")[:8, :17, 0]
    assert (seen[:, :8] == film[-1, 1, 0]).all() and (seen[:, 9:] == branch[-1, 1, 0]).all()
    press(page, "Show the first alone")
    page.wait("document.querySelector('.film-wall canvas').width === 71")
    assert (wall(page, IMAGES) == film[-1, 1]).all()


def test_what_is_drawn_is_followed_from_the_view_of_drawing(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, "#/draw?run=model%3Adigits&images=3&steps=4", "Next seeds")
    job = begun(page, "Draw")
    ended(page, studio, job)
    key(page, ".film-wall canvas", "ArrowRight")
    page.evaluate(
        "[...document.querySelectorAll('main a')].find((each) => each.textContent === 'Follow its steps').click()"
    )
    page.wait(shows("The chosen pixel"))
    page.wait(f"{SLIDER}.max === '4'")
    assert "image 2 of 3" in page.evaluate("document.querySelector('.moment').textContent")
