"""A panel for each profile: bars of what every kind of operation took, and over them what it needs at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.viz.plots import COLORS, INK
from benchmarks.profile import Profile, Share
from benchmarks.table import quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
WIDTH, ROW_HEIGHT, HEADROOM = 15.0, 0.27, 1.0
"""Inches."""
SHOWN = 0.004
"""The least share of a step that has a bar."""
BOUND = {"multiply-adds": COLORS[0], "bytes": COLORS[4], "neither": "#8A8A8A"}
"""What the larger of a kind's two needs is of."""


def shares(title: str, profiles: Sequence[Profile]) -> Figure:
    """Per cent of the profiled step, light, and of it the roofline's need, dark."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = -(-len(profiles) // COLUMNS)
    kinds = max(len(_shown(each)) for each in profiles)
    figure = Figure(figsize=(WIDTH, 0.9 + rows * (HEADROOM + ROW_HEIGHT * kinds)), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes, profile in zip(panels, profiles, strict=False):
        _draw(axes, profile)
    for axes in [*panels][len(profiles) :]:
        axes.set_axis_off()
    handles = [Patch(color=color, alpha=0.35, label=_legend(name)) for name, color in BOUND.items()]
    handles += [Patch(color=INK, label="dark: what the roofline needs")]
    figure.suptitle(title, x=0.01, ha="left", size=13)
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=10)
    return figure


def _legend(name: str) -> str:
    return "no need counted" if name == "neither" else f"time, where {name} bound it"


def _shown(profile: Profile) -> list[Share]:
    total = sum(each.seconds for each in profile.shares)
    return [each for each in profile.shares if each.seconds >= SHOWN * total]


def _draw(axes: Axes, profile: Profile) -> None:
    total, shown = sum(each.seconds for each in profile.shares), _shown(profile)
    for y, each in enumerate(shown):
        percent, least, color = 100 * each.seconds / total, 100 * each.least / total, BOUND[_bound(each)]
        axes.barh(y, percent, height=0.72, color=color, alpha=0.35)
        axes.barh(y, least, height=0.38, color=color)
        times = f"  ({each.seconds / each.least:.3g} x)" if each.least else ""
        text = f"{quantity(each.seconds, 's')}{times}"
        axes.annotate(text, (max(percent, least), y), (4, 0), textcoords="offset points", va="center", size=9)
    axes.set_yticks(range(len(shown)), [each.kind for each in shown], size=10)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.3 * max(100 * max(each.seconds, each.least) / total for each in shown))
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{profile.step}, {profile.workload}, {profile.precision}\n"
        f"{quantity(profile.seconds.median, 's')}, {profile.of_ceiling:.0%} of the ceiling, "
        f"{profile.seconds.median / profile.least:.1f} x the roofline",
        loc="left", size=11,
    )  # fmt: skip


def _bound(share: Share) -> str:
    if not share.least:
        return "neither"
    return "multiply-adds" if share.for_multiply_adds > share.for_bytes else "bytes"
