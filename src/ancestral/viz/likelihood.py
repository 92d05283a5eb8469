"""Where the bits go: the bound over noise levels, its sum, and the picture that every bit has bought so far.

Left is noise, right is data: the direction in which a receiver would get the image. L_T comes first, then the terms of
the chain in stretches of steps, L_0 last. A stretch is drawn as bits per unit of log-SNR, so that its area is its bits
whatever its length, and chains of any steps make the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ancestral.viz.plots import COLORS, FAINT, INK, Numbers, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOISE_TO_DATA = "log-SNR (nats)   (left = noise, right = data)"


@dataclass(frozen=True)
class Terms:
    """A bound, bits per dimension, as plain numbers."""

    log_snr: Numbers  # (N + 1,) where the N stretches of the chain start, rising from noise, and the last one's end
    bits: Numbers  # (N,) what each stretch costs
    errors: Numbers  # (N,) its standard error
    rmse: Numbers | None
    """(N,) root mean squared error of the predicted image over each, levels of 0..255; None: of latents, which have no
    levels, and of which no number of bits is all"""
    prior: float  # L_T
    reconstruction: float  # L_0
    total: float  # the bound; of latents that on -log p(z)
    total_error: float  # its standard error

    def __post_init__(self) -> None:
        assert len(self.log_snr) == len(self.bits) + 1 == len(self.errors) + 1
        assert self.rmse is None or len(self.rmse) == len(self.bits)
        assert bool(np.isfinite(self.log_snr).all() and (np.diff(self.log_snr) > 0).all()), "log-SNR rises, and ends"

    @property
    def received(self) -> Numbers:
        """(N + 1,) bits per dimension received by the start of every stretch, and by the end of the last."""
        return self.prior + np.concatenate([[0.0], np.cumsum(self.bits)])


def likelihood_figure(terms: Terms) -> Figure:
    """All of it, in one picture: `bound_figure` above `coding_figure`, which latents have none of."""
    return bound_figure(terms) if terms.rmse is None else _figure(terms, _density, _cumulative, _coding)


def bound_figure(terms: Terms) -> Figure:
    """The terms as a density over log-SNR, and below it their sum from L_T to the bound."""
    return _figure(terms, _density, _cumulative)


def coding_figure(terms: Terms) -> Figure:
    """Progressive coding: how far the picture is off after so many bits (Ho et al. 2020, section 4.3)."""
    return _figure(terms, _coding)


def _density(axes: Axes, terms: Terms) -> None:
    """Bars whose areas are bits, with a band of one standard error."""
    width = np.diff(terms.log_snr)
    height, error = terms.bits / width, terms.errors / width
    axes.stairs(height, terms.log_snr, fill=True, color=COLORS[0], alpha=0.45, linewidth=0)
    axes.stairs(height, terms.log_snr, color=COLORS[0], linewidth=1.4, baseline=None)
    band: dict[str, Any] = {"baseline": height - error, "fill": True, "color": COLORS[1], "alpha": 0.55}
    axes.stairs(height + error, terms.log_snr, linewidth=0, **band)
    axes.set_ylim(bottom=min(0.0, float((height - error).min())))
    _named(axes, "Where the bits go   (area: bits/dim, band: error)", NOISE_TO_DATA, "bits/dim per log-SNR")


def _cumulative(axes: Axes, terms: Terms) -> None:
    """The sum so far: from L_T, over the stretches, and by L_0 to the bound: up, or, of a density, down as well."""
    start, end = terms.log_snr[0], terms.log_snr[-1]
    axes.plot(terms.log_snr, terms.received, color=COLORS[0])
    axes.plot([end, end], [terms.received[-1], terms.total], color=COLORS[1], linewidth=2.4, solid_capstyle="butt")
    axes.plot(start, terms.prior, "o", color=COLORS[2], markersize=6, clip_on=False, zorder=4)
    dot: dict[str, Any] = {"fmt": "o", "color": COLORS[1], "capsize": 4, "markersize": 6, "clip_on": False}
    axes.errorbar(end, terms.total, yerr=terms.total_error, **dot)
    axes.set_ylim(bottom=min(0.0, 1.12 * terms.total))
    axes.margins(y=0.12)
    _beside(axes, start, terms.prior, f"$L_T$ {said(terms.prior)}", (2.0, 9.0), "left")
    sign = "+" if terms.reconstruction >= 0 else "−"
    ending = f"{sign} $L_0$ {said(abs(terms.reconstruction))}\n= {said(terms.total)}"
    _beside(axes, end, terms.total, ending, (-12.0, -18.0), "right")
    title = "Their sum, from noise to the image" if terms.rmse is not None else "Their sum, from noise to the latents"
    _named(axes, title, NOISE_TO_DATA, "bits/dim so far")


def _coding(axes: Axes, terms: Terms) -> None:
    """Distortion against rate: each stretch at the middle of its bits; the last bits, L_0, make the image exact."""
    assert terms.rmse is not None
    middle = 0.5 * (terms.received[:-1] + terms.received[1:])
    axes.plot(middle, terms.rmse, color=COLORS[0], marker="o", markersize=3.5)
    axes.plot([middle[-1], terms.total], [terms.rmse[-1], 0.0], color=COLORS[0], linestyle=":")
    axes.plot(terms.total, 0.0, "o", color=COLORS[1], markersize=7, clip_on=False, zorder=4)
    axes.set_xlim(left=min(0.0, float(middle.min())))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.04, y=0.1)
    _beside(axes, terms.total, 0.0, f"exact at {said(terms.total)}", (-4.0, 9.0), "right")
    _named(axes, "What the bits so far have bought", "bits/dim received so far", "error (RMSE of 0..255)")


def said(bits: float) -> str:
    """Bits as they are read, with three digits behind the point."""
    return "< 0.001" if 0 < bits < 0.0005 else f"{bits:.3f}".replace("-", "−")


def _figure(terms: Terms, *shown: Callable[[Axes, Terms], None]) -> Figure:
    figure, axes = panels(len(shown), height=2.6, share_x=False)
    for each, show in zip(axes, shown, strict=True):
        show(each, terms)
    return figure


def _named(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontdict={"fontsize": 11.5, "color": INK}, loc="left")
    axes.set_ylabel(y)
    axes.set_xlabel(x)


def _beside(axes: Axes, x: float, y: float, words: str, offset: tuple[float, float], side: str) -> None:
    """Words near a point, `offset` typographic points away, on white so that curves do not cross letters."""
    box = {"facecolor": "white", "edgecolor": FAINT, "alpha": 0.85, "linewidth": 0, "pad": 1.5}
    how: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "ha": side, "bbox": box}
    axes.annotate(words, (x, y), color=INK, fontsize=10.5, **how)
