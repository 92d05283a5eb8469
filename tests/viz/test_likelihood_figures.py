"""The pictures of a likelihood, read through their figures: areas, sums, ends."""

from dataclasses import replace

import numpy as np
import pytest

from ancestral.viz.likelihood import Terms, bound_figure, coding_figure, likelihood_figure, said
from ancestral.viz.plots import figure_to_png

LEVELS = np.array([-12.0, -8.0, -5.0, -1.0, 0.0, 4.0, 9.5])
BITS = np.array([1e-5, 2e-4, 0.11, 0.07, 0.2, 0.05])
TERMS = Terms(
    log_snr=LEVELS,
    bits=BITS,
    errors=0.1 * BITS,
    rmse=np.array([78.0, 60.0, 33.0, 20.0, 8.0, 2.5]),
    prior=0.02,
    reconstruction=0.15,
    total=0.02 + BITS.sum() + 0.15,
    total_error=0.011,
)


def test_the_area_of_a_stretch_is_its_bits_and_the_band_s_its_error() -> None:
    """Trap: bars of bits themselves, whose height is that of the strides and not of the model."""
    filled, outline, band = bound_figure(TERMS).axes[0].patches
    for stairs in (filled, outline):
        heights, edges, _ = stairs.get_data()
        np.testing.assert_allclose(heights * np.diff(edges), BITS)
    top, edges, bottom = band.get_data()
    np.testing.assert_allclose((top - bottom) * np.diff(edges), 2 * TERMS.errors)
    np.testing.assert_allclose((top + bottom) / 2, filled.get_data()[0])


def test_halving_a_stretch_changes_no_height() -> None:
    halves = Terms(np.linspace(0, 4, 5), np.full(4, 0.1), np.zeros(4), np.ones(4), 0.0, 0.0, 0.4, 0.0)
    wholes = Terms(np.linspace(0, 4, 3), np.full(2, 0.2), np.zeros(2), np.ones(2), 0.0, 0.0, 0.4, 0.0)
    fine, coarse = (bound_figure(terms).axes[0].patches[0].get_data()[0] for terms in (halves, wholes))
    np.testing.assert_allclose(fine, np.repeat(coarse, 2))


def test_the_sum_begins_with_the_prior_and_ends_with_the_pixels_at_the_total() -> None:
    axes = bound_figure(TERMS).axes[1]
    curve, jump, start, end = axes.lines[:4]
    np.testing.assert_allclose(curve.get_xdata(), LEVELS)
    np.testing.assert_allclose(np.diff(curve.get_ydata()), BITS)
    assert start.get_xydata().tolist() == [[-12.0, 0.02]] and curve.get_ydata()[0] == 0.02
    assert np.diff(jump.get_ydata())[0] == pytest.approx(0.15)
    assert end.get_xydata()[0].tolist() == [9.5, TERMS.total]
    assert [text.get_text() for text in axes.texts] == ["$L_T$ 0.020", f"+ $L_0$ 0.150\n= {TERMS.total:.3f}"]


def test_coding_goes_from_nothing_received_to_the_exact_image() -> None:
    """The error over a stretch belongs to the middle of its bits; after L_0 there is none."""
    (axes,) = coding_figure(TERMS).axes
    curve, last, end = axes.lines
    received = 0.02 + np.concatenate([[0.0], np.cumsum(BITS)])
    np.testing.assert_allclose(curve.get_xdata(), 0.5 * (received[1:] + received[:-1]))
    np.testing.assert_array_equal(curve.get_ydata(), TERMS.rmse)
    assert end.get_xydata().tolist() == [[TERMS.total, 0.0]]
    np.testing.assert_allclose(last.get_xydata(), [curve.get_xydata()[-1], [TERMS.total, 0.0]])


def test_one_picture_holds_all_three_panels() -> None:
    figure = likelihood_figure(TERMS)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "bits/dim per log-SNR",
        "bits/dim so far",
        "error (RMSE of 0..255)",
    ]
    assert len(figure_to_png(figure)) > 10_000


@pytest.mark.parametrize(("bits", "words"), [(0.0, "0.000"), (1e-5, "< 0.001"), (0.9304, "0.930"), (-0.02, "−0.020")])
def test_bits_are_said_with_three_digits(bits: float, words: str) -> None:
    assert said(bits) == words


@pytest.mark.parametrize("levels", [LEVELS[:-1], LEVELS[::-1], np.where(LEVELS == -12.0, -np.inf, LEVELS)])
def test_levels_that_do_not_rise_from_a_finite_end_are_a_mistake(levels: np.ndarray) -> None:
    with pytest.raises(AssertionError):
        Terms(levels, BITS, BITS, BITS, 0.0, 0.0, 0.4, 0.0)


LATENTS = replace(TERMS, rmse=None, reconstruction=-0.9, total=0.02 + BITS.sum() - 0.9)


def test_a_bound_on_a_density_goes_down_at_its_end_and_stays_in_the_picture() -> None:
    axes = bound_figure(LATENTS).axes[1]
    assert np.diff(axes.lines[1].get_ydata())[0] == pytest.approx(-0.9)
    assert axes.get_ylim()[0] < LATENTS.total < 0
    assert axes.texts[1].get_text() == f"− $L_0$ 0.900\n= {said(LATENTS.total)}"


def test_of_latents_no_picture_is_exact_after_so_many_bits() -> None:
    assert len(likelihood_figure(LATENTS).axes) == 2
