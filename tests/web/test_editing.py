"""The view of editing, in Chromium: what is painted by pointer, keys and numbers, and what comes of each task."""

import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Browser, Page
from page_calls import ALERT, WALL, begun, canvas, complaints, ended, fill, give, go, opened, press, shows, wall
from PIL import Image
from studio_calls import StudioProcess

from ancestral.cli.main import main
from ancestral.jobs.edit_tasks import TASKS

MASK = ".layers canvas + canvas"
COMMAND = "document.querySelector('.command code').textContent"
LABEL = f"document.querySelector('{MASK}').getAttribute('aria-label')"


@pytest.fixture(scope="module")
def drawn(studio: StudioProcess) -> Iterator[dict[str, Any]]:
    """A job that has drawn two digits."""
    settings = {"num_images": 2, "sampling": {"steps": 5}}
    asked = {"kind": "sample", "run": "model:digits", "view": "test", "settings": settings}
    with studio.events() as events:
        id = studio.post("/api/jobs", asked).value["id"]
        job = next(each.data["job"] for each in events if each.name == "result" and each.data["job"]["id"] == id)
    assert job["state"] == "done", job
    yield job


@pytest.fixture
def page(chromium: Browser, studio: StudioProcess, drawn: dict[str, Any]) -> Page:
    """The view, with the second digit in it."""
    found = opened(chromium, studio, f"#/edit?run=model%3Adigits&of={drawn['id']}&image=1&steps=3", "Open a mask")
    found.wait("new URLSearchParams(location.hash.split('?')[1]).get('a')")
    return found


