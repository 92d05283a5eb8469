"""Quality against network calls: every sampler on every grid as a line, a few of them by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ancestral.viz.plots import COLORS, DASHES, FAINT, INK, panels, plain_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FARTHEST = 20.0
"""Times the least Fréchet distance, above which nobody wants to know how bad it is: the upper panel ends there."""


class Curve(NamedTuple):
    """A sampler on a grid. Both distances against the calls that were spent; `to_flow` is None where noise is drawn."""

    name: str
    calls: Sequence[int]
    frechet: Sequence[float]
    error: Sequence[float]
    to_flow: Sequence[float] | None


def sweep_curves(named: Sequence[Curve], others: Sequence[Curve], reference: float, floor: float) -> Figure:
    """Fréchet distance to test images above distance to the flow's end, both against network calls.

    Args:
        named: drawn in colour, with error bars; at most seven.
        others: drawn faint, without names.
        reference: Fréchet distance of very many steps. floor: of training images.
    """
    figure, (frechet, to_flow) = panels(2, height=3.65, width=7.2)
    for curve in others:
        frechet.plot(curve.calls, curve.frechet, color=FAINT, linewidth=0.8, zorder=1)
        if curve.to_flow is not None:
            to_flow.plot(curve.calls, curve.to_flow, color=FAINT, linewidth=0.8, zorder=1)
    for number, curve in enumerate(named):
        style: dict[str, Any] = {
            "color": COLORS[number % len(COLORS)],
            "linestyle": DASHES[number % len(DASHES)],
            "marker": "o",
        }
        beside = [calls * (1 + 0.012 * number) for calls in curve.calls]  # so that no error bar hides another
        frechet.errorbar(beside, curve.frechet, yerr=curve.error, label=curve.name, capsize=3, markersize=4, **style)
        if curve.to_flow is not None:
            to_flow.plot(curve.calls, curve.to_flow, markersize=4, **style)
    frechet.axhline(reference, color=INK, linewidth=1, linestyle=":", label="many steps")
    frechet.axhline(floor, color="#8A8A8A", linewidth=1, linestyle="--", label="training images")
    _logarithmic(frechet, "Fréchet distance to test images")
    least = min(value for curve in (*named, *others) for value in curve.frechet)
    if frechet.get_ylim()[1] > FARTHEST * least > 0:
        frechet.set_ylim(top=FARTHEST * least)
    _logarithmic(to_flow, "root mean square to many steps, levels")
    _calls(to_flow, [calls for curve in (*named, *others) for calls in curve.calls])
    figure.legend(*frechet.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure


def _logarithmic(axes: Axes, label: str) -> None:
    """A logarithmic y axis; as it is where nothing is above 0."""
    from matplotlib.ticker import NullLocator

    axes.set_ylabel(label)
    if any(value > 0 for line in axes.lines for value in np.asarray(line.get_ydata(), dtype=np.float64)):
        plain_log_scale(axes, (1, 2, 5))
        axes.yaxis.set_minor_locator(NullLocator())


def _calls(axes: Axes, calls: Sequence[int]) -> None:
    """The x axis of both panels: a tick at the numbers of calls that are there."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlabel("network calls for an image")
    axes.xaxis.set_major_locator(FixedLocator(spaced(sorted({*calls}))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def spaced(values: Sequence[int]) -> list[int]:
    """The largest of rising values, and those at least a sixth smaller than the one kept before: their numbers fit."""
    kept: list[int] = []
    for value in reversed(values):
        if not kept or 1.2 * value <= kept[-1]:
            kept.append(value)
    return kept[::-1]
