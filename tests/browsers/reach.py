"""Whether everybody can use a page: by axe-core's rules of WCAG 2.2 AA, at a width, and by the keyboard alone."""

import pytest

from browsers.page import Page

AT_ONCE = (("light", 320), ("dark", 1200))
"""Of the themes and widths that pages are looked at in: each theme, the narrowest and the widest. The rest is soak."""
THEMES_AND_WIDTHS = [
    pytest.param(theme, width, marks=[] if (theme, width) in AT_ONCE else [pytest.mark.slow])
    for theme in ("light", "dark")
    for width in (320, 390, 1200)
]
PRESSED = """[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility() && !each.disabled && each.type !== 'radio')"""

FROM_THE_START = f"""(() => {{
  document.activeElement.blur();
  window.reached = new Set();
  document.addEventListener("focusin", (event) => window.reached.add(event.target));
  return {PRESSED}.length;
}})()"""


def check_reach(shown: Page, width: int) -> None:
    """Nothing is found, nothing is wider than the window, and the keyboard comes to all that there is to press."""
    found = shown.axe()
    assert found == [], found
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    for _ in range(shown.evaluate(FROM_THE_START) + 3):
        shown.key("Tab")
    missed = shown.evaluate(f"{PRESSED}.filter((each) => !window.reached.has(each)).map((each) => each.outerHTML)")
    assert missed == [], missed
