"""Charts, read through their figures: data, names and scales of the axes, and no trace in matplotlib's global state."""

import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ancestral.viz import plots


def curves(num_timesteps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    beta = np.linspace(1e-4, 0.02, num_timesteps) * 1000 / num_timesteps
    alpha_bar = np.concatenate([[1.0], np.cumprod(1 - beta)])
    with np.errstate(divide="ignore"):
        return beta, alpha_bar, np.log(alpha_bar) - np.log1p(-alpha_bar)


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(axes, label: str):
    return next(one for one in axes.lines if one.get_label() == label)


SEEN = np.arange(1, 401) * 32.0
LOSS = 0.03 + np.exp(-np.arange(400) / 20) + 0.01 * np.sin(np.arange(400) * 1.7)


def test_schedules_of_different_lengths_share_t_over_T() -> None:
    figure = plots.schedule_curves({"a": curves(1000), "b": curves(100)})
    beta, alpha_bar, log_snr = figure.axes
    assert legend(figure) == ["a", "b"]
    assert [axes.get_ylabel() for axes in figure.axes] == [r"$\beta_t$ (log)", r"$\bar\alpha_t$", "log-SNR (nats)"]
    assert log_snr.get_xlabel().startswith("t / T")
    for i, num_timesteps in enumerate((1000, 100)):
        assert alpha_bar.lines[i].get_xdata()[[0, -1]].tolist() == [0, 1]
        assert beta.lines[i].get_xdata()[0] == log_snr.lines[i].get_xdata()[0] == 1 / num_timesteps
        np.testing.assert_array_equal(beta.lines[i].get_ydata(), curves(num_timesteps)[0])
    assert beta.get_yscale() == "log" and log_snr.get_yscale() == "linear"


def test_a_leading_entry_for_t_0_is_not_drawn() -> None:
    """Trap: the table's beta_0 and infinite log-SNR shift the curve by one or blow up the axis."""
    beta, alpha_bar, log_snr = curves(50)
    bare = plots.schedule_curves({"a": (beta, alpha_bar, log_snr[1:])})
    padded = plots.schedule_curves({"a": (np.concatenate([[0.0], beta]), alpha_bar, log_snr)})
    for one, other in zip(bare.axes, padded.axes, strict=True):
        np.testing.assert_array_equal(one.lines[0].get_ydata(), other.lines[0].get_ydata())


def test_zero_terminal_snr_is_drawn() -> None:
    beta, alpha_bar, log_snr = curves(50)
    beta[-1], alpha_bar[-1], log_snr[-1] = 1.0, 0.0, -np.inf
    figure = plots.schedule_curves({"zero": (beta, alpha_bar, log_snr)})
    low, high = figure.axes[2].get_ylim()
    assert low < log_snr[1:-1].min() < log_snr[1:-1].max() < high and high - low < 1.5 * np.ptp(log_snr[1:-1])
    assert Image.open(BytesIO(plots.figure_to_png(figure))).width > 100


def test_loss_curves_draw_what_was_given_and_a_calmer_line() -> None:
    figure = plots.loss_curves(SEEN, LOSS, SEEN[::100], LOSS[::100] * 2, "loss (MSE of ε)")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("images seen", "loss (MSE of ε)")
    assert legend(figure) == ["training", "training, smoothed", "held out"]
    np.testing.assert_array_equal(line(axes, "training").get_ydata(), LOSS)
    np.testing.assert_array_equal(line(axes, "held out").get_xydata(), np.stack([SEEN[::100], LOSS[::100] * 2], 1))
    calm = line(axes, "training, smoothed").get_ydata()
    assert calm[0] == LOSS[0]
    assert calm[200:].std() < 0.3 * LOSS[200:].std()
    assert abs(calm[200:].mean() - LOSS[200:].mean()) < 1e-3


def test_a_constant_loss_stays_constant_when_smoothed() -> None:
    (axes,) = plots.loss_curves(SEEN, np.full(len(SEEN), 0.7), SEEN[:0], SEEN[:0], "loss").axes
    np.testing.assert_allclose(line(axes, "training, smoothed").get_ydata(), 0.7, rtol=1e-12)


def test_skipped_steps_leave_the_curve_whole() -> None:
    loss = LOSS.copy()
    loss[50], loss[60] = np.nan, np.inf
    (axes,) = plots.loss_curves(SEEN, loss).axes
    assert len(line(axes, "training").get_ydata()) == 398
    assert np.isfinite(line(axes, "training, smoothed").get_ydata()).all()
    assert "held out" not in [one.get_label() for one in axes.lines]


@pytest.mark.parametrize(("factor", "scale"), [(1.5, "linear"), (50, "log")])
def test_losses_are_on_a_log_axis_only_where_it_would_have_ticks(factor: float, scale: str) -> None:
    (axes,) = plots.loss_curves([1, 2, 3], [factor, 1.2, 1.0]).axes
    assert axes.get_yscale() == scale


def test_a_run_that_has_just_begun_is_drawn() -> None:
    for seen, loss in (([], []), ([64], [1.0])):
        assert plots.figure_to_png(plots.loss_curves(seen, loss))
        assert plots.figure_to_png(plots.learning_rate_and_gradient(seen, loss, loss, 1.0))


def test_quarters_are_four_named_curves_and_gaps_are_left_out() -> None:
    quarters = LOSS[:, None] * [4, 2, 1, 0.5]
    quarters[::2, 1] = np.nan
    figure = plots.loss_by_quarter(SEEN, quarters)
    (axes,) = figure.axes
    assert [len(one.get_xdata()) for one in axes.lines] == [400, 200, 400, 400]
    assert "clean" in legend(figure)[0] and "noise" in legend(figure)[3]
    assert axes.lines[0].get_ydata()[-1] > axes.lines[3].get_ydata()[-1]


def test_learning_rate_stands_above_the_gradient_with_its_clip() -> None:
    figure = plots.learning_rate_and_gradient(SEEN, np.full(400, 2e-4), LOSS, clip=1.0)
    rate, norm = figure.axes
    assert (rate.get_ylabel(), norm.get_ylabel(), norm.get_xlabel()) == (
        "learning rate",
        "gradient norm",
        "images seen",
    )
    assert rate.get_ylim()[0] == 0
    assert line(norm, "clipped at 1").get_ydata()[0] == 1.0


def test_loss_by_timestep_has_its_band() -> None:
    t, loss = np.arange(1, 101), 1 / np.arange(1, 101)
    figure = plots.loss_by_timestep(t, loss, 0.1 * loss, "L_t (bits/dim)")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "L_t (bits/dim)" and axes.get_xlabel().startswith("t ")
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([t, loss], 1))
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1.1) and band[:, 1].min() == pytest.approx(0.009)


