"""Firefox, by WebDriver BiDi over a web socket. It tells of all that is complained of, in workers too, but not of
requests for files.
"""

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from browsers.page import Opens, ScriptError
from browsers.webdriver import SECONDS, DrivenPage, running, until

PROGRAMS = ("firefox-esr",)

Ask = Callable[..., Any]
Events = list[dict[str, Any]]


def opened(folder: Path, stack: ExitStack) -> Opens:
    output, events = folder / "output", Events()
    remote = ["--remote-debugging-port=0", "--remote-allow-system-access"]  # the second for `dark`
    command = ["firefox-esr", "-headless", "-no-remote", "-profile", str(folder), *remote]
    process = stack.enter_context(running(command, output, HOME=str(folder)))
    address = until(process, lambda: re.search(r"ws://\S+(?=\n)", output.read_text()))[0]
    ask = connected(f"{address}/session", events, stack)
    ask("session.new", capabilities={})
    ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
    return lambda url: FirefoxPage(ask, events, url)


def connected(address: str, events: Events, stack: ExitStack) -> Ask:
    """A function that returns the result of a command; what is told of before it arrives is added to `events`.

    The web socket is read in a thread of its own, because Playwright may have a loop in this one.
    """
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    portal = stack.enter_context(start_blocking_portal())
    client = stack.enter_context(portal.wrap_async_context_manager(portal.call(aiohttp.ClientSession)))
    connecting = client.ws_connect(address, max_msg_size=0)
    socket = stack.enter_context(portal.wrap_async_context_manager(connecting))
    numbers = count()

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


class FirefoxPage(DrivenPage):
    def __init__(self, ask: Ask, events: Events, url: str) -> None:
        super().__init__(url)
        self.ask, self.events = ask, events
        self.context = ask("browsingContext.create", type="tab")["context"]
        self.command("browsingContext.navigate", url=url, wait="complete")

    def command(self, method: str, **params: Any) -> Any:
        return self.ask(method, context=self.context, **params)

    @property
    def complaints(self) -> list[str]:
        asked = self.asked()  # what has been told arrives before the answer
        ours = [event for event in self.events if event.get("source", event).get("context") in (self.context, None)]
        told = [event["text"] if "text" in event else event["request"]["url"] for event in ours]
        return [*dict.fromkeys([*self.others(told), *asked])]

    def answer(self, script: str) -> Any:
        got = self.ask("script.evaluate", expression=script, awaitPromise=True, target={"context": self.context})
        if got["type"] == "exception":
            raise ScriptError(got["exceptionDetails"]["text"])
        return got["result"]["value"]

    def resize(self, width: int, height: int) -> None:
        self.command("browsingContext.setViewport", viewport={"width": width, "height": height})

    def act(self, actions: dict[str, Any]) -> None:
        self.command("browsingContext.activate")
        self.command("input.performActions", actions=[actions])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(b64decode(self.command("browsingContext.captureScreenshot")["data"]))

    def dark(self, on: bool) -> None:
        window = self.ask("browsingContext.getTree", **{"moz:scope": "chrome"})["contexts"][0]["context"]
        script = f"Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', {int(not on)})"
        self.ask("script.evaluate", expression=script, awaitPromise=False, target={"context": window})
        self.wait(f"matchMedia('(prefers-color-scheme: {'dark' if on else 'light'})').matches")