def painted(page: Page, side: int = 8) -> np.ndarray:
    """What is painted, (H, W), by the middles of the pixels of its canvas."""
    aside = "new PointerEvent('pointermove', { clientX: -9, clientY: -9 })"
    page.evaluate(f"document.querySelector('{MASK}').dispatchEvent({aside})")
    seen = canvas(page, MASK)[..., 0]
    step = seen.shape[0] // side
    return seen[step // 2 :: step, step // 2 :: step] == 230


def pixels(page: Page) -> list[float]:
    """Left, top and side of the canvas that is painted on, in the window."""
    page.evaluate(f"document.querySelector('{MASK}').scrollIntoView({{ block: 'center', behavior: 'instant' }})")
    return list(
        page.evaluate(
            f"(({{ x, y, width }}) => [x, y, width])(document.querySelector('{MASK}').getBoundingClientRect())"
        )
    )


def drag(page: Page, *places: tuple[int, int]) -> None:
    """Paints from pixel to pixel, (column, row)."""
    left, top, side = pixels(page)
    page.drag([(int(left + (x + 0.5) * side / 8), int(top + (y + 0.5) * side / 8)) for x, y in places])


def keys(page: Page, *names: str) -> None:
    page.evaluate(f"document.querySelector('{MASK}').focus()")
    for name in names:
        page.key(name)


def test_pointer_keys_and_numbers_paint_the_same_mask(page: Page) -> None:
    wanted = np.zeros((8, 8), bool)
    wanted[2:5, 1:4] = True
    masks = []
    for row in range(2, 5):
        drag(page, (1, row), (3, row))
    masks.append(painted(page))
    press(page, "Clear")
    keys(page, *["ArrowLeft"] * 8, *["ArrowUp"] * 8, "ArrowRight", "ArrowDown", "ArrowDown", "Space")
    keys(
        page,
        *["Shift+ArrowRight"] * 2,
        "Shift+ArrowDown",
        *["Shift+ArrowLeft"] * 2,
        "Shift+ArrowDown",
        *["Shift+ArrowRight"] * 2,
    )
    masks.append(painted(page))
    press(page, "Clear")
    fill(page, Top=2, Left=1, Bottom=5, Right=4)
    press(page, "Paint the box")
    masks.append(painted(page))
    press(page, "Clear")
    press(page, "Box")
    drag(page, (3, 4), (1, 2))
    masks.append(painted(page))
    for mask in masks:
        assert (mask == wanted).all()
    press(page, "Erase")
    drag(page, (2, 2), (2, 2))
    wanted[2, 2] = False
    assert (painted(page) == wanted).all()
    press(page, "Invert")
    assert (painted(page) == ~wanted).all()
    press(page, "Undo")
    press(page, "Undo")
    wanted[2, 2] = True
    assert (painted(page) == wanted).all()
    assert "9 of 64 pixels painted" in page.evaluate(LABEL)


def test_a_long_stroke_is_quick_and_right(page: Page) -> None:
    """Two hundred events, of which each paints a pixel beside the last."""
    times, mask = page.evaluate(
        f"""(() => {{
          const canvas = document.querySelector("{MASK}"), box = canvas.getBoundingClientRect(), times = [];
          const send = (kind, x, y) => {{
            const clientX = box.left + ((x + 0.5) * box.width) / 8, clientY = box.top + ((y + 0.5) * box.height) / 8;
            canvas.dispatchEvent(new PointerEvent(kind, {{ pointerId: 1, button: 0, clientX, clientY }}));
          }};
          canvas.setPointerCapture = () => {{}};
          send("pointerdown", 0, 0);
          const reached = new Set(["0 0"]);
          for (let i = 1; i <= 200; i++) {{
            const x = i % 14 < 8 ? i % 14 : 14 - (i % 14), y = Math.floor(i / 26);
            const begun = performance.now();
            send("pointermove", x, y);
            times.push(performance.now() - begun);
            reached.add(`${{x}} ${{y}}`);
          }}
          send("pointerup", 0, 0);
          return [times, [...reached]];
        }})()"""
    )
    wanted = np.zeros((8, 8), bool)
    for place in mask:
        x, y = map(int, place.split())
        wanted[y, x] = True
    assert (painted(page) == wanted).all()
    print(f"events of {np.median(times):.2f} ms, p95 {np.percentile(times, 95):.2f}, at most {max(times):.2f}")
    assert np.median(times) < 4, times


def test_what_is_not_painted_is_kept_to_the_bit(
    page: Page, chromium: Browser, studio: StudioProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rest is what the command fills in, which the page shows, of files that the page saves."""
    drag(page, (2, 2), (5, 2), (5, 6))
    mask = painted(page)
    source = canvas(page, ".layers canvas")[..., 0]
    fill(page, Rounds="2", Results="3", Seed="4", Class="3")
    job = ended(page, studio, begun(page, "Generate"))
    results = wall(page, 3)
    assert (results[:, ~mask] == source[~mask]).all() and (results[:, mask] != source[mask]).any()
    page.wait(shows(f"Kept to the bit: {(~mask).sum()} of 64 pixels, in all 3 results."))
    assert page.evaluate(COMMAND) == job["command"]
    for name in ("image", "mask"):
        (id,) = [job["settings"][name]] if name == "mask" else job["settings"]["images"]
        sent = studio.ask("GET", f"/api/uploads/{id}.png", headers=studio.own_headers()).body
        (tmp_path / f"{name}.png").write_bytes(sent)
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(job["command"])[1:], "--out", str(tmp_path)]) == 0
    files = [np.asarray(Image.open(tmp_path / f"inpaint-seed-{seed}.png").convert("L")) for seed in (4, 5, 6)]
    assert (results == files).all()

    page.evaluate(f"document.querySelector('{WALL}').focus()")
    page.key("ArrowRight")
    before = page.evaluate("location.hash")
    press(page, "Edit this one")
    assert (canvas(page, ".layers canvas")[..., 0] == results[1]).all()
    page.wait(f"location.hash !== {json.dumps(before)}")  # once the server has the image
    assert complaints(page) == []

    beside = opened(chromium, studio, page.evaluate("location.hash"), "after")  # by its address alone
    beside.wait("document.querySelector('.layers canvas')?.width === 8")
    seen = "[...document.querySelector('.layers canvas').getContext('2d').getImageData(0, 0, 8, 8).data]"
    beside.wait(f"String({seen}.filter((_, i) => i % 4 === 0)) === '{','.join(map(str, results[1].flatten()))}'")


def test_a_mask_with_greys_is_cut_where_all_can_see(page: Page) -> None:
    grey = np.repeat(np.array([[0, 60, 127, 128, 200, 255, 0, 255]], np.uint8), 8, 0)
    content = io.BytesIO()
    Image.fromarray(grey).save(content, "PNG")
    give(page, ".layers + .form input[type=file]", content.getvalue())
    page.wait(shows("32 pixels of the mask are grey: those from 128 on are painted"))
    assert (painted(page) == (grey >= 128)).all()
    press(page, "Undo")
    assert not painted(page).any()


def test_what_is_missing_is_said(chromium: Browser, studio: StudioProcess, page: Page) -> None:
    press(page, "Generate")
    page.wait(f"{ALERT}.startsWith('expected a mask; paint')")
    bare = opened(chromium, studio, "#/edit?run=model%3Adigits&task=interpolate", "Generate")
    press(bare, "Generate")
    bare.wait(f"{ALERT}.startsWith('expected the first image')")


GIVEN: dict[str, dict[str, Any]] = {
    "outpaint": {"Rounds": "1", "Right": 4},
    "vary": {"Results": "2"},
    "interpolate": {"Images on the way": 3},
    "invert": {},
    "enlarge": {"Results": "1"},
    "deblur": {"Results": "1", "Deviation": 0.5},
    "canvas": {"Height": 8, "Width": 12, "Results": "1"},
    "tile": {"Results": "1"},
}
"""The tasks that take grey images, and what is filled in."""


@pytest.mark.parametrize("task", GIVEN)
def test_every_task_is_done(task: str, page: Page, studio: StudioProcess) -> None:
    title = {"outpaint": "Continue", "vary": "Vary", "deblur": "Sharpen"}.get(task, task.capitalize())
    page.evaluate(f"[...document.querySelectorAll('.tabs a')].find((each) => each.textContent === '{title}').click()")
    page.wait(f"document.querySelector('.tabs [aria-current]').textContent === '{title}'")
    for label, value in GIVEN[task].items():
        fill(page, **{label: value})
    if task == "interpolate":
        press(page, "second")
        content = io.BytesIO()
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(content, "PNG")
        give(page, "#view > div", content.getvalue())
        page.wait("new URLSearchParams(location.hash.split('?')[1]).get('b')")
    job = ended(page, studio, begun(page, "Generate"))
    assert job["settings"]["task"] == task and job["frames"]["count"] == len(job["frames"]["steps"])
    shape = {"outpaint": [1, 8, 12], "canvas": [1, 8, 12]}.get(task, [1, 8, 8])
    assert job["frames"]["shape"] == shape
    page.wait(f"{COMMAND}.startsWith('ancestral edit {task} ')")
    assert complaints(page) == []


def test_the_page_offers_what_the_command_offers(page: Page) -> None:
    offered = page.evaluate("[...document.querySelectorAll('.tabs a')].map((each) => /task=(\\w+)/.exec(each.hash)[1])")
    assert sorted(offered) == sorted(TASKS)
    go(page, "#/edit?run=model%3Adigits&task=colorize&steps=3")
    page.wait(shows("Colours a grey image."))
