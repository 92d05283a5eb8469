"""`python -m benchmarks.studio_pictures FOLDER RUN`: the pictures of docs/studio.md, of a run below a folder.

Every picture is a view of the page as it opens, after what the view is for was asked once; the run should be trained,
evaluated, swept and its likelihood measured before.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.studio import AFTER, CHROMIUM, Studio, until

OUT = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1200, 800
WIDE = 1440  # where an image and what is made of it stand beside one another
QUIET = 1500  # ms in which nothing of a view changes any more
SHOWN = "[...document.images].every((each) => !each.checkVisibility() || each.naturalWidth)"
CANVAS = "main .layers canvas[role=application]"
CHARTED = "document.querySelector('main .chart path.line')"
SETTLED = """(quiet) => new Promise((done) => {
  let timer = setTimeout(done, quiet);
  const again = () => (clearTimeout(timer), (timer = setTimeout(done, quiet)));
  const all = { subtree: true, childList: true, attributes: true };
  new MutationObserver(again).observe(document.querySelector("main"), all);
})"""
Act = Callable[[Page], None]


def main(folder: str, run: str) -> None:
    studio = Studio(folder)
    try:
        job = studio.draw(run, 36, 50)
        studio.ended(job)
        views: dict[str, tuple[str, str, Act]] = {
            "runs": ("runs", "document.querySelector('.card img')", _nothing),
            "train": (f"train?run={run}", CHARTED, _nothing),
            "draw": (f"draw?run={run}&images=36&seed=0&sampler=ddim&steps=50&job={job}", AFTER, _nothing),
            "trajectory": (f"trajectory?run={run}&job={job}&image=3", CHARTED, _within),
            "edit": (f"edit?run={run}&task=inpaint&of={job}&image=3", f"document.querySelector('{CANVAS}')", _filled),
            "schedule": (f"schedule?run={run}", CHARTED, _nothing),
            "numbers": (f"numbers?run={run}", CHARTED, _to("numbers-likelihood")),
            "share": (f"share?run={run}", "document.querySelector('main form')", _nothing),
            "tour": (f"tour?run={run}", "document.querySelector('.moments canvas')", _nothing),
        }
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.set_default_timeout(0)  # the machine may be busy with other things
            for name, (view, there, act) in views.items():
                page.set_viewport_size({"width": WIDE if name == "edit" else WIDTH, "height": HEIGHT})
                page.goto("about:blank")
                page.goto(f"{studio.address}&#/{view}")
                until(page, there)
                act(page)
                page.evaluate(SETTLED, QUIET)
                until(page, SHOWN)
                page.screenshot(path=OUT / f"studio-{name}.png")
            browser.close()
    finally:
        studio.end()


def _nothing(page: Page) -> None:
    """What the view opens with is what is shown."""


def _to(id: str) -> Act:
    """Scrolls to a heading."""
    return lambda page: page.locator(f"#{id}").evaluate("(each) => each.scrollIntoView({ block: 'start' })")


def _within(page: Page) -> None:
    """Goes to a step on the way."""
    page.locator(".film-bar input[type=range]").fill("30")


def _filled(page: Page) -> None:
    """Paints the middle of the image and fills it."""
    page.evaluate(SETTLED, QUIET)
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    for i in range(9):
        page.mouse.move(box["x"] + (0.3 + i / 20) * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    page.click("main button:text-is('Generate')")
    until(page, AFTER)


if __name__ == "__main__":
    main(*sys.argv[1:])
