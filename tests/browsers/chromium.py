"""Chromium, by Playwright. It tells of all that is complained of, workers included."""

from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urldefrag

import pytest

from browsers.page import OPEN, Browser, Page, Points

PROGRAMS = ("chromium",)


def opened(folder: Path, stack: ExitStack) -> Browser:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright = stack.enter_context(api.sync_playwright())
    browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
    stack.callback(browser.close)
    return Browser(lambda url: ChromiumPage(browser.new_page(), url))


class ChromiumPage(Page):
    def __init__(self, page: Any, url: str) -> None:
        self.page, self.told, own = page, list[str](), urldefrag(url).url
        page.on("console", lambda message: self.told.append(message.text))
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", lambda request: self.asked(request.url) if urldefrag(request.url).url != own else None)
        page.goto(url)

    def asked(self, url: str) -> None:
        if not url.startswith(OPEN):
            self.told.append(url)

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

    def close(self) -> None:
        self.page.close()
