"""Pages are opened in every browser that is installed: one whole test at once, the others in the soak."""

from collections.abc import Iterator

import pytest
from browsers import BROWSERS, Browser, opened_browser


def each(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium, Firefox and WebKit in turn; skips, saying so, where one is not installed."""
    if request.param == "chromium":  # of which a process has one: Playwright allows no second
        yield request.getfixturevalue("chromium")
        return
    with opened_browser(request.param) as browser:
        yield browser


every_browser_at_once = pytest.fixture(scope="module", params=BROWSERS, name="every_browser_at_once")(each)
each_browser = pytest.fixture(
    scope="module",
    params=[name if name == "chromium" else pytest.param(name, marks=pytest.mark.slow) for name in BROWSERS],
    name="each_browser",
)(each)
