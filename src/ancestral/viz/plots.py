"""Curves and charts: schedules, losses, learning rate and gradient norm, distances beside their floors.

Every function returns a matplotlib Figure that it made itself: no pyplot, no global style, so they are safe in threads.
Panels stand above one another and letters are large for the width, so that a chart can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which people with any kind of colour blindness tell apart."""
QUARTER_COLORS = ("#FDB42F", "#E56B5D", "#A62098", "#2A0593")
"""Light to dark as t grows from clean to noise."""
DASHES = ("-", "--", "-.", ":")
INK, GREY, FAINT = "#222222", "#8A8A8A", "#B4B4B4"
LEAST_MISSED = 1e-4  # of a profile, that is shown: what lies below is rounding
WIDTH = 5.4  # inches; letters have 11 points

Numbers = NDArray[np.float64]
Values = Sequence[float | int | None] | NDArray[Any] | Tensor
"""Numbers as a log, an array or a tensor holds them; None and NaN are gaps."""


class Curve(NamedTuple):
    """A sampler on a grid. Both distances against the calls that were spent; `to_flow` is None where noise is drawn."""

    name: str
    calls: Sequence[int]
    frechet: Sequence[float]
    error: Sequence[float]
    to_flow: Sequence[float] | None


def figure_to_png(figure: Figure, dpi: int = 160, writer: str | None = None) -> bytes:
    """`figure` as a PNG file; `writer`: what it says of itself, by which the command that wrote it knows it again."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata=None if writer is None else {"Software": writer})
    return out.getvalue()


def schedule_curves(schedules: Mapping[str, tuple[Values, Values, Values]]) -> Figure:
    """Against t / T, for each schedule of any length by its name: beta_t, alpha_bar_t and log-SNR.

    alpha_bar has T + 1 entries, from t = 0; of the others the last T are drawn, from t = 1, since nothing is added at
    t = 0 and its log-SNR is infinite.
    """
    figure, (beta, alpha_bar, log_snr) = panels(3, height=2.3)
    for i, (name, curves) in enumerate(schedules.items()):
        betas, signal, levels = (np.asarray(curve, np.float64) for curve in curves)
        t = np.arange(len(signal)) / (len(signal) - 1)
        betas, levels = betas[1 - len(t) :], levels[1 - len(t) :]
        style: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i % len(DASHES)]}
        beta.plot(t[1:], np.where(betas > 0, betas, np.nan), label=name, **style)
        alpha_bar.plot(t, signal, **style)
        log_snr.plot(t[1:], np.where(np.isfinite(levels), levels, np.nan), **style)
    beta.set_yscale("log")
    beta.set_ylabel(r"$\beta_t$ (log)")
    alpha_bar.set_ylabel(r"$\bar\alpha_t$")
    log_snr.set_ylabel("log-SNR (nats)")
    log_snr.set_xlabel("t / T   (0 = data, 1 = noise)")
    _legend(figure, beta)
    return figure


def loss_curves(
    images_seen: Values, train: Values, held_out_seen: Values = (), held_out: Values = (), quantity: str = "loss"
) -> Figure:
    """Training loss, raw and smoothed, and held-out loss, each against images seen; `quantity`: its name and unit."""
    figure, (axes,) = panels(1, height=3.6)
    seen, loss = _both_finite(images_seen, train)
    axes.plot(seen, loss, color=COLORS[0], alpha=0.25, linewidth=0.8, label="training")
    axes.plot(seen, _smooth(loss), color=COLORS[0], label="training, smoothed")
    seen, loss = _both_finite(held_out_seen, held_out)
    if len(seen):
        axes.plot(seen, loss, color=COLORS[1], marker="o", markersize=5, linewidth=1, label="held out")
    return _over_training(figure, axes, quantity)


def loss_by_quarter(images_seen: Values, quarters: Sequence[Values] | NDArray[Any] | Tensor) -> Figure:
    """Smoothed training loss against images seen, in each quarter of 0 < t <= T, from that nearest to the data: (N, 4),
    None or NaN where a batch had no t in that quarter."""
    figure, (axes,) = panels(1, height=3.6)
    losses = np.asarray(quarters, np.float64).reshape(-1, 4)
    for i, name in enumerate(("0 to T/4 (nearly clean)", "T/4 to T/2", "T/2 to 3T/4", "3T/4 to T (nearly noise)")):
        seen, loss = _both_finite(images_seen, losses[:, i])
        axes.plot(seen, _smooth(loss), color=QUARTER_COLORS[i], linestyle=DASHES[i], label=f"t: {name}")
    return _over_training(figure, axes, "loss")


def learning_rate_and_gradient(
    images_seen: Values, learning_rate: Values, gradient_norm: Values, clip: float | None = None
) -> Figure:
    """Learning rate above the gradient's norm before clipping, with the norm at which it is clipped."""
    figure, (rate, norm) = panels(2, height=2.4)
    rate.plot(*_both_finite(images_seen, learning_rate), color=COLORS[0])
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    rate.set_ylabel("learning rate")
    seen, values = _both_finite(images_seen, gradient_norm)
    norm.plot(seen, values, color=COLORS[2], alpha=0.3, linewidth=0.8, label="gradient norm")
    norm.plot(seen, _smooth(values), color=COLORS[2], label="smoothed")
    if clip is not None:
        norm.axhline(clip, color=COLORS[1], linestyle="--", linewidth=1.2, label=f"clipped at {clip:g}")
    return _over_training(figure, norm, "gradient norm")


