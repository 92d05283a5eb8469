"""Quality against bytes of an image: a codec's curve beside those of other ways to write images down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ancestral.viz.plots import COLORS, DASHES, GREY, INK, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RateLine(NamedTuple):
    """Means over images at each setting."""

    bytes: Sequence[float]
    psnr: Sequence[float]  # dB
    ssim: Sequence[float]


def rate_figure(lines: Mapping[str, RateLine], psnr: float, ssim: float) -> Figure:
    """PSNR above SSIM, both against bytes, on a logarithmic scale.

    The first line is the codec's, drawn broadest; at most seven. `psnr` and `ssim`: of its x0 unrounded, which no
    number of bytes gets beyond.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, both = panels(2, height=3.3, width=7.2)
    for axes, quantity, limit in zip(both, ("PSNR (dB)", "SSIM"), (psnr, ssim), strict=True):
        for number, (name, line) in enumerate(lines.items()):
            values = line.psnr if axes is both[0] else line.ssim
            width = 2.6 if number == 0 else 1.3
            color, dashes = COLORS[number], DASHES[number % 4]
            axes.plot(line.bytes, values, dashes, color=color, linewidth=width, label=name, marker="o", markersize=4)
        axes.axhline(limit, color=GREY, linewidth=1, linestyle=":", label=f"{next(iter(lines))}, not rounded")
        axes.set_ylabel(quantity, color=INK)
    both[1].set_xscale("log")
    both[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    both[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    both[1].xaxis.set_minor_formatter(NullFormatter())
    both[1].set_xlabel("bytes of an image, mean")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure
