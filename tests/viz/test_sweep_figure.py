"""The curves of a sweep, read through their figure."""

from ancestral.viz.plots import Curve, figure_to_png, spaced, sweep_curves

FLOW = Curve("unipc-2, log-snr", (5, 10, 20), (3.0, 1.5, 1.0), (0.2, 0.1, 0.1), (20.0, 6.0, 2.0))
NOISY = Curve("ancestral, trailing", (5, 10, 20), (9.0, 4.0, 2.0), (0.2, 0.1, 0.1), None)
OTHER = Curve("ddim, karras", (5, 9), (4.0, 2.0), (0.2, 0.1), (30.0, 15.0))


def test_both_distances_are_drawn_and_noise_has_only_one() -> None:
    figure = sweep_curves([FLOW, NOISY], [OTHER], reference=0.9, floor=0.5)
    frechet, to_flow = figure.axes
    faint, *_ = frechet.lines
    assert faint.get_xydata().tolist() == [[5, 4.0], [9, 2.0]]
    assert [[*line.get_ydata()] for line in to_flow.lines] == [[30.0, 15.0], [20.0, 6.0, 2.0]]
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["many steps", "training images", "unipc-2, log-snr", "ancestral, trailing"]
    assert [line.get_ydata()[0] for line in frechet.lines if len({*line.get_ydata()}) == 1][-2:] == [0.9, 0.5]


def test_ticks_stand_at_numbers_of_calls_that_are_there() -> None:
    figure = sweep_curves([FLOW], [OTHER], reference=0.9, floor=0.5)
    figure_to_png(figure)
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert labels == ["5", "10", "20"]
    assert spaced([4, 5, 9, 10, 19, 20]) == [4, 5, 10, 20]
    assert spaced([7]) == [7]


def test_a_sampler_that_fails_does_not_press_the_others_together() -> None:
    failing = OTHER._replace(frechet=(500.0, 400.0))
    frechet, _ = sweep_curves([FLOW], [failing], reference=0.9, floor=0.5).axes
    assert frechet.get_ylim()[1] == 20.0
    frechet, _ = sweep_curves([FLOW], [OTHER], reference=0.9, floor=0.5).axes
    assert 4.0 < frechet.get_ylim()[1] < 20.0
