"""What tests do in the studio's page, and what they see of it."""

import json
import math
from typing import Any

import numpy as np
from browsers import Browser, Page
from studio_calls import StudioProcess

ALERT = "document.querySelector('#alert').textContent"
STATUS = "document.querySelector('#status').textContent"
FILL = """(label, value) => {
  const found = [...document.querySelectorAll("main label")].find((each) => {
    return each.textContent.startsWith(label) && document.getElementById(each.htmlFor)?.checkVisibility();
  });
  if (!found) throw new Error(`there is no field ${label}`);
  const field = document.getElementById(found.htmlFor);
  if (field.type === "checkbox") return field.checked === value || field.click();
  field.value = value;
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  if (field.value !== String(value)) throw new Error(`${label} takes no ${value}`);
}"""
PRESS = """(words) => {
  const found = [...document.querySelectorAll("main button, main .choice label")].find((each) => {
    return each.textContent === words && each.checkVisibility();
  });
  if (!found || found.disabled) throw new Error(`there is no button ${words}`);
  found.click();
}"""
GIVE = """(place, content, name) => {
  const given = new DataTransfer();
  given.items.add(new File([Uint8Array.from(content)], name, { type: "image/png" }));
  const field = document.querySelector(place);
  if (field.type !== "file") {
    return field.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
  }
  field.files = given.files;
  field.dispatchEvent(new Event("change"));
}"""
PIXELS = """(place) => {
  const canvas = document.querySelector(place), { width, height } = canvas;
  return [height, width, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
}"""
WALL = ".film-wall canvas"


def shows(words: str) -> str:
    """Whether the view says something, as an expression."""
    return f"document.querySelector('main').textContent.includes({json.dumps(words)})"


def has_button(words: str) -> str:
    """Whether there is one to press, as an expression."""
    there = f"each.textContent === {json.dumps(words)} && each.checkVisibility() && !each.disabled"
    return f"[...document.querySelectorAll('main button')].some((each) => {there})"


def go(page: Page, fragment: str) -> None:
    """Shows a view in the page."""
    page.evaluate("(fragment) => { location.hash = fragment; }", fragment)


def opened(chromium: Browser, studio: StudioProcess, fragment: str, words: str) -> Page:
    """The page at a view, once that says something."""
    page = chromium.open(studio.address)
    go(page, fragment)
    page.wait(shows(words))
    return page


def fill(page: Page, **values: Any) -> None:
    """Fills in fields, by the beginnings of their labels."""
    for label, value in values.items():
        page.evaluate(FILL, label.replace("_", " "), value)


def press(page: Page, words: str) -> None:
    page.evaluate(PRESS, words)


def give(page: Page, place: str, content: bytes, name: str = "a.png") -> None:
    """Chooses a file in a field, or drops it onto another element."""
    page.evaluate(GIVE, place, [*content], name)


def begun(page: Page, words: str) -> str:
    """Presses what begins a job; its id, once the address has it."""
    before, alert = page.evaluate(f"[{JOB}, {ALERT}]")
    press(page, words)
    page.wait(f"{JOB} !== {json.dumps(before)} || ![{json.dumps(alert)}, ''].includes({ALERT})")
    assert page.evaluate(ALERT) == ""
    return job_of(page)


JOB = "new URLSearchParams(location.hash.split('?')[1]).get('job')"


def job_of(page: Page) -> str:
    return str(page.evaluate(JOB))


def ended(page: Page, studio: StudioProcess, job: str) -> dict[str, Any]:
    """A job once it has ended, and the page shows all of it."""
    page.wait(f"['Drawn', 'Generated'].includes({STATUS}) || ({ALERT})")
    assert page.evaluate(ALERT) == ""
    tree = studio.get(f"/api/jobs/{job}")
    assert tree["state"] == "done", tree["why"]
    return tree


def complaints(page: Page) -> list[str]:
    """What a page complains of, beside what tests do in it: they read canvases."""
    return [each for each in page.complaints if "willReadFrequently" not in each]


def canvas(page: Page, place: str) -> np.ndarray:
    """What a canvas shows, (H, W, 4)."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")  # it is drawn
    height, width, values = page.evaluate(PIXELS, place)
    return np.array(values, np.uint8).reshape(height, width, 4)


def wall(page: Page, count: int, side: int = 8) -> np.ndarray:
    """The images of a wall of grey ones, (N, H, W)."""
    seen, columns = canvas(page, WALL), math.ceil(math.sqrt(count))
    places = [(i // columns * (side + 1), i % columns * (side + 1)) for i in range(count)]
    return np.stack([seen[y : y + side, x : x + side, 0] for y, x in places])
