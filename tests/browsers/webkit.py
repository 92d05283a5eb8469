"""WebKitGTK's MiniBrowser, by WebDriver, on a display of Xvfb's.

Its driver tells nothing of what is complained of. A file is therefore opened as a copy that begins with LISTENER,
before the page's policy, and of whose neighbours there is none. What is not seen: what workers write to the console,
ask for or are forbidden, what WebKit itself writes there, what an error in a file says ("Script error." stands for it),
and of a page that is no file all but what it asks for.
"""

import json
import re
import socket
from base64 import b64decode
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from browsers.page import Opens, ScriptError
from browsers.webdriver import SECONDS, DrivenPage, running, until

MINI_BROWSER = str(next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), "MiniBrowser"))
PROGRAMS = ("WebKitWebDriver", "Xvfb", MINI_BROWSER)
NARROW = "window * { min-width: 0; min-height: 0; padding: 0; margin: 0; border-width: 0; font-size: 1px }"
"""Style of MiniBrowser's own window, whose buttons keep it from being less than 447 pixels wide."""
LISTENER = """<script>
window.complaints = [];
for (const name of ["debug", "error", "info", "log", "warn"]) {
  const write = console[name];
  console[name] = (...words) => { complaints.push(words.join(" ")); write.apply(console, words); };
}
addEventListener("error", (e) => complaints.push(e.message ?? `${e.target.src ?? e.target.href} did not load`), true);
addEventListener("unhandledrejection", (e) => complaints.push(String(e.reason)));
addEventListener("securitypolicyviolation", (e) => complaints.push(`${e.violatedDirective} forbids ${e.blockedURI}`));
document.currentScript.remove();
</script>"""


def opened(folder: Path, stack: ExitStack) -> Opens:
    style, output = folder / "gtk-3.0/gtk.css", folder / "output"
    style.parent.mkdir()
    style.write_text(NARROW)
    command = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "2000x2000x24"]
    xvfb = stack.enter_context(running(command, output))
    display = until(xvfb, lambda: re.search(r"(?m)^\d+(?=\n)", output.read_text()))[0]
    folders = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), str(folder))
    environment = {**folders, "DISPLAY": f":{display}", "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1"}
    return lambda url: WebKitPage(listening(url, folder), environment, stack.enter_context(ExitStack()))


def listening(url: str, folder: Path) -> str:
    """The address of a copy of a file with the listener in it; any other address as it is."""
    if urlsplit(url).scheme != "file":
        return url
    file = Path(unquote(urlsplit(url).path))
    copy = Path(mkdtemp(dir=folder)) / file.name
    text = re.sub(r"^(\s*<!doctype[^>]*>)?", lambda doctype: doctype[0] + LISTENER, file.read_text("utf-8"), flags=re.I)
    copy.write_text(text, "utf-8-sig")
    return url.replace(urldefrag(url).url, copy.as_uri())


class WebKitPage(DrivenPage):
    """A page with a driver and a browser of its own, since a driver has one session at a time."""

    def __init__(self, url: str, environment: dict[str, str], stack: ExitStack) -> None:
        super().__init__(url)
        self.environment, self.stack = environment, stack
        self.start()

    def start(self, *settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        command, output = ["WebKitWebDriver", f"--port={self.port}"], Path(self.environment["HOME"]) / "driver"
        process = self.stack.enter_context(running(command, output, **self.environment))
        until(process, self.ready)
        options = {"binary": MINI_BROWSER, "args": ["--automation", *settings]}
        wanted = {"webkitgtk:browserOptions": options, "timeouts": {"script": 1000 * SECONDS}}
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"
        self.stack.callback(self.ask, "DELETE", self.session)
        self.post("url", url=self.url)

    def ready(self) -> bool | None:
        try:
            return self.ask("GET", "/status")["ready"] or None
        except ConnectionError:
            return None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request(method, path, json.dumps(body) if body else None)
            got = json.load(connection.getresponse())["value"]
        if isinstance(got, dict) and "error" in got:
            raise ScriptError(f"{got['error']}: {got['message']}")
        return got

    def post(self, what: str, **body: Any) -> Any:
        return self.ask("POST", f"{self.session}/{what}", body)

    @property
    def complaints(self) -> list[str]:
        return [*self.evaluate("window.complaints ?? []"), *self.asked()]

    def answer(self, script: str) -> Any:
        return self.post("execute/sync", script=f"return {script}", args=[])

    def resize(self, width: int, height: int) -> None:
        across, down = self.evaluate("[outerWidth - innerWidth, outerHeight - innerHeight]")
        self.post("window/rect", width=width + across, height=height + down)
        self.wait(f"innerWidth === {width} && innerHeight === {height}")

    def act(self, actions: dict[str, Any]) -> None:
        self.post("actions", actions=[actions])

    def screenshot(self, file: Path) -> None:
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")  # is painted
        file.write_bytes(b64decode(self.ask("GET", f"{self.session}/screenshot")))

    def dark(self, on: bool) -> None:
        self.stack.close()
        self.start(*(["--dark-mode"] if on else []))
