"""Bits per dimension: the bound with its terms, where over the noise they arise, and what they buy."""

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.building import build_schedule
from ancestral.diffusion.schedules import Schedule
from ancestral.evaluation.likelihood import FILE, Amount, FlowCheck, Likelihood, Stretch, read_likelihood
from ancestral.outputs import BOUND
from ancestral.report.facts import RunFacts, not_measured, number, out_of_date, with_error
from ancestral.report.html import Html, element, pairs, section, styled, table
from ancestral.report.pictures import chart
from ancestral.viz.likelihood import Terms, bound_figure, coding_figure, likelihood_figure
from ancestral.viz.plots import figure_to_png

TITLE = "Likelihood"
UNCODED = 8  # bits per dimension of a pixel written as it is


def likelihood(facts: RunFacts) -> Html:
    """The bound with its error, terms and pictures, what it was measured on, the flow check; or how to get it."""
    file = facts.folder.path / FILE
    if not file.is_file():
        return not_measured(facts, "likelihood", TITLE, "likelihood")
    measured = read_likelihood(file)
    # the T that was measured on need not be the run's
    settings = facts.config.diffusion.schedule.model_copy(update={"num_timesteps": measured.num_timesteps})
    meaning = (
        f", the variational bound: by this model, a {measured.part} image takes at most that much to write down, "
        f"{measured.total.value / UNCODED:.1%} of its {UNCODED} bits a number. Lower is better; the error is one "
        "standard error."
    )
    return section(
        "likelihood",
        TITLE,
        *out_of_date(facts, "These are numbers of", measured.weights, "likelihood"),
        element("p", element("strong", f"{_cell(measured.total)} bits/dim"), meaning),
        *_charts(measured, build_schedule(settings)),
        _terms(measured),
        *([] if measured.flow is None else [_flow(measured.flow)]),
        pairs(_measured_on(measured), "facts"),
    )


def picture(measured: Likelihood, schedule: Schedule) -> bytes:
    """Both figures as one PNG file; `schedule` is the one that was measured on. There must be stretches."""
    return figure_to_png(likelihood_figure(plain(measured, schedule)), writer=BOUND.decode())


def plain(measured: Likelihood, schedule: Schedule) -> Terms:
    """The numbers that the pictures show; `schedule` is the one that was measured on."""
    stretches = measured.stretches
    return Terms(
        log_snr=edges(stretches, schedule),
        bits=np.array([stretch.bits for stretch in stretches]),
        errors=np.array([stretch.standard_error for stretch in stretches]),
        rmse=np.array([stretch.rmse for stretch in stretches]),
        prior=measured.prior.value,
        reconstruction=measured.reconstruction.value,
        total=measured.total.value,
        total_error=measured.total.standard_error,
    )


def edges(stretches: tuple[Stretch, ...], schedule: Schedule) -> NDArray[np.float64]:
    """Log-SNR where every stretch starts, and where the last one ends; where no signal is left, 1 below the next."""
    times = torch.tensor([stretches[0].t, *(stretch.s for stretch in stretches)])
    levels = schedule.log_snr(times)
    levels[0] = levels[0] if levels[0].isfinite() else levels[1] - 1
    return levels.numpy()


def _charts(measured: Likelihood, schedule: Schedule) -> list[Html]:
    """The bound over the noise, and what it buys; a chain of one step has no such terms."""
    if not measured.stretches:
        return []
    terms = plain(measured, schedule)
    peak = measured.stretches[int(np.argmax(terms.bits / np.diff(terms.log_snr)))]
    densest, total = number(peak.log_snr), _cell(measured.total)
    over = f"bits/dim over log-SNR, densest near {densest}, and their sum up to {total} bits/dim"
    bought = f"error of the predicted image against bits received, from {number(terms.rmse[0])} levels to 0"
    charts = [
        chart("Terms of the bound over the noise", over, bound_figure(terms)),
        chart("Progressive coding: error against bits", bought, coding_figure(terms)),
    ]
    return [styled("div", "charts", *charts)]


def _terms(measured: Likelihood) -> Html:
    named = {
        "L_T, the end of the chain against noise": measured.prior,
        "steps of the chain": measured.diffusion,
        "L_0, the pixels": measured.reconstruction,
        "together": measured.total,
    }
    rows = [[name, _cell(amount), f"{amount.value / measured.total.value:.1%}"] for name, amount in named.items()]
    by_images, by_timesteps = number(measured.error_from_images, 2), number(measured.error_from_timesteps, 2)
    caption = (
        f"The bound, term by term, with one standard error. That of the whole is {by_images} from the choice of images "
        f"and {by_timesteps} from that of timesteps; their squares add."
    )
    return table(["term", "bits/dim", "share"], rows, caption)


def _flow(check: FlowCheck) -> Html:
    """The same images under the probability flow."""
    rows = [
        ["variational bound", _cell(check.bound)],
        ["probability flow", _cell(check.flow)],
        ["difference, image by image", _cell(check.difference)],
    ]
    how = "exact divergence" if check.probes == 0 else f"{check.probes} probes of the divergence"
    caption = (
        f"Cross-check on {check.num_images:,} images: the probability flow ({check.steps:,} steps, {how}) has a "
        "density of its own. It is expected below the bound, by what the chain's Gaussian steps miss."
    )
    return table(["model", "bits/dim"], rows, caption)


def _measured_on(measured: Likelihood) -> list[tuple[str, str]]:
    every = measured.timesteps >= measured.steps - 1
    drawn = "all" if every else f"{measured.timesteps:,} drawn for each image, without bias"
    return [
        ("images", f"{measured.num_images:,} of the {measured.part} part, {measured.dims:,} numbers each"),
        ("chain", f"{measured.steps:,} steps of T = {measured.num_timesteps:,}"),
        ("terms besides L_0", drawn),
        ("class", "told to the network" if measured.given_classes else "not told to the network"),
        ("weights", f"averaged, SHA-256 {measured.weights}"),
        ("seed", str(measured.seed)),
        ("time", f"{measured.seconds / 60:.1f} minutes"),
    ]


def _cell(amount: Amount) -> str:
    return with_error(amount.value, amount.standard_error)
