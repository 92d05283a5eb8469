"""Whether everybody can use a page: by axe-core's rules of WCAG 2.2 AA, at a width, and by the keyboard alone."""

import pytest

from browsers.page import Page

AT_ONCE = (("light", 320), ("dark", 390), ("light", 1200))
"""Of the themes and widths that pages are looked at in, each theme and each width; the others are a matter of soak."""
THEMES_AND_WIDTHS = [
    pytest.param(theme, width, marks=[] if (theme, width) in AT_ONCE else [pytest.mark.slow])
    for theme in ("light", "dark")
    for width in (320, 390, 1200)
]
PRESSED = """[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility() && !each.disabled && each.type !== 'radio')"""


def check_reach(shown: Page, width: int) -> None:
    """Nothing is found, nothing is wider than the window, and the keyboard comes to all that there is to press."""
    found = shown.axe()
    assert found == [], found
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.evaluate("(() => { document.activeElement.blur(); window.reached = new Set(); })()")
    for _ in range(shown.evaluate(f"{PRESSED}.length") + 3):
        shown.key("Tab")
        shown.evaluate("(() => { window.reached.add(document.activeElement); })()")
    missed = shown.evaluate(f"{PRESSED}.filter((each) => !window.reached.has(each)).map((each) => each.outerHTML)")
    assert missed == [], missed
