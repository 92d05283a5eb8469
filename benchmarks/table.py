"""The results on a terminal: for each case who took how long, in ratio to the first, and what share of the machine."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from benchmarks.pairs import Measured, Result, Spread


def table(title: str, results: Iterable[Result], ceiling: Mapping[str, float]) -> Table:
    """One benchmark.

    Args:
        ceiling: precision -> GFLOP/s, as `ceiling.best` gives it.
    """
    out = Table(title=title, title_justify="left", show_lines=False)
    for column in ("", "median", "min .. max", "ratio", "min .. max", "goal", "GMAC", "GFLOP/s", "of ceiling"):
        out.add_column(column, justify="left" if column == "" else "right")
    for result in results:
        out.add_section()
        out.add_row(f"[bold]{result.name}[/bold]")
        for who in result.measured:
            out.add_row(*_row(who, result, ceiling))
    return out


def gflops_per_second(who: Measured, unit: str) -> float | None:
    """The rate at the median, of what was counted."""
    return 2 * who.multiply_adds / who.value.median / 1e9 if who.multiply_adds and unit == "s" else None


def _row(who: Measured, result: Result, ceiling: Mapping[str, float]) -> list[str]:
    rate = gflops_per_second(who, result.unit)
    share = rate / ceiling[who.precision] if rate and who.precision in ceiling else None
    return [
        f"  {_about(who)}",
        quantity(who.value.median, result.unit),
        f"{quantity(who.value.low, result.unit)} .. {quantity(who.value.high, result.unit)}",
        "" if who.ratio is None else f"{who.ratio.median:.3g}",
        "" if who.ratio is None else f"{who.ratio.low:.3g} .. {who.ratio.high:.3g}",
        _goal(who, result),
        f"{who.multiply_adds / 1e9:.4g}" if who.multiply_adds else "",
        "" if rate is None else f"{rate:.4g}",
        "" if share is None else f"{share:.0%}",
    ]


def _about(who: Measured) -> str:
    about = ", ".join(filter(None, (who.precision, who.note)))
    return f"{who.name} ({about})" if about else who.name


def _goal(who: Measured, result: Result) -> str:
    """The goal, and whether the median meets it."""
    if who.ratio is not None and who.goal is not None:
        return _judged(f">= {who.goal:g}", who.ratio.median >= who.goal)
    if who.ratio is None and result.at_most is not None:
        return _judged(f"<= {quantity(result.at_most, result.unit)}", who.value.median <= result.at_most)
    return ""


def _judged(text: str, met: bool) -> str:
    return f"[green]{text}, met[/green]" if met else f"[red]{text}, missed[/red]"


def quantity(value: float, unit: str) -> str:
    """A value with its unit, seconds below one as milli- or microseconds."""
    for factor, smaller in ((1e3, "ms"), (1e6, "µs")):
        if unit == "s" and value < 1 and value * factor >= 1:
            return f"{value * factor:.3g} {smaller}"
    return f"{value:.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def as_result(stored: Mapping[str, Any]) -> Result:
    """A result as it was before it was JSON."""
    measured = [_as_measured(each) for each in stored["measured"]]
    return Result(**{**stored, "measured": measured})


def _as_measured(stored: Mapping[str, Any]) -> Measured:
    ratio = stored["ratio"] and Spread(**stored["ratio"])
    return Measured(**{**stored, "value": Spread(**stored["value"]), "ratio": ratio})
