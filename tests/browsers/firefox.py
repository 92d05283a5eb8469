"""Firefox, by WebDriver BiDi over a web socket. It tells of all that is complained of, workers included."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import pytest
from anyio.from_thread import start_blocking_portal

from browsers.page import OPEN, Browser, Page, Points, ScriptError
from browsers.webdriver import SECONDS, key_actions, mouse_actions, running, until

PROGRAMS = ("firefox-esr",)

Ask = Callable[..., Any]
Events = list[dict[str, Any]]


def opened(folder: Path, stack: ExitStack) -> Browser:
    profile, output = folder / "profile", folder / "output"
    profile.mkdir()
    remote = ["--remote-debugging-port=0", "--remote-allow-system-access"]  # which setting the colours takes
    command = ["firefox-esr", "-headless", "-no-remote", "-profile", str(profile), *remote]
    process = stack.enter_context(running(command, output, HOME=str(folder)))
    address = until(process, lambda: re.search(r"ws://\S+(?=\n)", output.read_text()))[0]
    events: Events = []
    ask = connected(f"{address}/session", events, stack)
    ask("session.new", capabilities={})
    ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
    return Browser(lambda url: FirefoxPage(ask, events, url))


def connected(address: str, events: Events, stack: ExitStack) -> Ask:
    """A function that returns the result of a command; events that arrive before it are kept.

    The web socket is read in a thread of its own, because Playwright may have a loop in this one."""
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pages are not tried in firefox")
    portal = stack.enter_context(start_blocking_portal())
    client = stack.enter_context(portal.wrap_async_context_manager(portal.call(aiohttp.ClientSession)))
    connecting = client.ws_connect(address, max_msg_size=0)
    socket = stack.enter_context(portal.wrap_async_context_manager(connecting))
    numbers = count(1)

    async def result(method: str, params: dict[str, Any]) -> Any:
        number = next(numbers)
        async with asyncio.timeout(SECONDS):
            await socket.send_json({"id": number, "method": method, "params": params})
            while (got := await socket.receive_json()).get("id") != number:
                events.append(got["params"])
        if "error" in got:
            raise ScriptError(got["message"])
        return got["result"]

    return lambda method, **params: portal.call(result, method, params)


class FirefoxPage(Page):
    def __init__(self, ask: Ask, events: Events, url: str) -> None:
        self.ask, self.events, self.own = ask, events, urldefrag(url).url
        self.context = ask("browsingContext.create", type="tab")["context"]
        ask("browsingContext.navigate", context=self.context, url=url, wait="complete")

    @property
    def complaints(self) -> list[str]:
        asked = self.resources()  # what has been told arrives before the answer
        ours = [event for event in self.events if event.get("source", event).get("context") in (self.context, None)]
        told = [event["text"] if "text" in event else event["request"]["url"] for event in ours]
        others = [url for url in [*told, *asked] if urldefrag(url).url != self.own and not url.startswith(OPEN)]
        return [*dict.fromkeys(others)]

    def answer(self, script: str) -> Any:
        got = self.ask("script.evaluate", expression=script, awaitPromise=True, target={"context": self.context})
        if got["type"] == "exception":
            raise ScriptError(got["exceptionDetails"]["text"])
        return got["result"]["value"]

    def resize(self, width: int, height: int) -> None:
        self.ask("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height})

    def key(self, name: str) -> None:
        self.act(key_actions(name))

    def drag(self, points: Points) -> None:
        self.act(mouse_actions(points))

    def act(self, actions: dict[str, Any]) -> None:
        self.ask("browsingContext.activate", context=self.context)
        self.ask("input.performActions", context=self.context, actions=[actions])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(b64decode(self.ask("browsingContext.captureScreenshot", context=self.context)["data"]))

    def dark(self, on: bool) -> None:
        window = self.ask("browsingContext.getTree", **{"moz:scope": "chrome"})["contexts"][0]["context"]
        script = f"Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', {int(not on)})"
        self.ask("script.evaluate", expression=script, awaitPromise=False, target={"context": window})

    def close(self) -> None:
        self.ask("browsingContext.close", context=self.context)
