"""One interface to three browsers: Chromium, Firefox, and WebKitGTK as Safari's next of kin on Linux.

with opened_browser("firefox") as browser:
    page = browser.open(tmp_path / "page.html")
    assert page.evaluate("document.title") == "a page"
    assert page.complaints == []
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import pytest

from browsers import chromium, firefox, webkit
from browsers.page import Browser, Page, ScriptError

__all__ = ["BROWSERS", "Browser", "Page", "ScriptError", "opened_browser"]

BROWSERS = {"chromium": chromium, "firefox": firefox, "webkit": webkit}


@contextmanager
def opened_browser(name: str) -> Iterator[Browser]:
    """One of BROWSERS, with a new profile; the test is skipped, saying so, where it is not installed."""
    if missing := [program for program in BROWSERS[name].PROGRAMS if not which(program)]:
        pytest.skip(f"{missing[0]} is not installed: pages are not tried in {name}")
    with TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        yield Browser(name, BROWSERS[name].opened(Path(folder), stack))
