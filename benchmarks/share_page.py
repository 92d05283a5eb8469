"""`python -m benchmarks.share_page PAGE.html ...`: how soon pages of `ancestral share` generate, and how they scrub.

A page is opened from disk in Chromium several times, for one image by the steps that it offers at first, and the median
is told. Then a finger moves over the film, on a window of a phone's size: 180 moves, one a frame.
"""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
OPENED = 5  # times
GENERATED = "#status:has-text('generated')"
SCRUB = """async () => {
  const slider = document.querySelector("#position"), work = [], frames = [];
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


def main(files: list[str]) -> None:
    print("| page | MB | to one image, s | a move, ms, median and 99 % | a frame, ms, median |\n|---|---|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for file in map(Path, files):
            page = browser.new_page(viewport={"width": 390, "height": 844})
            seconds = median(_opened(page, file) for _ in range(OPENED))
            scrubbed: dict[str, Any] = page.evaluate(SCRUB)
            work, frame = sorted(scrubbed["work"]), median(scrubbed["frames"])
            size, most = file.stat().st_size / 1e6, work[int(0.99 * len(work))]
            print(f"| {file.stem} | {size:.2f} | {seconds:.2f} | {median(work):.2f}, {most:.2f} | {frame:.1f} |")
            page.close()
        browser.close()


def _opened(page: Page, file: Path) -> float:
    """Seconds from the navigation to one whole image."""
    page.goto("about:blank")
    begun = perf_counter()
    page.goto(f"{file.resolve().as_uri()}#images=1")
    page.wait_for_selector(GENERATED)
    return perf_counter() - begun


if __name__ == "__main__":
    main(sys.argv[1:])
