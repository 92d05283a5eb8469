"""Pages are opened in every browser that is installed."""

from collections.abc import Iterator

import pytest
from browsers import BROWSERS, Browser, opened_browser


@pytest.fixture(scope="module", params=BROWSERS)
def each_browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium, Firefox and WebKit in turn; skips, saying so, where one is not installed."""
    if request.param == "chromium":  # of which a process has one: Playwright allows no second
        yield request.getfixturevalue("chromium")
        return
    with opened_browser(request.param) as browser:
        yield browser
