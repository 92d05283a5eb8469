"""What a page can in every browser, and what is done by scripts in the page."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin

import pytest

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
LONGEST = 180  # s that anything may take
MIDDLE = """(selector) => {
  const found = document.querySelector(selector);
  if (!found) throw new Error(`there is no ${selector}`);
  found.scrollIntoView({ behavior: "instant", block: "center", inline: "center" });
  const { left, top, width, height } = found.getBoundingClientRect();
  const [x, y] = [Math.floor(left + width / 2), Math.floor(top + height / 2)], hit = document.elementFromPoint(x, y);
  if (!found.contains(hit)) throw new Error(`${selector} is covered by ${hit?.outerHTML.slice(0, 100)}`);
  return [x, y];
}"""
FINDINGS = """async (standards) => {
  const { violations } = await axe.run({ runOnly: standards });
  return violations.flatMap(({ id, impact, help, nodes }) =>
    nodes.map(({ target }) => `${id} (${impact}): ${help}: ${target.join(" ")}`));
}"""

Opens = Callable[[str], "Page"]
Points = Sequence[tuple[int, int]]


class ScriptError(Exception):
    """A script of a test threw in the page, or the browser refused a command."""


class Page(ABC):
    """A page in a browser, open as long as that is. Lengths are CSS pixels, positions are in the viewport."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    @abstractmethod
    def complaints(self) -> list[str]:
        """What was written to the console, thrown and not caught, forbidden by the page's policy, or asked for beside
        the page itself. The modules of the browsers say what each does not tell."""

    @abstractmethod
    def answer(self, script: str) -> Any:
        """The string that the promise of an expression becomes."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Sets the size of the viewport."""

    @abstractmethod
    def key(self, name: str) -> None:
        """Presses a key by its name in the standard, "a", "Tab", "ArrowLeft", "Space", or several: "Shift+Tab"."""

    @abstractmethod
    def drag(self, points: Points) -> None:
        """Presses the mouse at the first point, moves it to each, and releases it at the last."""

    @abstractmethod
    def screenshot(self, file: Path) -> None:
        """Writes the viewport as PNG."""

    @abstractmethod
    def dark(self, on: bool) -> None:
        """Sets `prefers-color-scheme`: Firefox for all its pages, WebKit by opening the page anew."""

    def evaluate(self, expression: str, *given: Any) -> Any:
        """The value of an expression, or of a function called with what is given; promises are awaited.

        It is run whatever the page's policy is, and returns what JSON can hold: NaN and undefined become None, a typed
        array an object, so make it a list by `[...array]`.

        Raises:
            ScriptError: the expression throws, or its promise is rejected.
        """
        value = f"({expression}\n)" + (f"(...{json.dumps(given)})" if given else "")
        tried = f"try {{ return JSON.stringify({{ value: await {value} }}); }}"
        caught = "catch (error) { return JSON.stringify({ error: String(error) }); }"
        found = json.loads(self.answer(f"(async () => {{ {tried} {caught} }})()"))
        if "error" in found:
            raise ScriptError(found["error"])
        return found.get("value")

    def wait(self, expression: str) -> None:
        """Returns once the expression is true, which is looked at every few milliseconds. It may take very long: a
        test is about what happens, and the machine may be busy."""
        end = f"const end = performance.now() + {1000 * LONGEST};"
        late = f"if (performance.now() > end) throw new Error({json.dumps(f'not true in {LONGEST} s: {expression}')});"
        again = f"while (!(await ({expression}\n))) {{ {late} await new Promise((done) => setTimeout(done, 5)); }}"
        self.evaluate(f"(async () => {{ {end} {again} }})()")

    def click(self, selector: str) -> None:
        """Scrolls to the first element that fits and clicks at its middle, which nothing may cover."""
        x, y = self.evaluate(MIDDLE, selector)
        self.drag([(x, y)])

    def axe(self, standards: Sequence[str] = STANDARDS) -> list[str]:
        """What axe-core finds: the rule, how grave it is, what is asked, and the element; a line for each."""
        pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
        source = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        self.evaluate(f"(() => {{ if (!window.axe) {{ {source}\n }} }})()")
        found: list[str] = self.evaluate(FINDINGS, list(standards))
        return found

    def asked(self) -> list[str]:
        """What the page has asked for by its own account."""
        return self.others(self.evaluate("performance.getEntriesByType('resource').map((each) => each.name)"))

    def others(self, told: Iterable[str]) -> list[str]:
        """All but the address of the page, what a page that was served asks of its own server, and those for which
        nobody is asked."""
        own, served = urldefrag(self.url).url, urljoin(self.url, "/") if self.url.startswith("http") else "data:"
        harmless = ("data:", "blob:", served)
        return [each for each in told if urldefrag(each).url != own and not each.startswith(harmless)]


class Browser(NamedTuple):
    """Opens pages, which are closed with it."""

    name: str
    opens: Opens

    def open(self, what: Path | str) -> Page:
        """A new page of a file or an address, once it has loaded."""
        return self.opens(what.resolve().as_uri() if isinstance(what, Path) else what)
