"""The ratios as a chart: a bar for each peer of each case, its spread, and a tick where the goal is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ancestral.viz.plots import COLORS, FAINT, INK
from benchmarks.pairs import Measured, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW_HEIGHT, HEADROOM = 9.0, 0.34, 1.1
"""Inches."""
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""Keeps a number legible where a line runs behind it."""
LOG_FROM = 20.0
"""Ratio of the largest to the smallest bar from which the axis is logarithmic."""


def ratios(title: str, results: Iterable[Result]) -> Figure:
    """The others' cost in multiples of the first's; right of the line, the first is the better one."""
    from matplotlib.figure import Figure

    results = [*results]
    bars = [(result, who) for result in results for who in result.measured if who.ratio]
    rows = len(bars) + len({result.name for result, _ in bars})
    figure = Figure(figsize=(WIDTH, HEADROOM + ROW_HEIGHT * rows), layout="constrained")
    axes = figure.subplots()
    _draw(axes, bars)
    _limit(axes, [value for _, who in bars for value in _reach(who)])
    axes.set_title(title, loc="left", size=11)
    firsts = " / ".join(dict.fromkeys(result.measured[0].name for result in results))
    axes.set_xlabel(f"cost in multiples of: {firsts}")
    return figure


def _draw(axes: Axes, bars: list[tuple[Result, Measured]]) -> None:
    """Top to bottom, a heading before each case."""
    y, last, ticks, labels = 0.0, None, [], []
    for result, who in bars:
        if result is not last:
            across = axes.get_yaxis_transform()
            axes.text(0.0, y, f" {result.name}", transform=across, va="center", weight="bold", size=9)
            y, last = y + 1, result
        _bar(axes, y, who)
        ticks.append(y)
        labels.append(who.name)
        y += 1
    axes.set_yticks(ticks, labels)
    axes.set_ylim(y - 0.4, -0.8)


def _bar(axes: Axes, y: float, who: Measured) -> None:
    assert who.ratio is not None
    middle, low, high = who.ratio.median, who.ratio.low, who.ratio.high
    met = who.goal is None or middle >= who.goal
    axes.barh(y, middle, height=0.6, color=COLORS[0] if met else COLORS[1])
    axes.errorbar(middle, y, xerr=[[middle - low], [high - middle]], color=INK, capsize=2, linewidth=1)
    axes.annotate(f"{middle:.3g}", (high, y), (5, 0), textcoords="offset points", va="center", size=9, bbox=PAPER)
    if who.goal is not None:
        axes.plot([who.goal] * 2, [y - 0.42, y + 0.42], color=INK, linewidth=2)


def _reach(who: Measured) -> list[float]:
    """What must be in sight of one bar."""
    assert who.ratio is not None
    return [who.ratio.low, who.ratio.high, who.ratio.median if who.goal is None else who.goal]


def _limit(axes: Axes, values: list[float]) -> None:
    """All values and 1, on a logarithmic axis where they lie far apart, labelled with plain numbers."""
    axes.axvline(1, color=FAINT, linewidth=1, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    low, high = min([1.0, *values]), max([1.0, *values])
    if high / low > LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, 3 * high)
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(0, 1.15 * high)