def loss_by_timestep(t: Values, loss: Values, error: Values | None = None, quantity: str = "loss") -> Figure:
    """Loss against t, with a band of one standard error where `error` is given."""
    figure, (axes,) = panels(1, height=3.2)
    times, values = np.asarray(t, np.float64), np.asarray(loss, np.float64)
    axes.plot(times, values, color=COLORS[0], marker="o" if len(times) <= 30 else None, markersize=4, label=quantity)
    if error is not None:
        spread = np.asarray(error, np.float64)
        low, high = values - spread, values + spread
        axes.fill_between(times, low, high, color=COLORS[0], alpha=0.2, linewidth=0, label="standard error")
        _legend(figure, axes)
    _log_scale(axes)
    axes.set_xlabel("t   (1 = nearly clean, T = noise)")
    axes.set_ylabel(quantity)
    return figure


def averages_figure(
    lengths: Sequence[float], differences: Sequence[float], errors: Sequence[float], missed: Sequence[float]
) -> Figure:
    """The held-out loss of averages less that of the run's own, with error bars, against their length; below, what
    share of a length's profile is missed."""
    figure, (above, below) = panels(2, height=2.3)
    above.axhline(0, color=GREY, linewidth=1)
    above.errorbar(lengths, differences, yerr=errors, color=COLORS[0], marker="o", capsize=4)
    above.set_ylabel("loss above the own")
    below.plot(lengths, np.maximum(missed, LEAST_MISSED), color=COLORS[1], marker="o")
    below.set_yscale("log")
    below.set_ylim(LEAST_MISSED, 1)
    below.set_ylabel("profile missed")
    below.set_xlabel("length of the average, as a share of the run")
    return figure


def bars_with_floors(name: str, value: float, error: float | None, floors: Mapping[str, float]) -> Figure:
    """A distance, with its error bar, above the floors it is to be compared with; each with its number.

    The axis starts at 0, or is logarithmic where the largest value is more than 20 times the smallest: so the values
    are dots, and the thin bars only lead the eye to them. The numbers behind the bars have a third of the width.
    `name` has the unit; a floor is named by what it stands for, such as "train half against half".
    """
    labels, values = ["samples", *floors], np.array([value, *floors.values()], dtype=np.float64)
    figure, (axes,) = panels(1, height=0.7 + 0.42 * len(labels))
    rows = np.arange(len(labels))
    logarithmic = bool(values.min() > 0 and values.max() > 20 * values.min())
    start = values.min() / 2 if logarithmic else 0.0
    colors = [COLORS[0], *[GREY] * len(floors)]
    axes.barh(rows, values - start, left=start, color=colors, height=0.07)
    axes.scatter(values, rows, color=colors, s=70, zorder=3)
    if error is not None:
        axes.errorbar(value, 0, xerr=error, color=INK, capsize=5, linewidth=1.4, zorder=4)
    low = min(start, float(values.min()) - (error or 0.0) * (values.min() < 0))
    high = float(max(values.max(), value + (error or 0.0)))
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda number, _: f"{number:g}")
        axes.set_xlim(low, low * (high / low) ** 1.5)
    else:
        axes.set_xlim(low, max(high, 0.0) + 0.5 * max(high - low, 1e-12))
    beside: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
    for row, (number, spread) in enumerate(zip(values, [error, *[None] * len(floors)], strict=True)):
        said = f"{number:.3g}" if spread is None else f"{number:.3g} ± {spread:.1g}"
        end = max(number, 0.0) + (spread or 0.0)  # behind the error bar
        axes.annotate(said.replace("-", "−"), (end, row), color=INK, fontsize=11, **beside)
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{name}, log scale" if logarithmic else name)
    return figure


