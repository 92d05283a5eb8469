"""Chromium, by Playwright. It tells of all that is complained of, in workers too, but not what they are forbidden."""

from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from browsers.page import Opens, Page, Points

PROGRAMS = ("chromium",)


def opened(folder: Path, stack: ExitStack) -> Opens:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright = stack.enter_context(api.sync_playwright())
    browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
    stack.callback(browser.close)
    return lambda url: ChromiumPage(browser.new_page(), url)


class ChromiumPage(Page):
    def __init__(self, page: Any, url: str) -> None:
        super().__init__(url)
        self.page, self.told = page, list[str]()
        page.on("console", lambda message: self.told.append(message.text))
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", lambda request: self.told.extend(self.others([request.url])))
        page.goto(url)

    @property
    def complaints(self) -> list[str]:
        self.evaluate("0")  # what has been told arrives before the answer
        return self.told

    def answer(self, script: str) -> Any:
        return self.page.evaluate(script)

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def key(self, name: str) -> None:
        self.page.keyboard.press(name)

    def drag(self, points: Points) -> None:
        mouse = self.page.mouse
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point)
        mouse.up()

    def screenshot(self, file: Path) -> None:
        self.page.screenshot(path=file)

    def dark(self, on: bool) -> None:
        self.page.emulate_media(color_scheme="dark" if on else "light")
