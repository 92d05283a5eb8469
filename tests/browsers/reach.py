"""Whether everybody can use a page: by axe-core's rules of WCAG 2.2 AA, at a width, and by the keyboard alone."""

import pytest

from browsers.page import Page

HEIGHTS = {320: 800, 390: 800, 640: 400, 1200: 800}
"""By width in CSS pixels: two phones, a screen of 1280x800 at 200 %, and a screen."""
AT_ONCE = (("light", 320), ("dark", 1200))
"""Of the themes and widths that pages are looked at in: each theme, the narrowest and the widest. The rest is soak."""
THEMES_AND_WIDTHS = [
    pytest.param(theme, width, marks=[] if (theme, width) in AT_ONCE else [pytest.mark.slow])
    for theme in ("light", "dark")
    for width in HEIGHTS
]
PRESSED = """[...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility() && !each.disabled && each.type !== 'radio')"""
CUT = """[...document.querySelectorAll("body *")].filter((each) => {
  const scrolls = ".wide, pre, .equations";
  if (!each.checkVisibility() || each.closest(`.unseen, .skip, svg, math, option, ${scrolls}`)) return false;
  const { left, right, width } = each.getBoundingClientRect(), isWider = each.scrollWidth > each.clientWidth + 1;
  const { overflowX, textOverflow } = getComputedStyle(each), isShort = textOverflow === "ellipsis";
  const isCut = (overflowX !== "visible" && !isShort) || each.matches("button, .button, .choice span, nav a");
  return width > 0 && (left < -1 || right > innerWidth + 1 || (isWider && isCut && each.clientWidth > 0));
}).map((each) => each.outerHTML.slice(0, 200))"""
FLOATING = """(position) => {
  const isFloating = (each) => ["sticky", "fixed"].includes(getComputedStyle(each).position);
  window.floating ??= [...document.querySelectorAll("body *")].filter(isFloating);
  for (const each of window.floating) each.style.position = position;
  if (!position) delete window.floating;
}"""
BEGIN = """(() => {
  document.activeElement.blur();
  document.documentElement.style.scrollBehavior = "auto";
  window.reached = new Set();
})()"""
REACHED = """(() => {
  const at = document.activeElement, { left, top, width, height } = at.getBoundingClientRect();
  window.reached.add(at);
  let over = document.elementFromPoint(left + width / 2, top + height / 2);
  while (over && !["sticky", "fixed"].includes(getComputedStyle(over).position)) over = over.parentElement;
  return over && !over.contains(at) ? at.outerHTML.slice(0, 200) : null;
})()"""


def arrange(shown: Page, scheme: str, width: int) -> None:
    """Shows a page in one of the themes and at one of the widths."""
    shown.dark(scheme == "dark")
    shown.resize(width, HEIGHTS[width])


def check_reach(shown: Page, width: int) -> None:
    """Nothing is found, nothing is wider than the window or cut off, and the keyboard comes to all that there is to
    press, which nothing covers then. axe-core looks at the page with nothing floating over it: what a bar half covers,
    by where the page happens to be scrolled to, would be too small for it."""
    shown.evaluate(FLOATING, "static")
    found = shown.axe()
    shown.evaluate(FLOATING, "")
    assert found == [], found
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(CUT) == []
    shown.evaluate(BEGIN)
    covered, missed = list[str](), [""]
    for _ in range(2):  # a second time round, where more has come meanwhile
        for _ in range(shown.evaluate(f"{PRESSED}.length") + 3 if missed else 0):
            shown.key("Tab")
            covered += filter(None, [shown.evaluate(REACHED)])
        missed = shown.evaluate(f"{PRESSED}.filter((each) => !window.reached.has(each)).map((each) => each.outerHTML)")
    assert covered == []
    assert missed == [], missed
