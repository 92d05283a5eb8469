"""The figure of bytes against quality, read through its axes."""

from ancestral.viz.plots import COLORS
from ancestral.viz.rate import RateLine, rate_figure

LINES = {
    "ours": RateLine(bytes=[100, 200, 400], psnr=[24, 26, 27], ssim=[0.6, 0.7, 0.8]),
    "JPEG, file": RateLine(bytes=[350, 500], psnr=[22, 26], ssim=[0.5, 0.7]),
}


def test_both_qualities_stand_over_the_same_bytes() -> None:
    above, below = rate_figure(LINES, 27.5, 0.85).axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("PSNR (dB)", "SSIM") and below.get_xscale() == "log"
    for axes, column in ((above, "psnr"), (below, "ssim")):
        for line, (name, given) in zip(axes.lines, LINES.items(), strict=False):
            assert line.get_label() == name and [*line.get_ydata()] == getattr(given, column)
            assert [*line.get_xdata()] == given.bytes
    assert above.lines[-1].get_ydata()[0] == 27.5 and below.lines[-1].get_ydata()[0] == 0.85


def test_the_codec_is_drawn_broadest() -> None:
    figure = rate_figure(LINES, 27.5, 0.85)
    own, other = figure.axes[0].lines[:2]
    assert own.get_linewidth() > other.get_linewidth() and own.get_color() == COLORS[0]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ours", "JPEG, file", "ours, not rounded"]
