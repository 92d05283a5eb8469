"""Chromium, by Playwright. It tells of all that is complained of, in workers too, but not what they are forbidden.

A page has a profile of its own while it is open. A new one takes Chromium longer than most tests take, so that of a
page that was closed is used again, emptied.
"""

from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from browsers.page import Opens, Page, Points

PROGRAMS = ("chromium",)
OPEN: list["ChromiumPage"] = []
"""Pages that are open, the newest last."""
FORGET = "(() => { try { localStorage.clear(); } catch { /* a page that may keep nothing */ } })()"


def opened(folder: Path, stack: ExitStack) -> Opens:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright = stack.enter_context(api.sync_playwright())
    browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
    stack.callback(OPEN.clear)
    stack.callback(browser.close)
    unused = list[Any]()

    def opens(url: str) -> ChromiumPage:
        context = unused.pop() if unused else browser.new_context()
        OPEN.append(ChromiumPage(context.new_page(), url, unused))
        return OPEN[-1]

    return opens


def close_newer_than(count: int) -> None:
    """Closes pages but for the first so many."""
    while len(OPEN) > count:
        OPEN[-1].close()


class ChromiumPage(Page):
    def __init__(self, page: Any, url: str, unused: list[Any]) -> None:
        super().__init__(url)
        self.page, self.told, self.unused = page, list[str](), unused
        page.on("console", lambda message: self.told.append(message.text))
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", lambda request: self.told.extend(self.others([request.url])))
        page.goto(url)

    def close(self) -> None:
        """The next page is opened in its profile."""
        self.evaluate(FORGET)
        context = self.page.context
        self.page.close()
        context.clear_cookies()
        context.set_offline(False)
        self.unused.append(context)
        OPEN.remove(self)

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