def sweep_curves(named: Sequence[Curve], others: Sequence[Curve], reference: float, floor: float) -> Figure:
    """Fréchet distance to test images above distance to the flow's end, both against network calls.

    `named`, at most seven, are drawn in colour, with error bars, `others` faint and without names. `reference` is the
    Fréchet distance of very many steps, `floor` that of training images.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, (frechet, to_flow) = panels(2, height=3.65, width=7.2)
    for curve in others:
        frechet.plot(curve.calls, curve.frechet, color=FAINT, linewidth=0.8, zorder=1)
        if curve.to_flow is not None:
            to_flow.plot(curve.calls, curve.to_flow, color=FAINT, linewidth=0.8, zorder=1)
    for number, curve in enumerate(named):
        style: dict[str, Any] = {"color": COLORS[number], "linestyle": DASHES[number % 4], "marker": "o"}
        beside = [calls * (1 + 0.012 * number) for calls in curve.calls]  # so that no error bar hides another
        frechet.errorbar(beside, curve.frechet, yerr=curve.error, label=curve.name, capsize=3, markersize=4, **style)
        if curve.to_flow is not None:
            to_flow.plot(curve.calls, curve.to_flow, markersize=4, **style)
    frechet.axhline(reference, color=INK, linewidth=1, linestyle=":", label="many steps")
    frechet.axhline(floor, color=GREY, linewidth=1, linestyle="--", label="training images")
    labels = ("Fréchet distance to test images", "root mean square to many steps, levels")
    for axes, label in zip((frechet, to_flow), labels, strict=True):
        axes.set_ylabel(label)
        if any(value > 0 for line in axes.lines for value in np.asarray(line.get_ydata(), dtype=np.float64)):
            plain_log_scale(axes, (1, 2, 5))
            axes.yaxis.set_minor_locator(NullLocator())
    farthest = 20.0 * min(value for curve in (*named, *others) for value in curve.frechet)
    if frechet.get_ylim()[1] > farthest > 0:  # nobody wants to know how bad it is above
        frechet.set_ylim(top=farthest)
    to_flow.set_xscale("log")
    to_flow.set_xlabel("network calls for an image")
    to_flow.xaxis.set_major_locator(FixedLocator(spaced(sorted({n for each in (*named, *others) for n in each.calls}))))
    to_flow.xaxis.set_minor_locator(NullLocator())
    to_flow.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(*frechet.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure


def guidance_curves(
    guidances: Sequence[float],
    shares: Mapping[str, Sequence[Sequence[float]]],
    chosen: float,
    chance: float,
    ceiling: float,
) -> Figure:
    """Shares, each with the lower and the upper ends of its intervals, against guidance. `chosen`: the guidance that is
    taken; `chance` and `ceiling`: between what the first share lies.
    """
    figure, (axes,) = panels(1, height=3.4)
    for number, (name, (share, low, high)) in enumerate(shares.items()):
        color = COLORS[number % len(COLORS)]
        axes.plot(guidances, share, color=color, linestyle=DASHES[number % 4], marker="o", markersize=5, label=name)
        axes.fill_between(guidances, low, high, color=color, alpha=0.15, linewidth=0)
    first = next(iter(shares))
    axes.axhline(ceiling, color=INK, linewidth=1.2, linestyle=":", label=f"ceiling of {first}")
    axes.axhline(chance, color=GREY, linewidth=1.2, linestyle="--", label=f"chance of {first}")
    axes.axvline(chosen, color=FAINT, linewidth=1.2, zorder=1, label=f"chosen: {chosen:g}")
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("guidance   (1: none)")
    axes.set_ylabel("share that holds")
    _legend(figure, axes)
    return figure


def spaced(values: Sequence[int]) -> list[int]:
    """The largest of rising values, and those at least a sixth smaller than the one kept before: their numbers fit."""
    kept: list[int] = []
    for value in reversed(values):
        if not kept or 1.2 * value <= kept[-1]:
            kept.append(value)
    return kept[::-1]


def panels(count: int, height: float, width: float = WIDTH, share_x: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels above one another, each `height` inches, with thin spines and a faint grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * count + 0.3), layout="constrained", facecolor="white")
    found = [*figure.subplots(count, 1, sharex=share_x, squeeze=False)[:, 0]]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.grid(True, color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", color=FAINT, labelcolor=INK, labelsize=10)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=INK, fontsize=11)
    return figure, found


def _legend(figure: Figure, axes: Axes) -> None:
    """Names above the panels, where they hide no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) > 12 else min(len(labels), 4)
    figure.legend(handles, labels, loc="outside upper left", ncols=max(columns, 1), frameon=False, fontsize=10.5)


def _over_training(figure: Figure, axes: Axes, quantity: str) -> Figure:
    """The figure, whose lowest panel shows a quantity against images seen, in thousands and millions."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel("images seen")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _log_scale(axes)
    axes.set_ylabel(quantity)
    _legend(figure, axes)
    return figure


def _log_scale(axes: Axes) -> None:
    """A logarithmic y axis, where the curves span more than a factor of three."""
    values = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), np.float64) for line in axes.lines)])
    positive = values[values > 0]
    spread = positive.max() / positive.min() if len(positive) else 1.0
    if spread > 3:
        plain_log_scale(axes, (1,) if spread > 3000 else (1, 2, 5) if spread > 10 else (1, 1.5, 2, 3, 5, 7))
        axes.yaxis.set_minor_formatter(lambda value, _: "")


def plain_log_scale(axes: Axes, steps: Sequence[float | int]) -> None:
    """A logarithmic y axis with plain numbers (0.02, not 2e-2) at these steps of every power of ten."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _smooth(values: Numbers) -> Numbers:
    """Exponential average over a fortieth of the points; over fewer at the start, where the loss falls fast."""
    smoothed, level = np.empty_like(values), 0.0
    for i, value in enumerate(values):
        level += (value - level) / max(1.0, min(len(values) / 40, 1 + i / 5))
        smoothed[i] = level
    return smoothed


def _both_finite(x: Values, y: Values) -> tuple[Numbers, Numbers]:
    """The points of which both numbers are finite."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = np.isfinite(xs) & np.isfinite(ys)
    return xs[kept], ys[kept]
