"""How a measured number stands on the page, and what stands there where it was not measured, or of other weights."""

import math
import shlex

from ancestral.report.facts import RunFacts
from ancestral.report.html import Html, element, section
from ancestral.text import printable


def number(value: float | None, digits: int = 3) -> str:
    """A number as it is read: thousands apart, few digits behind the point; a true minus."""
    if value is None:
        return "–"
    said = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return said.replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """value ± one standard error, the error to two digits and the value to as many places."""
    if not error:
        return number(value)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def not_measured(facts: RunFacts, anchor: str, title: str, verb: str) -> Html:
    """A section that says which command measures what it would show."""
    again = element("p", "Not measured yet: run ", _command(facts, verb), " and report again.")
    return section(anchor, title, again)


def out_of_date(facts: RunFacts, words: str, weights: str, verb: str) -> list[Html]:
    """A warning where the network has other weights now; `words` begin it."""
    now = facts.pipeline.weights_hash()
    if weights == now:
        return []
    said = f"{words} other weights, {weights}; this page shows {now}. Run "
    command = _command(facts, verb)
    return [element("p", element("strong", "Out of date. "), said, command, " and report again.")]


def _command(facts: RunFacts, verb: str) -> Html:
    return element("code", f"ancestral {verb} {shlex.quote(printable(str(facts.folder.path)))}")
