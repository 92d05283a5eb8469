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
PATIENCE = 2000  # ms for what a view fetches
SETTLED = "document.querySelector('#view').childElementCount && !document.querySelector('progress:not([hidden])')"
Act = Callable[[Page], None]


def main(folder: str, run: str) -> None:
    studio = Studio(folder)
    try:
        job = studio.draw(run, 36, 50)
        studio.ended(job)
        views: dict[str, tuple[str, Act]] = {
            "runs": ("runs", _nothing),
            "train": (f"train?run={run}", _nothing),
            "draw": (
                f"draw?run={run}&images=36&seed=0&sampler=ddim&steps=50&job={job}",
                lambda page: until(page, AFTER),
            ),
            "trajectory": (f"trajectory?run={run}&job={job}&image=3&step=30", _nothing),
            "edit": (f"edit?run={run}&task=inpaint&of={job}&image=3", _filled),
            "schedule": (f"schedule?run={run}", _nothing),
            "numbers": (f"numbers?run={run}", _to("numbers-likelihood")),
            "share": (f"share?run={run}", _nothing),
            "tour": (f"tour?run={run}", _nothing),
        }
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            for name, (view, act) in views.items():
                page.goto("about:blank")
                page.goto(f"{studio.address}&#/{view}")
                until(page, SETTLED)
                act(page)
                page.wait_for_timeout(PATIENCE)
                page.screenshot(path=OUT / f"studio-{name}.png")
            browser.close()
    finally:
        studio.end()


def _nothing(page: Page) -> None:
    """What the view opens with is what is shown."""


def _to(id: str) -> Act:
    """Scrolls to a heading."""
    return lambda page: page.locator(f"#{id}").evaluate("(each) => each.scrollIntoView({ block: 'start' })")


def _filled(page: Page) -> None:
    """Paints the middle of the image and fills it."""
    page.wait_for_selector(".layers canvas[role=application]")
    box = page.locator(".layers canvas[role=application]").bounding_box()
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