@pytest.mark.parametrize(
    ("value", "floors", "scale"),
    [(12.0, {"half": 0.3, "test": 2.0}, "log"), (1.2, {"half": 0.3}, "linear"), (0.9, {"half": -0.001}, "linear")],
)
def test_a_distance_stands_beside_its_floors(value: float, floors: dict[str, float], scale: str) -> None:
    """Trap: an unbiased kernel distance below zero on a logarithmic axis vanishes."""
    figure = plots.bars_with_floors("distance", value, 0.1, floors)
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    assert [label.get_text() for label in axes.get_yticklabels()] == ["samples", *floors]
    np.testing.assert_array_equal(axes.collections[0].get_offsets()[:, 0], [value, *floors.values()])
    said = [text.get_text() for text in axes.texts]
    assert "± 0.1" in said[0] and len(said) == 1 + len(floors)
    assert axes.get_xlabel().startswith("distance")


def test_numbers_beside_the_dots_stay_inside_the_figure() -> None:
    figure = plots.bars_with_floors("distance", 123.456, 12.0, {"a": 1.0, "b": 122.0, "c": -3.0})
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        assert text.get_window_extent().x1 <= figure.bbox.x1


def test_a_png_has_the_asked_resolution() -> None:
    figure = plots.loss_by_timestep([1, 2, 3], [3.0, 2.0, 1.0])
    with Image.open(BytesIO(plots.figure_to_png(figure, dpi=100))) as image:
        assert image.width == pytest.approx(plots.WIDTH * 100, abs=1)


def test_charts_leave_no_trace_in_pyplot_or_in_the_global_style() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    open_figures = sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else []
    plots.figure_to_png(plots.schedule_curves({"a": curves(50)}))
    plots.figure_to_png(plots.loss_curves(SEEN, LOSS))
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == open_figures


def test_an_axis_over_many_powers_of_ten_has_room_for_its_numbers() -> None:
    """A likelihood model's squared error falls by eight powers of ten: numbers at 1, 2 and 5 would overlap."""
    times, losses = np.linspace(1, 1000, 20), np.logspace(-8, -0.5, 20)
    figure = plots.loss_by_timestep(times, losses, losses / 10)
    low, high = figure.axes[0].get_ylim()
    shown = [tick for tick in figure.axes[0].yaxis.get_majorticklocs() if low <= tick <= high]
    assert 4 <= len(shown) <= 10
